"""A file of settings, read; files that are something else are told where they belong."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from dysweep.errors import ConfigError, closest, misspelt
from dysweep.files import load_file

_TREES = ("base_config", "sweep_configuration")


def load_settings(path: str, known: Collection[str]) -> dict[str, Any]:
    """Read a file of settings; paths of trees in it may be relative to the file.

    Args:
        path: the YAML or JSON file.
        known: the settings' names.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    settings = load_file(path)
    if settings is None:
        raise ConfigError(f"{path}: is empty; dysweep_create --print_config prints what can be in it")
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: a mapping of settings is needed; there are {', '.join(known)}")
    settings.pop("$schema", None)  # editors look for it
    _refuse_other_keys(settings, path, known)
    for tree in _TREES:
        beside = Path(path).parent / str(settings.get(tree))
        if isinstance(settings.get(tree), str) and not os.path.exists(settings[tree]) and beside.exists():
            settings[tree] = str(beside)
    return settings


def _refuse_other_keys(settings: dict[Any, Any], path: str, known: Collection[str]) -> None:
    """Refuse what is no setting; files that are something else are told where they belong."""
    others = [key for key in settings if key not in known]
    if not others:
        return
    if isinstance(settings.get("parameters"), dict) and "sweep_configuration" not in settings:
        raise ConfigError(
            f"{path}: this is a sweep configuration of W&B; put all of it below `sweep_configuration:`, with "
            "`sweep: true` in each parameter to sweep, and beside it `base_config:`, the tree that every run "
            f"starts from (or give both as files: --sweep_configuration {path} --base_config FILE)"
        )
    swept = [key for key in others if isinstance(settings[key], dict) and "sweep" in settings[key]]
    if swept:
        raise ConfigError(f"{path}: {swept[0]}: what is swept belongs below `sweep_configuration:`")
    if len(others) == len(settings) and not any(misspelt(str(key), known) for key in others):
        raise ConfigError(
            f"{path}: {others[0]}: no such setting; the tree that every run starts from belongs below "
            "`base_config:`, what is swept below `sweep_configuration:` (--print_config prints all settings)"
        )
    raise ConfigError(f"{path}: {others[0]}: no such setting{closest(str(others[0]), known)}")
