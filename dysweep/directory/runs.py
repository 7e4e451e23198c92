"""The record of one run: its attempts, who executes them, how they ended, and the state that follows."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any

from dysweep.directory.liveness import Owner, check_time, now
from dysweep.errors import DirectoryError
from dysweep.files import claim_json, damaged, publish_json, read_json, read_regular_file, writing
from dysweep.language.hyperband import StoppedEarly

_CLAIM = re.compile(r"\d{4,}\.json")


class State(str, Enum):
    """The state of a run, in W&B's own words. It is nowhere written down: it follows from the files.

    pending: W&B has handed the run out, and no attempt is recorded; of a grid, the point has no run yet.
    running: the last attempt has no end, and its owner lives, or cannot be observed from here.
    finished: the function returned.
    failed: the function raised, or its config cannot be resolved.
    preempted: the process was told to stop by a signal, and had time to record that; or SLURM has ended its
        job to queue it again.
    crashed: the last attempt has no end, and its owner is gone; or its program was ended by a signal.
    killed: W&B has stopped the run, or `early_terminate` without W&B.
    gone: the run was deleted in W&B, which refuses its id for ever.
    """

    PENDING = "pending"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    PREEMPTED = "preempted"
    KILLED = "killed"
    CRASHED = "crashed"
    GONE = "gone"

    def __str__(self) -> str:
        return self.value


INTERRUPTED = (State.PREEMPTED, State.CRASHED)
RESUMABLE = (*INTERRUPTED, State.FAILED)


def is_given_up(outcomes: Sequence[str], max_attempts: int) -> bool:
    """Return whether a run is left alone: it is unfinished, and has failed or crashed too often.

    Args:
        outcomes: how its attempts ended, the last one at the end.
        max_attempts: how often it may fail or crash.
    """
    failures = sum(each in (State.FAILED, State.CRASHED) for each in outcomes)
    return failures >= max_attempts and outcomes[-1] in RESUMABLE


@dataclass(frozen=True)
class End:
    """How an attempt ended.

    Args:
        outcome: finished, failed, preempted, killed, gone, or crashed if the agent has survived that.
        ended: when, ISO 8601 in UTC.
        error: type, message and traceback of what the function raised.
        metrics: the final numeric metrics of the run.
        stopped_early: why `early_terminate` has ended it, if it has.
    """

    outcome: State
    ended: str
    error: dict[str, str] | None
    metrics: dict[str, float]
    stopped_early: StoppedEarly | None = None


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
        return Path(self._file(".json"))

    @property
    def heartbeat_path(self) -> Path:
        return Path(self._file(".heartbeat"))

    @property
    def end_path(self) -> Path:
        return Path(self._file(".end.json"))

    @property
    def log_path(self) -> Path:
        return Path(self._file(".log"))

    def _file(self, ending: str) -> str:
        return f"{self.run.attempts_folder}/{self.number:04d}{ending}"  # pathlib is slow for 10,000 runs

    def owner(self) -> Owner | None:
        """Read who executes the attempt; None while the claim is not written to its end."""
        try:
            return Owner.from_stored(read_json(self._file(".json")))
        except DirectoryError:
            # Created, and not written yet: its owner is at it now, or died in between, or its disk is full.
            if self._is_cut_off():
                return None
            raise
        except (TypeError, ValueError, OSError) as error:
            raise damaged(self.claim_path, error) from None

    def _is_cut_off(self) -> bool:
        try:
            return not read_regular_file(self.claim_path).endswith(b"}")
        except (OSError, ValueError):
            return False

    def end(self) -> End | None:
        """Read how the attempt ended; None while it has not."""
        try:
            stored = read_json(self._file(".end.json"))
            if stored["outcome"] in (State.PENDING, State.RUNNING):
                raise ValueError(f"{stored['outcome']} is not an outcome")
            early = stored.get("stopped_early")
            stopped_early = None if early is None else StoppedEarly.from_stored(early)
            end = End(
                State(stored["outcome"]), stored["ended"], stored["error"], stored["metrics"], stopped_early
            )
            check_time(end.ended)
            if not all(isinstance(number, (int, float)) for number in end.metrics.values()):
                raise ValueError("metrics are numbers")
            if end.error is not None and not all(
                isinstance(end.error[key], str) for key in ("type", "message")
            ):
                raise ValueError("an error has a type and a message")
            return end
        except FileNotFoundError:
            return None
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            raise damaged(self.end_path, error) from None

    def earlier_metrics(self) -> dict[str, float]:
        """Read what the run has recorded before this attempt, which a resumed run may not log again.

        Each end holds all metrics of the run so far, so the newest is enough; crashed attempts have none.
        """
        for number in range(self.number - 1, 0, -1):
            if (end := Attempt(self.run, number).end()) is not None:
                return end.metrics
        return {}

    def superseded(self) -> bool:
        """Return whether another process has taken the run over since."""
        # Attempts are numbered without gaps, so one look is enough, however many there are.
        return Attempt(self.run, self.number + 1).claim_path.exists()

    def finish(
        self,
        outcome: State,
        error: dict[str, str] | None,
        metrics: dict[str, float],
        stopped_early: StoppedEarly | None = None,
    ) -> bool:
        """Record how the attempt ended; a superseded attempt writes nothing.

        Returns:
            whether it was recorded.
        """
        if self.superseded():
            return False
        # Whole and never replaced: whoever reads it, and resumes by it, must not see half of it, and of
        # two that write (the function's end and the end of its grace) the first counts.
        return self._record(outcome, error, metrics, stopped_early)

    def state(self) -> State:
        """Derive the state; an owner that cannot be seen from here counts as running."""
        end = self.end()
        if end is not None:
            return end.outcome
        owner = self.owner()
        if owner is None or owner.alive(self.last_beat) is not False:
            return State.RUNNING
        # It may have ended, and its process too, since the first look: without the second, a run that ends
        # just now would count as crashed, and be resumed though it has finished.
        end = self.end()
        if end is not None:
            return end.outcome
        return State.PREEMPTED if owner.was_requeued() else State.CRASHED

    def record_requeue(self) -> None:
        """Record as preempted what SLURM has ended to queue it again, once a later attempt has been claimed.

        Otherwise it would count as a crash, however often the job is queued again.
        """
        self._record(State.PREEMPTED, None, self.earlier_metrics())

    def _record(
        self,
        outcome: State,
        error: dict[str, str] | None,
        metrics: dict[str, float],
        stopped_early: StoppedEarly | None = None,
    ) -> bool:
        end = {"outcome": str(outcome), "ended": now(), "error": error, "metrics": metrics}
        early = {} if stopped_early is None else {"stopped_early": asdict(stopped_early)}
        return publish_json(self.end_path, {**end, **early})

    def given_up(self, state: State, max_attempts: int) -> bool:
        """Return whether resume leaves the run alone: it is unfinished, and has failed or crashed too often.

        Preempted attempts do not count, nor does one that is still being executed.

        Args:
            state: how this attempt, the run's last one, ended.
            max_attempts: how often a run may fail or crash.
        """
        if self.number < max_attempts:
            return False
        # The last attempt is judged by `state`: it may have crashed, and then has no end to read.
        ends = [Attempt(self.run, number).end() for number in range(1, self.number)]
        earlier = [State.CRASHED if end is None else end.outcome for end in ends]
        return is_given_up([*earlier, state], max_attempts)

    def unseen(self) -> bool:
        """Return whether it is being executed, if at all, where this process cannot look."""
        if self.end() is not None:
            return False
        owner = self.owner()
        return owner is None or owner.alive(self.last_beat) is None

    def last_beat(self) -> float:
        """Return when the owner's last sign of life was, in seconds since 1970 by the disk's clock."""
        try:
            return self.heartbeat_path.stat().st_mtime
        except OSError:
            return self.claim_path.stat().st_mtime

    def heartbeat(self) -> str:
        """Read the heartbeat's content; empty if there is none."""
        try:
            return read_regular_file(self.heartbeat_path).decode(errors="replace")
        except (OSError, ValueError):
            return ""


@dataclass(frozen=True)
class RunDirectory:
    """The record of one run."""

    path: Path

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def attempts_path(self) -> Path:
        return Path(self.attempts_folder)

    @cached_property
    def attempts_folder(self) -> str:
        """The folder of the attempts, as text."""
        return f"{self.path}/attempts"

    @property
    def checkpoint_path(self) -> Path:
        return self.path / "checkpoint"

    def record(self) -> dict[str, Any]:
        """Read run.json: run_id, assignment, name, created, and the definition, 1 where none is written."""
        try:
            stored = read_json(f"{self.path}/run.json")
        except FileNotFoundError as error:
            raise damaged(self.path / "run.json", error) from None
        if not isinstance(stored, dict) or not isinstance(stored.get("assignment"), dict):
            raise damaged(self.path / "run.json", KeyError("assignment"))
        if not isinstance(stored.get("name"), (str, type(None))):
            raise damaged(self.path / "run.json", TypeError("a name is text"))
        if type(stored.setdefault("definition", 1)) is not int:
            raise damaged(self.path / "run.json", TypeError("a definition is a number"))
        return stored

    def config(self) -> dict[str, Any] | None:
        """Read the config; None if it could not be resolved when the run was made."""
        try:
            stored = read_json(self.path / "run_config.json")
        except FileNotFoundError:
            return None
        if not isinstance(stored, dict):
            raise damaged(self.path / "run_config.json", TypeError("no mapping"))
        return stored

    def last_attempt(self) -> Attempt | None:
        """Find the newest attempt; None if the run was never started."""
        return self.last_of(self.attempts_files()[0])

    def last_of(self, files: list[str]) -> Attempt | None:
        """Return the newest attempt of those that have these files."""
        numbers = [int(name[:-5]) for name in files if _CLAIM.fullmatch(name)]
        return Attempt(self, max(numbers)) if numbers else None

    def attempts_files(self) -> tuple[list[str], int]:
        """List all attempts' files.

        Returns:
            their names, in no order, and when one was last added or removed, in ns since 1970 by the disk's
            clock; no names and 0 if the run was never started.
        """
        try:
            folder = os.open(self.attempts_folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                return os.listdir(folder), os.fstat(folder).st_mtime_ns
            finally:
                os.close(folder)
        except FileNotFoundError:
            return [], 0
        except OSError as error:
            if os.path.islink(self.attempts_folder):
                message = f"{self.attempts_path}: a symbolic link could lead anywhere; remove it"
                raise DirectoryError(message) from None
            raise damaged(self.attempts_path, error) from None

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
        # Of all processes that saw the same last attempt, one can create this file.
        attempt = Attempt(self, after.number + 1 if after else 1)
        if after is None:
            with writing(self.attempts_path):
                self.attempts_path.mkdir(parents=True, exist_ok=True)
        return attempt if claim_json(attempt.claim_path, asdict(Owner.current())) else None

    def set_checkpoint_aside(self, delete: bool) -> None:
        """Make room for a run from scratch: `checkpoint/` becomes `checkpoint.0001/` (the next free number).

        Args:
            delete: remove it instead.

        Raises:
            DirectoryError: it cannot be moved or removed.
        """
        with writing(self.checkpoint_path):
            if not self.checkpoint_path.is_dir() or not any(self.checkpoint_path.iterdir()):
                return
            if delete:
                shutil.rmtree(self.checkpoint_path)
                return
            number = 1
            while (aside := self.path / f"checkpoint.{number:04d}").exists():
                number += 1
            self.checkpoint_path.rename(aside)

    def make_checkpoint(self) -> None:
        """Create `checkpoint/`, which the function may rely on, unless an earlier attempt has left it.

        Raises:
            DirectoryError: it cannot be created.
        """
        with writing(self.checkpoint_path):
            self.checkpoint_path.mkdir(exist_ok=True)
