"""`python -m dysweep.agents.child`: the process in which an isolated function is executed for one run."""

from __future__ import annotations

import functools
import os
import pickle
import sys
from pathlib import Path
from typing import Any

from dysweep.agents.function_job import FunctionJob, described, users_part
from dysweep.agents.functions import function_named
from dysweep.agents.isolated_job import ORDER, Answer, Order, written
from dysweep.agents.isolation import own_environment
from dysweep.agents.outcome import outcome_of
from dysweep.agents.ranks import is_follower
from dysweep.agents.signals import StopSignals
from dysweep.directory.runs import State
from dysweep.errors import DysweepError
from dysweep.log import said_on_stderr

_EXIT_CODES = {State.FINISHED: 0, State.PREEMPTED: 75}


def main() -> int:
    folder = Path(os.environ[ORDER])
    order: Order = pickle.loads((folder / "order").read_bytes())
    sys.path[:] = order.path
    with said_on_stderr():
        try:
            job = _job_of(order)
            job.check()
        except DysweepError as error:
            (folder / "answer").write_bytes(
                written(Answer(State.FAILED, None, error, described(error.with_traceback(None))))
            )
            return error.exit_code
        if order.claim is None:
            (folder / "answer").write_bytes(written(Answer(State.FINISHED)))
            return 0
        if is_follower():
            job.follow(order.claim)
            return 0
        outcome, answer = _execute(order, job)
        (folder / "answer").write_bytes(answer)
        return _EXIT_CODES.get(outcome, 1)


def _job_of(order: Order) -> FunctionJob:
    package, name = order.package, order.function
    outer, _, rest = (name or "").partition(".")
    function = function_named(package, outer if rest else name)
    if rest:
        function = functools.reduce(getattr, rest.split("."), function)
    return FunctionJob(function, order.arguments, order.use_lightning_logger, order.with_tree)


def _execute(order: Order, job: FunctionJob) -> tuple[State, bytes]:
    claim = order.claim
    assert claim is not None
    value: Any = None
    error: BaseException | None = None
    with StopSignals(order.grace) as stop, own_environment(offline=not claim.sweep.online):
        run = None
        try:
            run = job.track(claim, lambda: stop.end_run(State.KILLED))
            if order.mark_preempting:
                run.mark_preempting()
            stop.when_received = run.mark_preempted
            value = job.execute(claim, run, stop)
        except BaseException as raised:
            error = raised.with_traceback(users_part(raised))
        # Looked at before W&B is told: who has taken the run over has it in W&B now.
        outcome = State.CRASHED if claim.attempt.superseded() else outcome_of(error, stop)
        problem = described(error) if outcome is State.FAILED and error is not None else {}
        if run is not None:
            run.end(0 if outcome is State.FINISHED else 1, preempted=outcome is State.PREEMPTED)
        stop.when_received = lambda: None
    if isinstance(error, SystemExit) and outcome is State.FINISHED:
        error = None
    early = run.stopped_early if run is not None and outcome is State.KILLED else None
    return outcome, written(Answer(outcome, value, error, problem, early))


if __name__ == "__main__":
    sys.exit(main())
