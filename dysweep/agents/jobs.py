"""What is executed for a claim: a call of the user's function."""

from __future__ import annotations

import functools
import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from dysweep.agents.isolation import isolated
from dysweep.agents.signals import StopSignals
from dysweep.agents.sources import Claim
from dysweep.errors import FunctionError, closest, text_of
from dysweep.log import say
from dysweep.tracking.runs import TrackedRun

_OURS = str(Path(__file__).parents[1])


@dataclass(frozen=True)
class FunctionJob:
    """Calls a function for every run.

    Args:
        function: called as function(config=..., checkpoint_dir=...), and `logger` if use_lightning_logger.
        arguments: further keyword arguments.
        use_lightning_logger: give the function Lightning's WandbLogger on the attempt's own W&B run.
    """

    function: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    use_lightning_logger: bool = False

    def check(self) -> None:
        """Check that the function can be called.

        Raises:
            FunctionError: it cannot; the message says what it should take.
        """
        needed = ["config", *(["logger"] if self.use_lightning_logger else []), "checkpoint_dir"]
        shown = getattr(self.function, "__qualname__", repr(self.function))
        if not callable(self.function):
            raise FunctionError(f"{shown} is not a function")
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

    def execute(self, claim: Claim, run: TrackedRun, stop: StopSignals) -> Any:
        """Call the function, and return what it returns.

        Args:
            claim: the run to execute.
            run: its W&B run, which `wandb.init` gives the function too.
            stop: the signals that interrupt it.
        """
        arguments = {
            **self.arguments,
            "config": dict(claim.config or {}),
            "checkpoint_dir": claim.attempt.run.checkpoint_path,
        }
        if self.use_lightning_logger:
            arguments["logger"] = _lightning_logger(run.run)
        with isolated(), run.shared(), stop.interrupting():
            return _call(self.function, arguments)


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


def _call(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    """Call the function; a child that it forks, and that comes back here, ends: it is not the run."""
    process = os.getpid()
    error: BaseException | None = None
    try:
        value = function(**arguments)
        if inspect.iscoroutine(value) or inspect.isgenerator(value) or inspect.isasyncgen(value):
            # Python would warn that it was never awaited, after our own message.
            if not inspect.isasyncgen(value):
                value.close()
            raise FunctionError(f"the function returned a {type(value).__name__}, so nothing has run yet")
        return value
    except BaseException as raised:
        error = raised
        raise
    finally:
        # In a `finally`, because the child comes back here whatever it does: returns, raises, or exits.
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
        say(traceback_of(error.with_traceback(users_part(error))).rstrip("\n"))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code & 0xFF)  # without exit handlers, which are the parent's; so do children of multiprocessing


def users_part(error: BaseException) -> TracebackType | None:
    """Leave out the frames of dysweep, which are above the function's."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_OURS):
        frames = frames.tb_next
    return frames


def traceback_of(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # Python 3.10 to 3.12 write the exception's text where its frames are written
        frames = "".join(traceback.format_tb(error.__traceback__))
        return f"Traceback (most recent call last):\n{frames}{type(error).__name__}: {text_of(error)}\n"


def _lightning_logger(run: Any) -> Any:
    from lightning.pytorch.loggers import WandbLogger

    # LightningCLI saves a config.yaml there, and refuses to replace that of another run or attempt.
    return WandbLogger(experiment=run, save_dir=Path(run.dir).parent)
