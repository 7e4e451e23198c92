"""The list of installed packages that W&B keeps with each run."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import distributions
from pathlib import Path

import wandb

logger = logging.getLogger("dysweep")

# The SDK lists the packages anew for each run, which takes more time than all else that it does for a short
# one (wandb 0.31: half of the CPU time with 61 packages). Its setting is turned off, and the same file saved.
WITHOUT_REQUIREMENTS = {"x_save_requirements": False}


def save_requirements(run: wandb.Run) -> None:
    """Save requirements.txt in a run that was started without it, unless the user wants none."""
    if not wandb.setup().settings.x_save_requirements:
        return
    path = Path(run.dir, "requirements.txt")
    try:
        path.write_text(_installed(_places()), encoding="utf-8")
    except OSError as error:  # a full disk, which does not end the training
        logger.warning("%s: cannot be written (%s)", path, error.strerror)
        return
    run.save(str(path), base_path=run.dir, policy="now")


def _places() -> tuple[tuple[str, int], ...]:
    """Return where packages are, each with what changes when one is installed or removed there."""
    places = []
    for path in sys.path:
        with suppress(OSError):
            places.append((path, os.stat(path or ".").st_mtime_ns))
    return tuple(places)


@lru_cache(maxsize=1)
def _installed(places: tuple[tuple[str, int], ...]) -> str:
    """Return what is installed in these places, which are those of `sys.path`, a line for each package."""
    lines = []
    for each in distributions():
        with suppress(KeyError, UnicodeDecodeError, TypeError):  # metadata that is damaged, as the SDK does
            lines.append(f"{each.metadata['Name']}=={each.version}\n")
    return "".join(lines)
