"""One run read for people and scripts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from dysweep.directory.legacy import NAME, OldRun
from dysweep.directory.liveness import Owner
from dysweep.directory.runs import Attempt, End, RunDirectory, State, is_given_up
from dysweep.errors import DirectoryError
from dysweep.language.hyperband import StoppedEarly


@dataclass(frozen=True)
class AttemptStatus:
    """One execution of a run.

    Args:
        outcome: running, finished, failed, preempted, killed, crashed or gone.
        host: where; None while its claim is still empty.
        pid: the process.
        slurm_job_id: its SLURM job.
        started: when it began, ISO 8601 in UTC.
        ended: when it ended; if it crashed, when it gave its last sign of life.

    Example:
        >>> import dysweep
        >>> sweep_id = dysweep.dysweep_run_resume(
        ...     mode="offline",
        ...     base_config={"seed": 0},
        ...     sweep_configuration={"lr": {"sweep": True, "values": [1, 2]}},
        ... )
        >>> dysweep.dysweep_run_resume(sweep_id=sweep_id, function=lambda config, checkpoint_dir: None)
        >>> first = dysweep.open_sweep(sweep_id).runs[0]
        >>> [attempt.outcome for attempt in first.history]
        ['finished']
    """

    outcome: str
    host: str | None
    pid: int | None
    slurm_job_id: str | None
    started: str | None
    ended: str | None


@dataclass(frozen=True)
class RunStatus:
    """One run, as its files say.

    Args:
        run_id: its id.
        name: its name in W&B; None if W&B chose it.
        state: pending, running, finished, failed, preempted, killed, crashed or gone.
        set_aside: whether it is given up: it has failed or crashed so often that `resume` leaves it alone.
        assignment: what the sweep chose.
        attempts: how often it was started.
        host: where its last attempt runs or ran.
        slurm_job_id: the SLURM job of the last attempt.
        sign_of_life: when its heartbeat changed last, if it is running, by the file system's clock.
        started: when its last attempt began, ISO 8601 in UTC.
        ended: when its last attempt ended.
        seconds: how long its attempts took, together, as far as their ends are known.
        error: type and message of what the function raised, if it failed.
        metrics: the final numeric metrics.
        stopped_early: why `early_terminate` has stopped it, if it has.
        history: its attempts, the last one at the end.
        definition: which of the sweep's definitions it is of, 1 for that of its creation.

    Example:
        >>> import dysweep
        >>> sweep_id = dysweep.dysweep_run_resume(
        ...     mode="offline",
        ...     base_config={"seed": 0},
        ...     sweep_configuration={"lr": {"sweep": True, "values": [1, 2]}},
        ... )
        >>> dysweep.dysweep_run_resume(sweep_id=sweep_id, function=lambda config, checkpoint_dir: None)
        >>> first = dysweep.open_sweep(sweep_id).runs[0]
        >>> first.state, first.assignment, first.attempts
        ('finished', {'lr': 1}, 1)
    """

    run_id: str
    state: str
    name: str | None = None
    set_aside: bool = False
    assignment: dict[str, Any] = field(default_factory=dict)
    attempts: int = 0
    host: str | None = None
    slurm_job_id: str | None = None
    sign_of_life: str | None = None
    started: str | None = None
    ended: str | None = None
    seconds: float | None = None
    error: dict[str, str] | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    stopped_early: StoppedEarly | None = None
    history: tuple[AttemptStatus, ...] = ()
    definition: int = 1

    def to_stored(self) -> dict[str, Any]:
        """Return it as mappings and lists."""
        early = None if self.stopped_early is None else vars(self.stopped_early)
        return {**vars(self), "stopped_early": early, "history": [vars(each) for each in self.history]}


def run_status(run: RunDirectory, files: list[str], max_attempts: int) -> RunStatus:
    """Read a run.

    Args:
        run: its directory.
        files: the names of its attempts' files.
        max_attempts: how often it may fail or crash before it is given up.

    Raises:
        DirectoryError: its record is damaged.
    """
    last = run.last_of(files)
    record = run.record()
    attempts = [] if last is None else _up_to(last)
    ends = [(attempt, attempt.owner(), attempt.end()) for attempt in attempts]
    _, owner, end = ends[-1] if ends else (None, None, None)
    state = end.outcome if end else State.PENDING if last is None else last.state()
    history = tuple(_attempt_status(*each, state if each[0] is last else State.CRASHED) for each in ends)
    spans = [_seconds(its.started, its_end.ended) for _, its, its_end in ends if its and its_end]
    return RunStatus(
        run_id=run.run_id,
        name=record.get("name"),
        state=str(state),
        set_aside=is_given_up([each.outcome for each in history], max_attempts),
        assignment=record["assignment"],
        definition=record["definition"],
        attempts=len(attempts),
        host=owner.host if owner else None,
        slurm_job_id=owner.slurm_job_id if owner else None,
        sign_of_life=changed(last.heartbeat_path) if last is not None and state is State.RUNNING else None,
        started=owner.started if owner else None,
        ended=end.ended if end else None,
        seconds=round(sum(spans), 3) if spans else None,
        error=end.error if end else None,
        metrics=end.metrics if end else {},
        stopped_early=end.stopped_early if end else None,
        history=history,
    )


def old_run_status(run: OldRun) -> RunStatus:
    """Return a run of dysweep 0.1."""
    return RunStatus(
        run_id=run.run_id,
        state=str(run.state),
        attempts=1,
        host=NAME,
        started=run.started,
        ended=run.ended,
        error=run.error,
        history=(AttemptStatus(str(run.state), NAME, None, None, run.started, run.ended),),
    )


def _up_to(last: Attempt) -> list[Attempt]:
    return [Attempt(last.run, number) for number in range(1, last.number)] + [last]


def _attempt_status(
    attempt: Attempt, owner: Owner | None, end: End | None, state_without_end: State
) -> AttemptStatus:
    crashed = end is None and state_without_end is State.CRASHED
    return AttemptStatus(
        outcome=str(end.outcome if end else state_without_end),
        host=owner.host if owner else None,
        pid=owner.pid if owner else None,
        slurm_job_id=owner.slurm_job_id if owner else None,
        started=owner.started if owner else None,
        ended=end.ended if end else changed(attempt.heartbeat_path) if crashed else None,
    )


def changed(path: Path) -> str | None:
    """Return when a file was changed last, ISO 8601 in UTC; None if nobody knows."""
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).isoformat()
    except (OSError, ValueError, OverflowError):  # the last two: a time that no calendar has
        return None


def _seconds(started: str, ended: str) -> float:
    try:
        return (datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds()
    except (TypeError, ValueError) as error:
        raise DirectoryError(f"{started!r} or {ended!r} is not a time: {error}") from None
