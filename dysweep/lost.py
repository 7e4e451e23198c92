"""Which runs of a sweep are lost: failed, preempted or crashed, and not given up."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass, field

from dysweep.checkpoint import SweepDirectory
from dysweep.errors import DirectoryError
from dysweep.runs import Attempt, RunDirectory, State

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

    @property
    def urgency(self) -> tuple[bool, str, str]:
        """Sorts preempted and crashed runs before failed ones, and older ones before newer ones."""
        return self.state is State.FAILED, self.started, self.run.run_id


@dataclass(frozen=True)
class Findings:
    """What a look at all runs has found.

    Args:
        lost: the lost ones, the most urgent first.
        unseen: those that are being executed where this process cannot look, as if they had crashed.
    """

    lost: list[LostRun] = field(default_factory=list)
    unseen: list[LostRun] = field(default_factory=list)


def find_lost(directory: SweepDirectory, states: Collection[State]) -> Findings:
    """Look at all runs of a sweep; a damaged one is named and left alone.

    Args:
        directory: the sweep's directory.
        states: which of preempted, crashed and failed are wanted.
    """
    found = Findings()
    for run in directory.runs():
        try:
            run.record()
            last = run.last_attempt()
            if last is None:
                found.lost.append(LostRun(run, None, State.CRASHED, ""))
                continue
            state, owner, unseen = last.state(), last.owner(), last.unseen()
            started = owner.started if owner else ""
        except DirectoryError as error:
            logger.error("%s; the run is left alone", error)
            continue
        if state in states:
            found.lost.append(LostRun(run, last, state, started))
        elif state is State.RUNNING and unseen and State.CRASHED in states:
            found.unseen.append(LostRun(run, last, State.CRASHED, started))
    found.lost.sort(key=lambda each: each.urgency)
    found.unseen.sort(key=lambda each: each.urgency)
    return found


def given_up(run: RunDirectory, last: Attempt | None, state: State, max_attempts: int) -> bool:
    """Tell, and log, whether a run has failed or crashed so often that it is not resumed."""
    if last is None or not last.given_up(state, max_attempts):
        return False
    logger.warning(
        "%s: given up after %d attempts; --rerun_id %s starts it again, --max_attempts allows it more",
        run.run_id, last.number, run.run_id,
    )  # fmt: skip
    return True
