"""One attempt: start the W&B run, execute the job, record how it ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from dysweep.agents.capture import captured
from dysweep.agents.failures import Failures
from dysweep.agents.function_job import described, users_part
from dysweep.agents.isolated_job import RemoteError
from dysweep.agents.jobs import Job
from dysweep.agents.outcome import outcome_of
from dysweep.agents.signals import StopSignals
from dysweep.agents.sources import Claim
from dysweep.directory.heartbeat import Heartbeat
from dysweep.directory.runs import Attempt, State
from dysweep.directory.sweep import Sweep
from dysweep.errors import (
    DirectoryError,
    ProgramError,
    TrackingError,
    text_of,
)
from dysweep.language.hyperband import StoppedEarly
from dysweep.log import say
from dysweep.tracking.checkpoints import CheckpointUploads
from dysweep.tracking.programs import ProgramRun
from dysweep.tracking.runs import TrackedRun
from dysweep.tracking.sdk import fetch_run
from dysweep.tracking.sweeps import page_of_run

logger = logging.getLogger("dysweep")

_GONE = "%s: it was deleted in W&B, which refuses its id for ever; a grid hands its point out again"


@dataclass(frozen=True)
class Result:
    """How one attempt ended, as this process saw it.

    Args:
        claim: what was executed.
        outcome: finished, failed, preempted, killed, gone, or crashed if another process has taken it over.
        value: what the function returned.
        error: what it raised.
        seconds: how long it took.
        metrics: the final numeric metrics.
        other_values: what was logged and is not a number, with its kind.
        stopped_early: why `early_terminate` has ended it, if it has.
    """

    claim: Claim
    outcome: State
    value: Any
    error: BaseException | None
    seconds: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    other_values: Mapping[str, str] = field(default_factory=dict)
    stopped_early: StoppedEarly | None = None


@dataclass(frozen=True)
class Executor:
    """Executes claims of one sweep.

    Args:
        sweep: the sweep.
        job: what is executed.
        stop: the signals that end it early.
        mark_preempting: tell W&B from the start that runs may be preempted.
        max_log_bytes: how long an attempt's log may be.
        failures: which errors there have been.
        heartbeat: seconds between two signs of life.
        checkpoint_seconds: seconds between two checkpoints that W&B keeps; None to keep none there.
    """

    sweep: Sweep
    job: Job
    stop: StopSignals
    mark_preempting: bool
    max_log_bytes: int
    failures: Failures
    heartbeat: float
    checkpoint_seconds: float | None = None

    def execute(self, claim: Claim) -> Result:
        """Execute a claim and record how it ended.

        Raises:
            DirectoryError: the run's directory cannot be written.
            TrackingError: W&B cannot be reached.
        """
        begun = time.monotonic()
        attempt, stop = claim.attempt, self.stop
        attempt.run.make_checkpoint()
        # What the run has recorded so far belongs to every way in which this attempt may end.
        earlier = {} if claim.from_scratch else _earlier_metrics(attempt)
        value: Any = None
        error: BaseException | None = None
        heartbeat = Heartbeat(attempt, self.heartbeat, when_superseded=lambda: stop.end_run(State.CRASHED))
        with heartbeat, captured(attempt, self.max_log_bytes):
            # From here on the grace may be over at any time: the record is written before the process ends.
            stop.when_grace_is_over = lambda: attempt.finish(State.PREEMPTED, None, earlier)
            try:
                run = self._start(claim)
            except TrackingError as refusal:
                known = self._known_to_wandb(claim)
                outcome = State.GONE if known is False else State.FAILED
                refused = {"type": type(refusal).__name__, "message": str(refusal), "traceback": ""}
                attempt.finish(outcome, refused, earlier)
                stop.when_grace_is_over = lambda: None
                stop.run_ended = None
                if known is None:
                    raise
                logger.warning("%s", _GONE % claim.run_id if outcome is State.GONE else refusal)
                return Result(claim, outcome, None, refusal, time.monotonic() - begun, earlier)
            stop.when_received = run.mark_preempted
            with self._kept_in_wandb(claim, run) as uploads:
                try:
                    if claim.problem is not None:
                        raise claim.problem
                    value = self.job.execute(claim, run, stop)  # type: ignore[arg-type]
                except BaseException as raised:
                    error = raised.with_traceback(users_part(raised))
            # Looked at before W&B is told: who has taken the run over has it in W&B now.
            superseded = attempt.superseded()
            outcome = State.CRASHED if superseded else outcome_of(error, stop)
            if uploads is not None and not superseded and outcome is not State.FINISHED:
                uploads.upload()
            if superseded:
                logger.warning("%s: another process has taken it over; stopped here", claim.run_id)
            problem: dict[str, str] | None = None
            if outcome in (State.FAILED, State.CRASHED) and error is not None and not superseded:
                problem = _described(error)
                first = self.failures.same_as(problem, claim.run_id)
                is_said = isinstance(error, ProgramError) and error.last_lines  # by the program itself
                said = "" if is_said else problem["traceback"].rstrip("\n")
                if first is None:
                    say(said or f"{claim.run_id}: {problem['message']}")
                else:
                    say(f"{claim.run_id}: {problem['type']}, the same error as {first}")
            # W&B first, then the record: a crash between the two leaves a run that is resumed in W&B, while
            # the other order could leave one that is finished here and running there for ever.
            metrics = run.end(0 if outcome is State.FINISHED else 1, preempted=outcome is State.PREEMPTED)
            metrics = dict(sorted({**earlier, **metrics}.items()))
            early = run.stopped_early if outcome is State.KILLED else None
            attempt.finish(outcome, problem, metrics, early)
            stop.when_received = stop.when_grace_is_over = lambda: None
            stop.run_ended = None
        self.failures.note_end()
        # sys.exit(0) is a way to return; callers that look at the error must not take it for one.
        if isinstance(error, SystemExit) and outcome is State.FINISHED:
            error = None
        if isinstance(error, RemoteError):
            error = error.original or error
        seconds = time.monotonic() - begun
        return Result(claim, outcome, value, error, seconds, metrics, run.other_values, early)

    def _kept_in_wandb(
        self, claim: Claim, run: TrackedRun | ProgramRun
    ) -> AbstractContextManager[CheckpointUploads | None]:
        if self.checkpoint_seconds is None or not isinstance(run, TrackedRun):
            return nullcontext()
        return CheckpointUploads(run, self.sweep.address, claim.attempt.run, self.checkpoint_seconds)

    def _start(self, claim: Claim) -> TrackedRun | ProgramRun:
        """Start the claim's run in W&B.

        Raises:
            TrackingError: W&B does not start it.
        """
        if self.sweep.online:
            # Asked before, as the SDK would try to start a deleted run for 90 seconds.
            if claim.attempt.number > 1 and fetch_run(self.sweep.address, claim.run_id) is None:
                raise TrackingError(_GONE % claim.run_id)
            # Said before the run starts: W&B would keep the line as the run's output.
            page = page_of_run(self.sweep.address, claim.run_id)
            logger.info("%s  %s", claim.run_id, page)
        run = self.job.track(claim, lambda: self.stop.end_run(State.KILLED))
        if self.mark_preempting:
            run.mark_preempting()
        return run

    def _known_to_wandb(self, claim: Claim) -> bool | None:
        """Return whether W&B has a run; None if it cannot be asked."""
        try:
            return fetch_run(self.sweep.address, claim.run_id) is not None if self.sweep.online else None
        except TrackingError:
            return None


def _earlier_metrics(attempt: Attempt) -> dict[str, float]:
    try:
        return attempt.earlier_metrics()
    except DirectoryError as error:
        logger.warning("%s; the run keeps only the metrics of its last attempt", error)
        return {}


def _described(error: BaseException) -> dict[str, str]:
    if isinstance(error, RemoteError):
        return error.described
    if isinstance(error, ProgramError):
        last_lines = "\n".join(error.last_lines)
        return {"type": type(error).__name__, "message": text_of(error), "traceback": last_lines}
    return described(error)
