"""One attempt: start the W&B run, call the function, record how it ended."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from dysweep.capture import captured
from dysweep.checkpoint import Sweep
from dysweep.errors import (
    DirectoryError,
    FunctionError,
    LanguageError,
    Preempted,
    TrackingError,
    closest,
    text_of,
)
from dysweep.isolation import isolated
from dysweep.runs import Attempt, Heartbeat, State
from dysweep.signals import StopSignals

if TYPE_CHECKING:
    from dysweep.run_tracking import TrackedRun

logger = logging.getLogger("dysweep")


@dataclass(frozen=True)
class Job:
    """What is executed for every run.

    Args:
        function: called as function(config=..., checkpoint_dir=...), and `logger` if use_lightning_logger.
        arguments: further keyword arguments.
        use_lightning_logger: give the function Lightning's WandbLogger on the attempt's own W&B run.
        mark_preempting: tell W&B from the start that the run may be preempted.
        heartbeat: seconds between two signs of life.
    """

    function: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    use_lightning_logger: bool = False
    mark_preempting: bool = False
    heartbeat: float = 5.0

    def check(self) -> None:
        """Make sure that the function can be called.

        Raises:
            FunctionError: it cannot; the message says what it should take.
        """
        needed = ["config", *(["logger"] if self.use_lightning_logger else []), "checkpoint_dir"]
        shown = getattr(self.function, "__qualname__", repr(self.function))
        if not callable(self.function):
            raise FunctionError(f"{shown} is no function")
        if self.use_lightning_logger and not importlib.util.find_spec("lightning"):
            raise FunctionError("use_lightning_logger needs Lightning: pip install 'dysweep[lightning]'")
        if kind := _runs_later(self.function):
            raise FunctionError(f"{shown}: a call of {kind} does nothing yet; give a function that runs it")
        try:
            signature = inspect.signature(self.function)
        except ValueError:
            return  # builtins have none
        self._check_arguments(signature, shown)
        try:
            signature.bind(**dict.fromkeys([*needed, *self.arguments]))
        except TypeError as error:
            name = shown if shown.isidentifier() else "main"
            logger_too = "logger" in signature.parameters and not self.use_lightning_logger
            hint = ", or set use_lightning_logger for its logger" if logger_too else ""
            words = ", ".join([*needed, *self.arguments])
            raise FunctionError(
                f"{shown}{signature}: cannot be called with {words} ({error}); "
                f"write it as def {name}({words}){hint}"
            ) from None

    def _check_arguments(self, signature: inspect.Signature, shown: str) -> None:
        parameters = signature.parameters
        if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
            return
        for name in self.arguments:
            if name not in parameters:
                raise FunctionError(
                    f"run_additional_args: {shown} takes no {name!r}{closest(name, parameters)}"
                )


@dataclass(frozen=True)
class Result:
    """How one attempt ended, as this process saw it.

    Args:
        attempt: the attempt.
        outcome: finished, failed, preempted, killed, or crashed if another process has taken it over.
        value: what the function returned.
        error: what it raised.
        seconds: how long it took.
        metrics: the final numeric metrics.
        other_values: what was logged and is no number, with its kind.
    """

    attempt: Attempt
    outcome: State
    value: Any
    error: BaseException | None
    seconds: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    other_values: Mapping[str, str] = field(default_factory=dict)


def run_attempt(
    attempt: Attempt,
    sweep: Sweep,
    config: Mapping[str, Any],
    job: Job,
    stop: StopSignals,
    *,
    from_scratch: bool = False,
) -> Result:
    """Execute a claimed attempt and record how it ended.

    Args:
        attempt: the claim.
        sweep: the sweep that the run belongs to.
        config: the run's config.
        job: the function.
        stop: the signals that end it early.
        from_scratch: begin the W&B run again, instead of going on with it.

    Raises:
        TrackingError: W&B did not start the run.
    """
    begun = time.monotonic()
    attempt.run.checkpoint_path.mkdir(exist_ok=True)
    value: Any = None
    error: BaseException | None = None
    heartbeat = Heartbeat(attempt, job.heartbeat, when_superseded=lambda: stop.end_run(State.CRASHED))
    with heartbeat, captured(attempt):
        stop.when_grace_is_over = lambda: attempt.finish(State.PREEMPTED, None, {})
        if sweep.online:
            _tell_page(attempt, sweep)
        run = _tracked(attempt, sweep, config, stop, from_scratch)
        if job.mark_preempting:
            run.run.mark_preempting()
        stop.when_received = run.mark_preempted
        try:
            arguments = {
                **job.arguments,
                "config": dict(config),
                "checkpoint_dir": attempt.run.checkpoint_path,
            }
            if job.use_lightning_logger:
                arguments["logger"] = _lightning_logger(run.run)
            with isolated(), run.shared(), stop.interrupting():
                value = _call(job.function, arguments)
        except BaseException as raised:
            error = raised.with_traceback(_users_part(raised))
        outcome = State.CRASHED if attempt.superseded() else _outcome(error, stop)
        if outcome is State.CRASHED:
            logger.warning("%s: another process has taken it over; stopped here", attempt.run.run_id)
        if outcome is State.FAILED and error is not None:
            print(_traceback(error), end="", file=sys.stderr)
        metrics = run.end(0 if outcome is State.FINISHED else 1, preempted=outcome is State.PREEMPTED)
        if not from_scratch:
            metrics = dict(sorted({**_earlier_metrics(attempt), **metrics}.items()))
        attempt.finish(outcome, _described(error) if outcome is State.FAILED and error else None, metrics)
        stop.when_received = stop.when_grace_is_over = lambda: None
        stop.run_ended = None
    if isinstance(error, SystemExit) and outcome is State.FINISHED:
        error = None
    return Result(attempt, outcome, value, error, time.monotonic() - begun, metrics, run.other_values)


def _earlier_metrics(attempt: Attempt) -> Mapping[str, float]:
    try:
        return attempt.earlier_metrics()
    except DirectoryError as error:
        logger.warning("%s; the run keeps only the metrics of its last attempt", error)
        return {}


def _runs_later(function: Callable[..., Any]) -> str | None:
    """Name the kind of function whose call only returns something that is still to be run."""
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function) and not inspect.isclass(function):
        function = type(function).__call__
    if inspect.iscoroutinefunction(function):
        return "an async function"
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        return "a generator"
    return None


def _tell_page(attempt: Attempt, sweep: Sweep) -> None:
    """Say where the run's page is, before the run starts: W&B would keep the line as the run's output."""
    from dysweep import tracking

    logger.info("%s  %s", attempt.run.run_id, tracking.page_of_run(sweep.path, attempt.run.run_id))


def _call(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call the function; a child that it forks, and that comes back here, ends: it is not the run."""
    process = os.getpid()
    error: BaseException | None = None
    try:
        value = function(**arguments)
        if inspect.iscoroutine(value) or inspect.isgenerator(value) or inspect.isasyncgen(value):
            if not inspect.isasyncgen(value):
                value.close()
            raise FunctionError(f"the function returned a {type(value).__name__}, so nothing has run yet")
        return value
    except BaseException as raised:
        error = raised
        raise
    finally:
        if os.getpid() != process:
            _end_child(error)


def _end_child(error: BaseException | None) -> NoReturn:
    code: Any = 0 if error is None else 1
    if isinstance(error, SystemExit):
        code = 0 if error.code is None else error.code
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    elif error is not None:
        print(_traceback(error.with_traceback(_users_part(error))), end="", file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 0xFF)  # without exit handlers, which are the parent's; so do children of multiprocessing


def fail_attempt(attempt: Attempt, sweep: Sweep, problem: LanguageError, stop: StopSignals) -> Result:
    """Record that a claimed attempt has no config to execute; W&B is told if it serves the sweep.

    Args:
        attempt: the claim.
        sweep: the sweep that the run belongs to.
        problem: why there is no config.
        stop: the signals.

    Raises:
        TrackingError: W&B did not start the run.
    """
    if sweep.online:
        _tracked(attempt, sweep, {}, stop, from_scratch=False).end(1, preempted=False)
    attempt.finish(State.FAILED, {**_described(problem), "traceback": ""}, {})
    return Result(attempt, State.FAILED, None, problem, 0.0)


def _tracked(
    attempt: Attempt, sweep: Sweep, config: Mapping[str, Any], stop: StopSignals, from_scratch: bool
) -> TrackedRun:
    from dysweep.run_tracking import TrackedRun

    try:
        return TrackedRun(
            sweep.path,
            attempt.run,
            config,
            online=sweep.online,
            from_scratch=from_scratch,
            when_stopped=lambda: stop.end_run(State.KILLED),
        )
    except TrackingError as problem:
        attempt.finish(State.FAILED, _described(problem), {})
        raise


def _outcome(error: BaseException | None, stop: StopSignals) -> State:
    if stop.run_ended is not None and isinstance(error, Preempted):
        return stop.run_ended
    if stop.received is not None or isinstance(error, (Preempted, KeyboardInterrupt)):
        return State.PREEMPTED
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return State.FINISHED
    return State.FAILED


def _users_part(error: BaseException) -> TracebackType | None:
    """Leave out the frames of this module, which are above the function's."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return frames


def _described(error: BaseException) -> dict[str, str]:
    return {"type": type(error).__name__, "message": text_of(error), "traceback": _traceback(error)}


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # Python 3.10 to 3.12 write the exception's text where its frames are written
        frames = "".join(traceback.format_tb(error.__traceback__))
        return f"Traceback (most recent call last):\n{frames}{type(error).__name__}: {text_of(error)}\n"


def _lightning_logger(run: Any) -> Any:
    from lightning.pytorch.loggers import WandbLogger

    # LightningCLI saves a config.yaml there, and refuses to replace that of another run or attempt.
    return WandbLogger(experiment=run, save_dir=Path(run.dir).parent)
