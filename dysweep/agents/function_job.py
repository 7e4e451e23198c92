"""What is executed for a claim: a job; here a call of the user's function."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import inspect
import os
import sys
import traceback
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn

from dysweep.agents.isolation import isolated
from dysweep.agents.signals import StopSignals
from dysweep.agents.sources import Claim
from dysweep.current import environment_of, in_environment
from dysweep.directory.runs import RunDirectory
from dysweep.directory.sweep import Sweep
from dysweep.errors import ConfigError, FunctionError, closest, text_of
from dysweep.log import say
from dysweep.tracking.judge import Judge
from dysweep.tracking.runs import TrackedRun

_OURS = str(Path(__file__).parents[1])


@dataclass(frozen=True)
class FunctionJob:
    """Calls a function for every run.

    Args:
        function: called with those of config and checkpoint_dir that it takes, and `logger` if
            use_lightning_logger.
        arguments: further keyword arguments.
        use_lightning_logger: give the function Lightning's WandbLogger on the attempt's own W&B run.
        with_tree: put the tree's keys into the config of the W&B run, too.
    """

    function: Callable[..., Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    use_lightning_logger: bool = False
    with_tree: bool = False

    # A function is in the agent's process: its end needs no more time than its grace.
    seconds_to_end = 0.0

    def check(self) -> None:
        """Check that the function can be called.

        Raises:
            FunctionError: it cannot; the message says what it should take.
        """
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
        needed = self._taken()
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

    def _taken(self) -> list[str]:
        """List what the function gets of config, logger and checkpoint_dir; it may do without them."""
        offered = ["config", *(["logger"] if self.use_lightning_logger else []), "checkpoint_dir"]
        try:
            parameters = inspect.signature(self.function).parameters
        except ValueError:  # a builtin
            return offered
        if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
            return offered
        taken = [name for name in offered if name in parameters or name == "logger"]
        # One that takes other things probably means one of these by another name.
        others = parameters.keys() - {*offered, *self.arguments}
        return offered if others and "config" not in taken else taken

    def _check_arguments(self, signature: inspect.Signature, shown: str) -> None:
        parameters = signature.parameters
        if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
            return
        for name in self.arguments:
            if name not in parameters:
                raise FunctionError(
                    f"run_additional_args: {shown} takes no {name!r}{closest(name, parameters)}"
                )

    def track(self, claim: Claim, when_stopped: Callable[[], object] = lambda: None) -> TrackedRun:
        """Start the claim's W&B run."""
        judge = Judge.of(claim.sweep, claim.attempt, claim.from_scratch, when_stopped)
        options = {"with_tree": self._shows_tree, "when_stopped": when_stopped, "judge": judge}
        return claim.track(TrackedRun, **options)

    @property
    def _shows_tree(self) -> bool:
        return self.with_tree or "config" not in self._taken()  # it can only ask wandb.config

    def execute(self, claim: Claim, run: TrackedRun, stop: StopSignals) -> Any:
        """Call the function, and return what it returns.

        Args:
            claim: the run to execute.
            run: its W&B run, which `wandb.init` gives the function too.
            stop: the signals that interrupt it.
        """
        arguments = self._arguments(
            claim.config or {}, claim.attempt.run.checkpoint_path, lambda: _lightning_logger(run.run)
        )
        directory = claim.attempt.run
        number = claim.attempt.number
        told = environment_of(directory.path, directory.checkpoint_path, claim.sweep.sweep_id, number)
        with isolated(), in_environment(told), run.shared(), stop.interrupting():
            return _call(self.function, arguments)

    def follow(self, claim: Claim) -> None:
        """Call the function as another rank of a run, which has no W&B run."""
        os.environ["WANDB_MODE"] = "disabled"
        arguments = self._arguments(
            claim.config or {}, claim.attempt.run.checkpoint_path, lambda: _lightning_logger(None)
        )
        with isolated():
            _call(self.function, arguments)

    def debug(
        self,
        run_dir: Path,
        checkpoint_dir: Path,
        config: dict[str, Any],
        sweep: Sweep,
        assignment: Mapping[str, Any],
    ) -> int:
        """Call the function with a config, in a W&B run that is disabled; return 0.

        Args:
            run_dir: where run_config.json is.
            checkpoint_dir: the folder that the function gets.
            config: the config.
            sweep: the sweep, without W&B.
            assignment: what it has chosen.
        """
        told = environment_of(run_dir, checkpoint_dir, sweep.sweep_id, 1)
        run = TrackedRun(sweep, RunDirectory(run_dir), assignment, None, config, with_tree=self._shows_tree)
        try:
            with in_environment(told), run.shared():
                logger = functools.partial(_lightning_logger, run.run, run_dir)
                self.function(**self._arguments(config, checkpoint_dir, logger))
        finally:
            run.run.finish()
        return 0

    def _arguments(
        self, config: Mapping[str, Any], checkpoint_dir: Path, logger: Callable[[], Any]
    ) -> dict[str, Any]:
        taken = self._taken()
        arguments = {**self.arguments}
        if "config" in taken:
            arguments["config"] = typed_config(self.function, dict(config))
        if "checkpoint_dir" in taken:
            arguments["checkpoint_dir"] = checkpoint_dir
        if "logger" in taken:
            arguments["logger"] = logger()
        return arguments


def typed_config(function: Callable[..., Any], config: dict[str, Any]) -> Any:
    """Return the config as the class of data that the function's `config` is annotated with, if it is.

    Args:
        function: `config: TrainConfig` in its signature, a dataclass, or a class of attrs or pydantic.
        config: the tree.

    Raises:
        ConfigError: the class does not take the tree; the message says where.
    """
    kind = _annotation_of(function)
    if kind is None:
        return config
    from jsonargparse import ArgumentError, ArgumentParser  # not for each process of an isolated function

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", type=kind)
    try:
        return parser.instantiate(parser.parse_object({"config": config})).config
    except ArgumentError as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"config: {kind.__name__} does not take it: {reason}") from None


def _annotation_of(function: Callable[..., Any]) -> type | None:
    try:
        kind = typing.get_type_hints(function).get("config")
    except Exception:  # what it names is imported for type checkers only
        return None
    is_of_data = isinstance(kind, type) and (
        dataclasses.is_dataclass(kind) or hasattr(kind, "__attrs_attrs__") or hasattr(kind, "model_fields")
    )
    return kind if is_of_data else None


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


def described(error: BaseException) -> dict[str, str]:
    """Return an error's type, message and traceback; none if it comes from no code of the user's."""
    traceback = "" if error.__traceback__ is None else traceback_of(error)
    return {"type": type(error).__name__, "message": text_of(error), "traceback": traceback}


def traceback_of(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # Python 3.10 to 3.12 write the exception's text where its frames are written
        frames = "".join(traceback.format_tb(error.__traceback__))
        return f"Traceback (most recent call last):\n{frames}{type(error).__name__}: {text_of(error)}\n"


def _lightning_logger(run: Any, folder: Path | None = None) -> Any:
    from lightning.pytorch.loggers import WandbLogger

    if run is None:
        return WandbLogger()
    # LightningCLI saves a config.yaml there, and refuses to replace that of another run or attempt.
    return WandbLogger(experiment=run, save_dir=folder or Path(run.dir).parent)
