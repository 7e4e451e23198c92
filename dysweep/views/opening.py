"""Sweeps opened for scripts and notebooks."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TypeAlias, overload

from dysweep.directory.legacy import OldSweep
from dysweep.directory.location import Location
from dysweep.directory.sweep import SweepDirectory
from dysweep.errors import NotFoundError
from dysweep.files import user_path
from dysweep.views.status import SweepStatus, read_status

Several: TypeAlias = "list[str] | list[Path] | list[str | Path] | tuple[str | Path, ...]"


@overload
def open_sweep(
    sweep_id: str | os.PathLike[str], root: str | os.PathLike[str] = ..., max_attempts: int = ...
) -> SweepStatus: ...


@overload
def open_sweep(
    sweep_id: Several, root: str | os.PathLike[str] = ..., max_attempts: int = ...
) -> list[SweepStatus]: ...


def open_sweep(
    sweep_id: str | os.PathLike[str] | Several,
    root: str | os.PathLike[str] = "./dysweep_logs",
    max_attempts: int = 3,
) -> SweepStatus | list[SweepStatus]:
    """Read a sweep from its directory, for scripts and notebooks.

    Args:
        sweep_id: the sweep's id, its address in W&B (`entity/project/id`), or the path of its directory; or
            a list of these.
        root: folder below which the sweep has its directory; not used for a path.
        max_attempts: how often a run may fail or crash before it counts as given up.

    Returns:
        the sweep as it is now, with `runs`, `counts`, `config(run_id)`, `to_dataframe()` and `to_json()`; for
        a list a list.

    Raises:
        NotFoundError: the sweep is not found.
        ConfigError: this is neither an id nor a path, or the sweep is at another address in W&B.
        DirectoryError: its record is damaged.

    Example:
        >>> import dysweep
        >>> sweep_id = dysweep.dysweep_run_resume(
        ...     mode="offline",
        ...     base_config={"seed": 0},
        ...     sweep_configuration={"lr": {"sweep": True, "values": [0.1, 0.01]}},
        ... )
        >>> sweep = dysweep.open_sweep(sweep_id)
        >>> sweep.counts
        {'pending': 2}
        >>> [each.sweep.sweep_id == sweep_id for each in dysweep.open_sweep([sweep_id, sweep.directory])]
        [True, True]
    """
    if not isinstance(sweep_id, (str, os.PathLike)):
        return [open_sweep(each, root, max_attempts) for each in sweep_id]
    if isinstance(sweep_id, os.PathLike) or _is_path(sweep_id):
        return read_status(_directory_at(user_path(os.fspath(sweep_id))), max_attempts)
    here = Location(os.fspath(root), None, None, None, online=False)
    return read_status(here.find_to_read(sweep_id), max_attempts)


def _is_path(text: str) -> bool:
    """Return whether this is a path: `logs/checkpoints-abc` is one if a sweep is there, else an address."""
    return text.startswith(("/", "./", "../", "~")) or _holds_sweep(user_path(text))


def _holds_sweep(path: Path) -> bool:
    directory = SweepDirectory(path)
    return os.path.isdir(path) and (directory.exists() or OldSweep.at(directory) is not None)


def _directory_at(path: Path) -> SweepDirectory:
    if not _holds_sweep(path):
        below = sorted(each.name for each in path.glob("checkpoints-*"))
        more = ", ..." if len(below) > 3 else ""
        hint = "give a sweep's directory, or its id"
        hint = f"there are {', '.join(below[:3])}{more} below it" if below else hint
        raise NotFoundError(f"sweep_id: no sweep in {path}; {hint}")
    return SweepDirectory(path.absolute())
