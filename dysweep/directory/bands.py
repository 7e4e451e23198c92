"""What runs have logged of a sweep's metric, beside their attempts, for the early termination of others.

`attempts/0001.band.0003.json` is the third value of the run, written once by the attempt that has logged it.
`attempts/0001.logged` is how many there are, the best one, and in how many steps; it changes with each.
"""

from __future__ import annotations

import json
import math
import os
import re
from contextlib import suppress
from pathlib import Path

from dysweep.directory.runs import Attempt, RunDirectory
from dysweep.errors import DirectoryError
from dysweep.files import publish_json, read_json, write_in_place
from dysweep.language.hyperband import Logged

_BAND = re.compile(r"\d{4,}\.band\.(\d{4,})\.json")
_LOGGED = re.compile(r"\d{4,}\.logged")


def read_logged(run: RunDirectory) -> tuple[Logged, int]:
    """Read what a run has logged in all its attempts, and in how many steps; less if a file was cut off."""
    at_bands: dict[int, float] = {}
    count, best, steps = 0, None, 0
    for name in _names(run):
        path = run.attempts_path / name
        if match := _BAND.fullmatch(name):
            if (value := _number(path, "value")) is not None:
                at_bands.setdefault(int(match[1]), value)
        elif _LOGGED.fullmatch(name) and (number := _number(path, "count")) is not None:
            count, best, steps = int(number), _number(path, "best"), int(_number(path, "steps") or 0)
    return Logged(max(count, *at_bands, 0), best, at_bands), steps


def write_logged(attempt: Attempt, logged: Logged, steps: int) -> None:
    """Write how much a run has logged, and in how many steps.

    Raises:
        OSError: the file cannot be written.
    """
    path = attempt.run.attempts_path / f"{attempt.number:04d}.logged"
    write_in_place(path, json.dumps({"count": logged.count, "best": logged.best, "steps": steps}))


def write_band(attempt: Attempt, band: int, value: float) -> None:
    """Write a run's value at a band, once.

    Raises:
        DirectoryError: the file cannot be written.
    """
    path = attempt.run.attempts_path / f"{attempt.number:04d}.band.{band:04d}.json"
    publish_json(path, {"band": band, "value": value})


def forget_logged(run: RunDirectory) -> None:
    """Remove what a run has logged before it begins from scratch."""
    for name in _names(run):
        if _BAND.fullmatch(name) or _LOGGED.fullmatch(name):
            with suppress(OSError):
                (run.attempts_path / name).unlink()


def value_at(run: RunDirectory, band: int) -> float | None:
    """Read the value of a run at a band; None if it has not reached it."""
    ending = f".band.{band:04d}.json"
    names = (name for name in _names(run) if name.endswith(ending) and _BAND.fullmatch(name))
    values = (_number(run.attempts_path / name, "value") for name in names)
    return next((value for value in values if value is not None), None)


def _names(run: RunDirectory) -> list[str]:
    try:
        return [] if os.path.islink(run.attempts_folder) else sorted(os.listdir(run.attempts_folder))
    except OSError:
        return []


def _number(path: Path, key: str) -> float | None:
    try:
        found = read_json(path)[key]
        return found if not isinstance(found, bool) and math.isfinite(found) else None
    except (DirectoryError, FileNotFoundError, KeyError, TypeError, OverflowError):
        return None
