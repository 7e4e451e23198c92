"""One attempt: start the W&B run, execute the job, record how it ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dysweep.agents.capture import captured
from dysweep.agents.jobs import FunctionJob, traceback_of, users_part
from dysweep.agents.signals import StopSignals
from dysweep.agents.sources import Claim
from dysweep.directory.heartbeat import Heartbeat
from dysweep.directory.runs import Attempt, State
from dysweep.directory.sweep import Sweep
from dysweep.errors import DirectoryError, Preempted, TrackingError, text_of
from dysweep.log import say
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
    """

    claim: Claim
    outcome: State
    value: Any
    error: BaseException | None
    seconds: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    other_values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Executor:
    """Executes claims of one sweep.

    Args:
        sweep: the sweep.
        job: what is executed.
        stop: the signals that end it early.
        mark_preempting: tell W&B from the start that runs may be preempted.
        heartbeat: seconds between two signs of life.
    """

    sweep: Sweep
    job: FunctionJob
    stop: StopSignals
    mark_preempting: bool = False
    heartbeat: float = 5.0

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
        with heartbeat, captured(attempt):
            # From here on the grace may be over at any time: the record is written before the process ends.
            stop.when_grace_is_over = lambda: attempt.finish(State.PREEMPTED, None, earlier)
            try:
                run = self._start(claim)
            except TrackingError as problem:
                known = self._known_to_wandb(claim)
                outcome = State.GONE if known is False else State.FAILED
                refused = {"type": type(problem).__name__, "message": str(problem), "traceback": ""}
                attempt.finish(outcome, refused, earlier)
                stop.when_grace_is_over = lambda: None
                stop.run_ended = None
                if known is None:
                    raise
                logger.warning("%s", _GONE % claim.run_id if outcome is State.GONE else problem)
                return Result(claim, outcome, None, problem, time.monotonic() - begun, earlier)
            stop.when_received = run.mark_preempted
            try:
                if claim.problem is not None:
                    raise claim.problem
                value = self.job.execute(claim, run, stop)
            except BaseException as raised:
                error = raised.with_traceback(users_part(raised))
            # Looked at before W&B is told: who has taken the run over has it in W&B now.
            outcome = State.CRASHED if attempt.superseded() else _outcome(error, stop)
            if outcome is State.CRASHED:
                logger.warning("%s: another process has taken it over; stopped here", claim.run_id)
            described = None
            if outcome is State.FAILED and error is not None:
                traceback = "" if error is claim.problem else traceback_of(error)
                described = {"type": type(error).__name__, "message": text_of(error), "traceback": traceback}
                say(traceback.rstrip("\n") or f"{claim.run_id}: {error}")
            # W&B first, then the record: a crash between the two leaves a run that is resumed in W&B, while
            # the other order could leave one that is finished here and running there for ever.
            metrics = run.end(0 if outcome is State.FINISHED else 1, preempted=outcome is State.PREEMPTED)
            metrics = dict(sorted({**earlier, **metrics}.items()))
            attempt.finish(outcome, described, metrics)
            stop.when_received = stop.when_grace_is_over = lambda: None
            stop.run_ended = None
        # sys.exit(0) is a way to return; callers that look at the error must not take it for one.
        if isinstance(error, SystemExit) and outcome is State.FINISHED:
            error = None
        seconds = time.monotonic() - begun
        return Result(claim, outcome, value, error, seconds, metrics, run.other_values)

    def _start(self, claim: Claim) -> TrackedRun:
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
        run = TrackedRun(
            self.sweep,
            claim.attempt.run,
            claim.assignment,
            claim.name,
            claim.config or {},
            from_scratch=claim.from_scratch,
            when_stopped=lambda: self.stop.end_run(State.KILLED),
        )
        if self.mark_preempting:
            run.run.mark_preempting()
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


def _outcome(error: BaseException | None, stop: StopSignals) -> State:
    if stop.run_ended is not None and isinstance(error, Preempted):
        return stop.run_ended
    if stop.received is not None or isinstance(error, (Preempted, KeyboardInterrupt)):
        return State.PREEMPTED
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return State.FINISHED
    return State.FAILED
