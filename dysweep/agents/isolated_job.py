"""What is executed for a claim: a call of a function in a fresh Python process."""

from __future__ import annotations

import importlib
import os
import pickle
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from dysweep.agents.capture import Relay
from dysweep.agents.processes import exit_error, run_program, signal_to_pass, wait_for_former
from dysweep.agents.signals import StopSignals
from dysweep.agents.sources import Claim
from dysweep.current import RUN_DIR
from dysweep.directory.runs import State
from dysweep.errors import FunctionError, Preempted, text_of
from dysweep.language.hyperband import StoppedEarly
from dysweep.log import say
from dysweep.tracking.programs import ProgramRun

ORDER = "DYSWEEP_ORDER"  # where the child finds what to do, and leaves what came of it


@dataclass(frozen=True)
class Order:
    """What a child process is to do.

    Args:
        package: the module of the function.
        function: its name there.
        arguments: further keyword arguments.
        use_lightning_logger: give the function Lightning's WandbLogger.
        path: where modules are looked for.
        grace: seconds that the function has to stop.
        with_tree: put the tree's keys into the config of the W&B run, too.
        claim: the run to execute; None to check the function only.
        mark_preempting: tell W&B from the start that the run may be preempted.
    """

    package: str | None
    function: str | None
    arguments: Mapping[str, Any]
    use_lightning_logger: bool
    path: list[str]
    grace: float
    with_tree: bool = False
    claim: Claim | None = None
    mark_preempting: bool = False


@dataclass(frozen=True)
class Answer:
    """What came of an order.

    Args:
        outcome: how the run ended.
        value: what the function returned; None if it cannot be pickled.
        error: what was raised; None if nothing was, or it cannot be pickled.
        described: its type, message and traceback.
        stopped_early: why the run was stopped early, if it was killed for that.
    """

    outcome: State
    value: Any = None
    error: BaseException | None = None
    described: dict[str, str] = field(default_factory=dict)
    stopped_early: StoppedEarly | None = None


class RemoteError(Exception):
    """What a function has raised in its own process.

    Args:
        described: type, message and traceback.
        original: the exception itself; None if it could not be brought here.
    """

    def __init__(self, described: dict[str, str], original: BaseException | None) -> None:
        super().__init__(f"{described['type']}: {described['message']}")
        self.described = described
        self.original = original


@dataclass(frozen=True)
class IsolatedJob:
    """Calls a function for every run, each in a Python process of its own."""

    order: Order

    # After the grace: the run ends in W&B, and what was left behind ends.
    seconds_to_end = 60.0

    @classmethod
    def of(
        cls,
        function: Callable[..., Any] | None,
        package: str | None,
        name: str | None,
        arguments: Mapping[str, Any],
        use_lightning_logger: bool,
        grace: float,
        with_tree: bool,
    ) -> IsolatedJob:
        """Prepare a function that is given itself, or by its names.

        Raises:
            FunctionError: another process could not import it.
        """
        if function is not None:
            package, name = _names_of(function)
        return cls(
            Order(package, name, dict(arguments), use_lightning_logger, list(sys.path), grace, with_tree)
        )

    def check(self) -> None:
        """Check in a process of its own that the function can be called.

        Raises:
            FunctionError: it cannot; the message says what it should take.
        """
        relay = Relay()
        answer, code = _ordered(self.order, relay, lambda: None)
        if answer is None:
            raise FunctionError(f"--package: {self.order.package!r}: {exit_error(code, relay.last_lines)}")
        if answer.error is not None:
            raise answer.error

    def track(self, claim: Claim, when_stopped: Callable[[], object] = lambda: None) -> ProgramRun:
        """Prepare the W&B run that the child starts."""
        return claim.track(ProgramRun, with_tree=self.order.with_tree)

    def execute(self, claim: Claim, run: ProgramRun, stop: StopSignals) -> Any:
        """Call the function in a process of its own, and return what it returns.

        Args:
            claim: the run to execute.
            run: its W&B run, which the child starts and ends.
            stop: the signals that it gets passed on.

        Raises:
            ProgramCrash: the process was ended by a signal that no agent sent.
            Preempted: it was told to stop.
            Exception: what the function has raised, as RemoteError.
        """
        wait_for_former(claim.attempt, self.order.grace, stop)
        relay = Relay()
        order = replace(self.order, claim=claim, mark_preempting=run.preempting)
        try:
            answer, code = _ordered(order, relay, lambda: signal_to_pass(stop))
        finally:
            relay.end()
        if answer is None:
            if stop.stopping:
                raise Preempted(stop.received or signal.SIGTERM)
            raise exit_error(code, relay.last_lines)
        if answer.outcome is State.KILLED:
            stop.run_ended, run.stopped_early = State.KILLED, answer.stopped_early
        if answer.outcome in (State.KILLED, State.PREEMPTED, State.CRASHED):
            raise answer.error if isinstance(answer.error, Preempted) else Preempted()
        if answer.described:
            raise RemoteError(answer.described, answer.error)
        return answer.value


def _ordered(order: Order, relay: Relay, passed: Callable[[], int | None]) -> tuple[Answer | None, int]:
    """Let a child execute an order; return its answer, None if it has died before, and its exit code."""
    # In a folder that nobody else can write to, as what is pickled there can be any code.
    folder = Path(tempfile.mkdtemp(prefix="dysweep-"))
    try:
        (folder / "order").write_bytes(pickle.dumps(order))
        environment = {**os.environ, ORDER: str(folder), "PYTHONFAULTHANDLER": "1", "PYTHONUNBUFFERED": "1"}
        environment.pop("WANDB_SERVICE", None)
        if order.claim is not None:
            environment[RUN_DIR] = str(order.claim.attempt.run.path.absolute())
        words = [sys.executable, "-m", "dysweep.agents.child"]
        # The child counts its own grace; this one is for a child that does not answer at all.
        code = run_program(words, environment, order.grace + 30, passed, relay.write)
        try:
            return pickle.loads((folder / "answer").read_bytes()), code
        except FileNotFoundError:
            return None, code
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def written(answer: Answer) -> bytes:
    """Write an answer; what cannot be pickled, or not be read again, is left out."""
    for each in (answer, replace(answer, value=None)):
        try:
            content = pickle.dumps(each)
            pickle.loads(content)
            return content
        except Exception as problem:  # of the user's own classes
            reason = text_of(problem)
    if answer.value is not None and answer.error is None:
        say(f"what the function returned cannot be given to another process ({reason})")
    return pickle.dumps(replace(answer, value=None, error=None))


def _names_of(function: Callable[..., Any]) -> tuple[str, str]:
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    found: Any = None
    if isinstance(module, str) and module != "__main__":
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part, None)
    if found is not function or not isinstance(module, str):
        raise FunctionError(
            f"isolate: {name or function!r} cannot be imported by another process, as it is defined in a "
            "notebook, in the script itself, or in a function; put it into a module"
        )
    return module, name
