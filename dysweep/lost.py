"""Which runs of a sweep are lost: failed, preempted or crashed, and not given up."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass

from dysweep.checkpoint import SweepDirectory
from dysweep.errors import DirectoryError
from dysweep.runs import Attempt, RunDirectory, State, dead_after_lease

logger = logging.getLogger("dysweep")

INTERRUPTED = (State.PREEMPTED, State.CRASHED)
LOST = (*INTERRUPTED, State.FAILED)


@dataclass(frozen=True)
class LostRun:
    """A run to go on with.

    Args:
        run: its directory.
        last: its last attempt; None if it was never started.
        state: preempted, crashed or failed.
        started: when the last attempt began, ISO 8601 in UTC.
    """

    run: RunDirectory
    last: Attempt | None
    state: State
    started: str


def lost_runs(directory: SweepDirectory, states: Collection[State], lease: float) -> list[LostRun]:
    """Find lost runs: preempted and crashed ones first, then failed ones, oldest first.

    Attempts on other hosts are watched together, for one lease.

    Args:
        directory: the sweep's directory.
        states: which of preempted, crashed and failed are wanted.
        lease: seconds without a heartbeat after which a process on another host counts as dead.
    """
    found: list[LostRun] = []
    unseen: dict[Attempt, str] = {}
    for run in directory.runs():
        try:
            run.record()
            last = run.last_attempt()
            if last is None:
                found.append(LostRun(run, None, State.CRASHED, ""))
                continue
            state, owner = last.state(), last.owner()
            started = owner.started if owner else ""
        except DirectoryError as error:
            logger.error("%s; the run is left alone", error)
            continue
        if state is State.RUNNING and (owner is None or owner.alive() is None):
            unseen[last] = started
        found.append(LostRun(run, last, state, started))
    if unseen and State.CRASHED in states:
        logger.info("watching %d runs of other hosts for up to %.0f s", len(unseen), lease)
        dead = dead_after_lease(list(unseen), lease)
        found += [LostRun(last.run, last, State.CRASHED, unseen[last]) for last in dead]
    wanted = [lost for lost in found if lost.state in states]
    return sorted(wanted, key=lambda lost: (lost.state is State.FAILED, lost.started, lost.run.run_id))


def given_up(run: RunDirectory, last: Attempt | None, max_attempts: int) -> bool:
    """Tell, and say so, whether a run has failed or crashed so often that it is set aside."""
    if last is None or last.number < max_attempts:
        return False
    ends = [Attempt(run, number).end() for number in range(1, last.number + 1)]
    failures = sum(end is None or end.outcome is State.FAILED for end in ends)
    if failures < max_attempts:
        return False
    logger.warning(
        "%s: set aside after %d failed attempts; --rerun_id %s tries it again, or a higher max_attempts",
        run.run_id, failures, run.run_id,
    )  # fmt: skip
    return True


def lives(attempt: Attempt, lease: float) -> bool:
    """Tell whether an attempt is being executed; where that cannot be seen, watch it for one lease."""
    if attempt.state() is not State.RUNNING:
        return False
    owner = attempt.owner()
    if owner is not None and owner.alive():
        return True
    return not dead_after_lease([attempt], lease)
