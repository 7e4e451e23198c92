"""One attempt: start the W&B run, call the function, record how it ended."""

from __future__ import annotations

import ctypes
import importlib.util
import inspect
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, field
from types import FrameType, TracebackType
from typing import Any, TextIO

from dysweep.checkpoint import Sweep
from dysweep.errors import DirectoryError, FunctionError, LanguageError, Preempted, TrackingError
from dysweep.runs import Attempt, Heartbeat, State

logger = logging.getLogger("dysweep")

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_END_RUN = signal.SIGUSR1
_TELLING_SECONDS = 1.0
_ENDED = b"dysweep: the function has not stopped by itself and was ended; --resume True goes on\n"
_active: StopSignals | None = None


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
        try:
            inspect.signature(self.function).bind(**dict.fromkeys([*needed, *self.arguments]))
        except ValueError:
            pass  # builtins have no signature
        except TypeError as error:
            raise FunctionError(
                f"{shown}{inspect.signature(self.function)}: cannot be called with "
                f"{', '.join([*needed, *self.arguments])} ({error}); "
                f"write it as def {shown}({', '.join([*needed, *self.arguments])})"
            ) from None
        if self.use_lightning_logger and not importlib.util.find_spec("lightning"):
            raise FunctionError("use_lightning_logger needs Lightning: pip install 'dysweep[lightning]'")


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
    """

    attempt: Attempt
    outcome: State
    value: Any
    error: BaseException | None
    seconds: float
    metrics: Mapping[str, float] = field(default_factory=dict)


def preempted() -> bool:
    """Tell a function that polls whether it has to stop: its process was told to, or its run was ended.

    The function also gets `Preempted` raised; asking is for code that runs in other threads or swallows that.

    Example:
        >>> import dysweep
        >>> def train(config, checkpoint_dir):
        ...     for epoch in range(config["epochs"]):
        ...         ...  # train, then save to checkpoint_dir
        ...         if dysweep.preempted():
        ...             return
        >>> dysweep.preempted()
        False
    """
    return _active is not None and (_active.received is not None or _active.run_ended is not None)


class StopSignals:
    """SIGTERM, SIGINT and SIGUSR1 ask the running function to stop; only the main thread installs them.

    The first signal raises `Preempted` in the function and gives it `grace` seconds; then, or at a second
    signal, the process ends at once. The previous handlers are put back on leaving.

    Args:
        grace: seconds that the function has for its `finally:` blocks.
    """

    def __init__(self, grace: float) -> None:
        self.grace = grace
        self.received: int | None = None
        self.run_ended: State | None = None
        self.when_received: Callable[[], object] = lambda: None
        self.when_grace_is_over: Callable[[], object] = lambda: None
        self._thread = threading.get_ident()
        self._raising = False
        self._ending_run = False
        self._previous: dict[signal.Signals, Any] = {}
        self._timer: threading.Timer | None = None

    def __enter__(self) -> StopSignals:
        global _active
        _active = self
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        global _active
        _active = None
        if self._timer is not None:
            self._timer.cancel()
        for number, previous in self._previous.items():
            signal.signal(number, previous)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Raise `Preempted` inside this block when a signal comes."""
        if self.received is not None or self.run_ended is not None:
            raise Preempted(self.received or signal.SIGTERM)
        self._raising = True
        try:
            yield
        finally:
            self._raising = False

    def end_run(self, outcome: State) -> None:
        """End the running function only, from another thread.

        Args:
            outcome: killed if W&B has stopped the run, crashed if another process has taken it over.
        """
        self.run_ended = outcome
        if self._previous:
            self._ending_run = True
            signal.pthread_kill(self._thread, _END_RUN)
        elif self._raising:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self._thread), ctypes.py_object(Preempted)
            )

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._ending_run:
            self._ending_run = False
            if self._raising:
                self._raising = False
                raise Preempted(number)
            return
        if self.received is not None:
            self._end()
        self.received = number
        self._timer = threading.Timer(self.grace, self._end)
        self._timer.daemon = True
        self._timer.start()
        if self._raising:
            self._raising = False
            telling = threading.Thread(target=self.when_received, daemon=True)
            telling.start()
            telling.join(_TELLING_SECONDS)  # the interrupted code may hold what it needs
            raise Preempted(number)

    def _end(self) -> None:
        os.write(2, _ENDED)  # not through logging or sys.stderr, whose locks the function may hold
        try:
            self.when_grace_is_over()
        finally:
            os._exit(128 + (self.received or signal.SIGTERM))


def run_attempt(
    attempt: Attempt,
    sweep: Sweep,
    config: Mapping[str, Any],
    job: Job,
    stop: StopSignals,
    *,
    by_agent: bool = False,
    from_scratch: bool = False,
) -> Result:
    """Execute a claimed attempt and record how it ended.

    Args:
        attempt: the claim.
        sweep: the sweep that the run belongs to.
        config: the run's config.
        job: the function.
        stop: the signals that end it early.
        by_agent: whether W&B has given the run to this process.
        from_scratch: begin the W&B run again, instead of going on with it.

    Raises:
        TrackingError: W&B did not start the run.
    """
    from dysweep import tracking

    begun = time.monotonic()
    attempt.run.checkpoint_path.mkdir(exist_ok=True)
    value: Any = None
    error: BaseException | None = None
    heartbeat = Heartbeat(attempt, job.heartbeat, when_superseded=lambda: stop.end_run(State.CRASHED))
    with heartbeat, _captured(attempt):
        stop.when_grace_is_over = lambda: attempt.finish(State.PREEMPTED, None, {})
        run = _tracked(attempt, sweep, config, job.mark_preempting, stop, by_agent, from_scratch)

        # At once, as `with wandb.init():` in the function ends the run before it comes back here.
        stop.when_received = lambda: tracking.mark_preempted(run)
        try:
            arguments = {
                **job.arguments,
                "config": dict(config),
                "checkpoint_dir": attempt.run.checkpoint_path,
            }
            if job.use_lightning_logger:
                arguments["logger"] = _lightning_logger(run)
            with tracking.user_calls_join_the_run(sweep.online, attempt.run.path), stop.interrupting():
                value = job.function(**arguments)
        except BaseException as raised:
            error = raised.with_traceback(_without_this_frame(raised))
        outcome = State.CRASHED if attempt.superseded() else _outcome(error, stop)
        if outcome is State.CRASHED:
            logger.warning("%s: another process has taken it over; stopped here", attempt.run.run_id)
        if outcome is State.FAILED:
            traceback.print_exception(error, file=sys.stderr)
        metrics = tracking.end_run(run, 0 if outcome is State.FINISHED else 1, outcome is State.PREEMPTED)
        attempt.finish(outcome, _described(error) if outcome is State.FAILED and error else None, metrics)
        stop.when_received = stop.when_grace_is_over = lambda: None
        stop.run_ended = None
    if isinstance(error, SystemExit) and outcome is State.FINISHED:
        error = None
    return Result(attempt, outcome, value, error, time.monotonic() - begun, metrics)


def fail_attempt(
    attempt: Attempt, sweep: Sweep, problem: LanguageError, stop: StopSignals, *, by_agent: bool
) -> Result:
    """Record that a claimed attempt has no config to execute; W&B is told if it waits for the run.

    Args:
        attempt: the claim.
        sweep: the sweep that the run belongs to.
        problem: why there is no config.
        stop: the signals.
        by_agent: whether W&B has given the run to this process.

    Raises:
        TrackingError: W&B did not start the run.
    """
    if by_agent:
        from dysweep import tracking

        run = _tracked(attempt, sweep, {}, False, stop, by_agent, from_scratch=False)
        tracking.end_run(run, exit_code=1, preempted=False)
    attempt.finish(State.FAILED, {**_described(problem), "traceback": ""}, {})
    return Result(attempt, State.FAILED, None, problem, 0.0)


def _tracked(
    attempt: Attempt,
    sweep: Sweep,
    config: Mapping[str, Any],
    mark_preempting: bool,
    stop: StopSignals,
    by_agent: bool,
    from_scratch: bool,
) -> Any:
    from dysweep import tracking

    try:
        return tracking.start_run(
            sweep.path,
            attempt.run,
            config,
            online=sweep.online,
            by_agent=by_agent,
            from_scratch=from_scratch,
            mark_preempting=mark_preempting,
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


def _without_this_frame(error: BaseException) -> TracebackType | None:
    own = error.__traceback__
    return own.tb_next if own is not None and own.tb_next is not None else own


def _described(error: BaseException) -> dict[str, str]:
    return {
        "type": type(error).__name__,
        "message": str(error),
        "traceback": "".join(traceback.format_exception(error)),
    }


def _lightning_logger(run: Any) -> Any:
    from lightning.pytorch.loggers import WandbLogger

    return WandbLogger(experiment=run)


@contextmanager
def _captured(attempt: Attempt) -> Iterator[None]:
    """Write what is printed to the attempt's log as well."""
    try:
        log = _Log(open(attempt.log_path, "a", buffering=1, encoding="utf-8", errors="backslashreplace"))
    except OSError as error:
        raise DirectoryError(f"{attempt.log_path}: cannot be written ({error.strerror})") from None
    with closing(log), redirect_stdout(_Tee(sys.stdout, log)), redirect_stderr(_Tee(sys.stderr, log)):
        yield


class _Log:
    """The attempt's log; a full or vanished disk ends the log, with a warning, and not the training."""

    def __init__(self, file: TextIO) -> None:
        self._file: TextIO | None = file

    def write(self, text: str) -> None:
        self._try(lambda file: file.write(text))

    def close(self) -> None:
        self._try(lambda file: file.close())
        self._file = None

    def _try(self, action: Callable[[TextIO], object]) -> None:
        if self._file is None:
            return
        try:
            action(self._file)
        except OSError as error:
            failed, self._file = self._file, None
            logger.warning("%s: nothing more can be written (%s)", failed.name, error.strerror)
            with suppress(OSError):
                failed.close()


class _Tee:
    """A text stream that writes to the log too; everything else is the stream's own."""

    def __init__(self, stream: TextIO, log: _Log) -> None:
        self._stream = stream
        self._log = log

    def write(self, text: str) -> int:
        self._log.write(text)
        return self._stream.write(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
