"""The run that this process works on, for programs and functions that ask."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dysweep.errors import DirectoryError, NotFoundError
from dysweep.files import read_json

_CONFIG, _CHECKPOINT_DIR, RUN_DIR = "DYSWEEP_CONFIG", "DYSWEEP_CHECKPOINT_DIR", "DYSWEEP_RUN_DIR"
_RUN_ID, _SWEEP_ID, _ATTEMPT = "DYSWEEP_RUN_ID", "DYSWEEP_SWEEP_ID", "DYSWEEP_ATTEMPT"


@dataclass(frozen=True)
class CurrentRun:
    """The run that a process works on.

    Args:
        config: its settings, a tree.
        checkpoint_dir: where it saves what a later attempt needs; the same in all attempts.
        run_id: its id.
        sweep_id: the sweep's id.
        attempt: 1 for its first execution.
        run_dir: its directory in the sweep's.

    Example:
        >>> from pathlib import Path
        >>> from dysweep.current import CurrentRun
        >>> CurrentRun({"lr": 0.1}, Path("checkpoint"), "4f1c-0001", "4f1c", 1, Path(".")).config["lr"]
        0.1
    """

    config: dict[str, Any]
    checkpoint_dir: Path
    run_id: str
    sweep_id: str
    attempt: int
    run_dir: Path


def current_run() -> CurrentRun:
    """Return the run that this process, or one above it, was started for.

    Raises:
        NotFoundError: an agent has not started this process.

    Example:
        >>> import dysweep
        >>> def train():
        ...     run = dysweep.current_run()
        ...     print(run.run_id, run.config["lr"], run.checkpoint_dir)
        >>> dysweep.current_run()
        Traceback (most recent call last):
        dysweep.errors.NotFoundError: current_run: this process works on no run of a sweep ...
    """
    try:
        path = os.environ[_CONFIG]
        where = Path(os.environ[_CHECKPOINT_DIR]), os.environ[_RUN_ID], os.environ[_SWEEP_ID]
        attempt, run_dir = int(os.environ[_ATTEMPT]), Path(os.environ[RUN_DIR])
    except (KeyError, ValueError):
        raise NotFoundError(
            "current_run: this process works on no run of a sweep (the variables DYSWEEP_* are missing); "
            "an agent sets them: dysweep_run_resume"
        ) from None
    try:
        config = read_json(path)
    except FileNotFoundError as error:
        raise DirectoryError(f"{path}: cannot be read ({error.strerror})") from None
    return CurrentRun(config, *where, attempt, run_dir)


def environment_of(run_dir: Path, checkpoint_dir: Path, sweep_id: str, attempt: int) -> dict[str, str]:
    """Return the environment variables that `current_run` reads."""
    return {
        _CONFIG: str((run_dir / "run_config.json").absolute()),
        _CHECKPOINT_DIR: str(checkpoint_dir.absolute()),
        RUN_DIR: str(run_dir.absolute()),
        _RUN_ID: run_dir.name,
        _SWEEP_ID: sweep_id,
        _ATTEMPT: str(attempt),
    }


@contextmanager
def in_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, also for what is started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
