"""How an attempt has ended, of what its job has raised."""

from __future__ import annotations

from dysweep.agents.signals import StopSignals
from dysweep.directory.runs import State
from dysweep.errors import Preempted, ProgramCrash


def outcome_of(error: BaseException | None, stop: StopSignals) -> State:
    """Return the outcome of an attempt that has raised this, or nothing."""
    if stop.run_ended is not None and isinstance(error, Preempted):
        return stop.run_ended
    if stop.received is not None or isinstance(error, (Preempted, KeyboardInterrupt)):
        return State.PREEMPTED
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return State.FINISHED
    return State.CRASHED if isinstance(error, ProgramCrash) else State.FAILED
