"""The sweep directory: one record per run, written by any number of processes on any number of machines.

    checkpoints-<sweep_id>/
        sweep.json                    the sweep: base config, sweep configuration, space
        sweep.lock                    spares agents a stampede; correctness never rests on it
        runs/<run_id>/
            run.json                  assignment, name, created
            run_config.json           the config
            attempts/0001.json        claim: who executes the run
            attempts/0001.heartbeat   changes while the owner lives
            attempts/0001.end.json    outcome, error, final metrics
            attempts/0001.log         what the function printed
            checkpoint/               the function's own folder, the same for every attempt
            wandb/                    W&B's own files of the run

Every file but the heartbeat and the log is written once, by one process, and never changed. A run's state is
derived from which files are there, so a crash at any point leaves a state that is true: before the claim
the run was never started, after it the run is running while its owner lives and crashed once it does not.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

from dysweep.errors import ConfigError, DirectoryError, NotFoundError
from dysweep.files import create_json, read_json, sync_directory, write_json
from dysweep.liveness import Owner, now
from dysweep.space import Space

FORMAT_VERSION = 1
HEARTBEAT_SECONDS = 5.0


class State(str, Enum):
    """The state of a run, in W&B's own words."""

    PENDING = "pending"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    PREEMPTED = "preempted"
    KILLED = "killed"
    CRASHED = "crashed"

    def __str__(self) -> str:
        return self.value


def check_id(identifier: str, what: str) -> str:
    """Make sure that an id can be a file's name: letters, digits, `_ - .`, no leading dot.

    Raises:
        ConfigError: it cannot.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}", identifier):
        raise ConfigError(
            f"{what}: {identifier!r} is no id; ids have letters, digits and _ - . and no leading dot"
        )
    return identifier


@dataclass(frozen=True)
class End:
    """How an attempt ended.

    Args:
        outcome: finished, failed, preempted or killed.
        ended: when, ISO 8601 in UTC.
        error: type, message and traceback of what the function raised.
        metrics: the final numeric metrics of the run.
    """

    outcome: State
    ended: str
    error: dict[str, str] | None
    metrics: dict[str, float]


@dataclass(frozen=True)
class Attempt:
    """One execution of a run by one process; its number is the fencing token.

    Args:
        run: the run's directory.
        number: 1 for the first attempt.
    """

    run: RunDirectory
    number: int

    @property
    def claim_path(self) -> Path:
        return self.run.attempts_path / f"{self.number:04d}.json"

    @property
    def heartbeat_path(self) -> Path:
        return self.run.attempts_path / f"{self.number:04d}.heartbeat"

    @property
    def end_path(self) -> Path:
        return self.run.attempts_path / f"{self.number:04d}.end.json"

    @property
    def log_path(self) -> Path:
        return self.run.attempts_path / f"{self.number:04d}.log"

    def owner(self) -> Owner | None:
        """Read who executes the attempt; None while the claim is still empty."""
        try:
            if self.claim_path.stat().st_size == 0:
                return None
            return Owner(**read_json(self.claim_path))
        except (TypeError, OSError) as error:
            raise _damaged(self.claim_path, error) from None

    def end(self) -> End | None:
        """Read how the attempt ended; None while it has not."""
        try:
            stored = read_json(self.end_path)
            if stored["outcome"] in (State.PENDING, State.RUNNING):
                raise ValueError(f"{stored['outcome']} is no outcome")
            return End(State(stored["outcome"]), stored["ended"], stored["error"], stored["metrics"])
        except FileNotFoundError:
            return None
        except (TypeError, KeyError, ValueError) as error:
            raise _damaged(self.end_path, error) from None

    def superseded(self) -> bool:
        """Tell whether another process has taken the run over since."""
        return Attempt(self.run, self.number + 1).claim_path.exists()

    def finish(self, outcome: State, error: dict[str, str] | None, metrics: dict[str, float]) -> bool:
        """Record how the attempt ended; a superseded attempt writes nothing.

        Returns:
            whether it was recorded.
        """
        if self.superseded():
            return False
        return create_atomically(
            self.end_path, {"outcome": str(outcome), "ended": now(), "error": error, "metrics": metrics}
        )

    def state(self) -> State:
        """Derive the state; an owner that cannot be seen from here counts as running."""
        end = self.end()
        if end is not None:
            return end.outcome
        owner = self.owner()
        if owner is None or owner.alive() is not False:
            return State.RUNNING
        end = self.end()  # it may have ended, and its process too, since the first look
        return end.outcome if end is not None else State.CRASHED

    def heartbeat(self) -> str:
        """Read the heartbeat's content; empty if there is none."""
        try:
            return self.heartbeat_path.read_text()
        except OSError:
            return ""


class Heartbeat:
    """Keeps an attempt's heartbeat changing while the process lives."""

    def __init__(self, attempt: Attempt) -> None:
        self._path = attempt.heartbeat_path
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="dysweep-heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        count = 0
        while True:
            try:
                self._path.write_text(f"{count}\n")
            except OSError:
                pass  # a full or vanished disk must not end the training; the lease covers the gap
            count += 1
            if self._stop.wait(HEARTBEAT_SECONDS):
                return


@dataclass(frozen=True)
class RunDirectory:
    """The record of one run."""

    path: Path

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def attempts_path(self) -> Path:
        return self.path / "attempts"

    @property
    def checkpoint_path(self) -> Path:
        return self.path / "checkpoint"

    def record(self) -> dict[str, Any]:
        """Read run.json: run_id, assignment, name, created."""
        try:
            stored = read_json(self.path / "run.json")
        except FileNotFoundError as error:
            raise _damaged(self.path / "run.json", error) from None
        if not isinstance(stored, dict) or not isinstance(stored.get("assignment"), dict):
            raise _damaged(self.path / "run.json", KeyError("assignment"))
        return stored

    def config(self) -> dict[str, Any] | None:
        """Read the config; None if it could not be resolved when the run was made."""
        try:
            stored = read_json(self.path / "run_config.json")
        except FileNotFoundError:
            return None
        if not isinstance(stored, dict):
            raise _damaged(self.path / "run_config.json", TypeError("no mapping"))
        return stored

    def last_attempt(self) -> Attempt | None:
        """Find the newest attempt; None if the run was never started."""
        try:
            names = os.listdir(self.attempts_path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _damaged(self.attempts_path, error) from None
        numbers = [int(name[:-5]) for name in names if re.fullmatch(r"\d{4,}\.json", name)]
        return Attempt(self, max(numbers)) if numbers else None

    def state(self) -> State:
        """Derive the run's state from its files."""
        attempt = self.last_attempt()
        return attempt.state() if attempt else State.PENDING

    def claim(self, after: Attempt | None) -> Attempt | None:
        """Claim the next attempt.

        Args:
            after: the last attempt that this process knows of.

        Returns:
            the attempt, or None if another process has claimed it.
        """
        attempt = Attempt(self, after.number + 1 if after else 1)
        self.attempts_path.mkdir(parents=True, exist_ok=True)
        return attempt if create_json(attempt.claim_path, asdict(Owner.current())) else None

    def set_checkpoint_aside(self, delete: bool) -> None:
        """Make room for a run from scratch: `checkpoint/` becomes `checkpoint.0001/` (the next free number).

        Args:
            delete: remove it instead.
        """
        if not self.checkpoint_path.is_dir() or not any(self.checkpoint_path.iterdir()):
            return
        if delete:
            shutil.rmtree(self.checkpoint_path)
            return
        number = 1
        while (aside := self.path / f"checkpoint.{number:04d}").exists():
            number += 1
        self.checkpoint_path.rename(aside)


@dataclass(frozen=True)
class SweepPath:
    """Where a sweep is in W&B.

    Args:
        entity: W&B's user or team; None for the user's default one.
        project: W&B's project.
        sweep_id: the sweep's id.
    """

    entity: str | None
    project: str
    sweep_id: str

    def __str__(self) -> str:
        return f"{self.place}/{self.sweep_id}"

    @property
    def place(self) -> str:
        """The entity and the project, as paths of runs begin."""
        return self.project if self.entity is None else f"{self.entity}/{self.project}"

    @property
    def metadata_run(self) -> str:
        """The id of the run that holds what dysweep knows of the sweep."""
        return f"dysweep-{self.sweep_id}"


@dataclass(frozen=True)
class Sweep:
    """What sweep.json holds.

    Args:
        sweep_id: the sweep's id, W&B's own if W&B serves it.
        mode: who serves the sweep, `online` (W&B) or `offline` (the directory).
        entity: W&B's user or team.
        project: W&B's project.
        run_name: template of the runs' names, or None for ids.
        base_config: the tree that every run starts from.
        sweep_configuration: W&B's sweep configuration, with the parameters as written.
        space: the compiled space, as one JSON text.
    """

    sweep_id: str
    mode: str
    entity: str | None
    project: str
    run_name: str | None
    base_config: dict[str, Any]
    sweep_configuration: dict[str, Any]
    space: str
    format_version: int = FORMAT_VERSION

    @property
    def online(self) -> bool:
        """Whether W&B serves it."""
        return self.mode == "online"

    @property
    def path(self) -> SweepPath:
        """Where it is in W&B."""
        return SweepPath(self.entity, self.project, self.sweep_id)

    @property
    def flat_configuration(self) -> dict[str, Any]:
        """W&B's sweep configuration, with the flat parameters."""
        return {**self.sweep_configuration, "parameters": self.compiled.parameters}

    @classmethod
    def from_stored(cls, stored: Any) -> Sweep:
        """Read the content of a sweep.json.

        Raises:
            ValueError: it is damaged, or of another format version.
        """
        version = stored.get("format_version") if isinstance(stored, dict) else None
        if version != FORMAT_VERSION:
            raise ValueError(
                f"format_version is {version!r}, this dysweep reads {FORMAT_VERSION}; "
                "use the dysweep that made it"
            )
        try:
            sweep = cls(**{field.name: stored[field.name] for field in fields(cls)})
            check_id(sweep.sweep_id, "sweep_id")
            sweep.compiled  # noqa: B018 - a damaged space is found here, not in the first run
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"damaged or unreadable ({type(error).__name__}: {error})") from None
        return sweep

    def to_json(self) -> str:
        """Write it as one JSON text, with which it travels."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @cached_property
    def compiled(self) -> Space:
        """The space, ready to resolve assignments."""
        return Space.from_json(self.space)


@dataclass(frozen=True)
class SweepDirectory:
    """A sweep's directory on a disk that all its agents share."""

    path: Path

    @property
    def sweep_path(self) -> Path:
        return self.path / "sweep.json"

    @property
    def lock_path(self) -> Path:
        return self.path / "sweep.lock"

    @property
    def runs_path(self) -> Path:
        return self.path / "runs"

    def check_free(self) -> None:
        """Make sure that no sweep is here.

        Raises:
            ConfigError: there is one.
        """
        if self.sweep_path.exists():
            raise ConfigError(
                f"{self.path}: holds a sweep already; choose another directory, or give its --sweep_id"
            )

    def create(self, sweep: Sweep) -> None:
        """Make the directory; it is a sweep once sweep.json is there, which is written last and whole.

        Raises:
            ConfigError: the directory holds a sweep already.
            DirectoryError: it cannot be written.
        """
        try:
            self.runs_path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DirectoryError(f"{self.path}: cannot be made ({error.strerror})") from None
        if not create_atomically(self.sweep_path, asdict(sweep)):
            self.check_free()

    @cached_property
    def sweep(self) -> Sweep:
        """The sweep's record.

        Raises:
            NotFoundError: here is no sweep.
            DirectoryError: the record is damaged, or of another format version.
        """
        try:
            return Sweep.from_stored(read_json(self.sweep_path))
        except FileNotFoundError:
            raise NotFoundError(f"{self.path}: holds no sweep (sweep.json is missing)") from None
        except DirectoryError:
            raise
        except ValueError as error:
            raise DirectoryError(f"{self.sweep_path}: {error}") from None

    def run(self, run_id: str) -> RunDirectory:
        """Find a run.

        Raises:
            NotFoundError: there is no such run.
        """
        run = RunDirectory(self.runs_path / check_id(run_id, "run id"))
        if not run.path.is_dir() or run.path.is_symlink():
            raise NotFoundError(f"{run_id}: no such run in {self.runs_path}")
        return run

    def run_ids(self) -> set[str]:
        """List the runs that were ever started."""
        try:
            return {name for name in os.listdir(self.runs_path) if not name.startswith(".")}
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise DirectoryError(f"{self.runs_path}: cannot be read ({error.strerror})") from None

    def runs(self) -> Iterator[RunDirectory]:
        """Go through the runs in the order of their ids."""
        for run_id in sorted(self.run_ids()):
            path = self.runs_path / run_id
            if path.is_dir() and not path.is_symlink():
                yield RunDirectory(path)

    def start_run(
        self, run_id: str, assignment: dict[str, Any], name: str | None, config: dict[str, Any] | None
    ) -> Attempt | None:
        """Record a new run together with its first claim.

        The directory is made beside and renamed, so it appears whole, and to one process only.

        Args:
            run_id: the run's id.
            assignment: what the sweep chose for it.
            name: what W&B calls the run; None leaves that to W&B.
            config: the config, or None if it could not be resolved.

        Returns:
            the first attempt, or None if the run is there already.
        """
        beside = self.runs_path / f".{check_id(run_id, 'run id')}.{secrets.token_hex(4)}.tmp"
        made = RunDirectory(beside)
        try:
            made.attempts_path.mkdir(parents=True)
            write_json(
                beside / "run.json",
                {"run_id": run_id, "assignment": assignment, "name": name, "created": now()},
            )
            if config is not None:
                write_json(beside / "run_config.json", config)
            made.claim(None)
            run = RunDirectory(self.runs_path / run_id)
            try:
                beside.rename(run.path)
            except OSError:
                if not run.path.exists():
                    raise
                return None
            sync_directory(self.runs_path)
            return Attempt(run, 1)
        except OSError as error:
            if isinstance(error, DirectoryError):
                raise
            raise DirectoryError(f"{self.runs_path}: cannot be written ({error.strerror})") from None
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def create_atomically(path: Path, content: Any) -> bool:
    """Create a JSON file whole and exclusively: it never overwrites, and is never seen half-written.

    Returns:
        whether this call created it.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    write_json(beside, content)
    try:
        os.link(beside, path)
    except FileExistsError:
        return False
    except OSError:  # no hard links on this file system
        if path.exists():
            return False
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    sync_directory(path.parent)
    return True


def dead_after_lease(attempts: list[Attempt], lease: float) -> set[Attempt]:
    """Watch attempts whose owners cannot be seen from here, all at once, for one lease at most.

    Args:
        attempts: attempts without an end.
        lease: seconds on this process's own clock in which a living owner changes its heartbeat.

    Returns:
        those whose heartbeat did not change and that did not end.
    """
    seen = {attempt: attempt.heartbeat() for attempt in attempts}
    deadline = time.monotonic() + lease
    while seen and time.monotonic() < deadline:
        time.sleep(min(1.0, max(0.0, deadline - time.monotonic())))
        seen = {a: beat for a, beat in seen.items() if a.heartbeat() == beat and not a.end_path.exists()}
    return set(seen)


def _damaged(path: Path, error: Exception) -> DirectoryError:
    return DirectoryError(f"{path}: damaged or unreadable ({type(error).__name__}: {error})")
