"""What a function changes in its process does not reach the next run."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from dysweep.language.wandb_rules import OF_ONE_RUN

logger = logging.getLogger("dysweep")

_LAUNCHERS = "RANK LOCAL_RANK NODE_RANK GROUP_RANK WORLD_SIZE LOCAL_WORLD_SIZE MASTER_ADDR MASTER_PORT"
_VARIABLES = frozenset(["CUDA_VISIBLE_DEVICES", "PL_GLOBAL_SEED", *_LAUNCHERS.split()])
_SERVICE = "WANDB_SERVICE"  # where the SDK's process is; a former one is gone
_PREFIX = "WANDB_"
_MODE = "WANDB_MODE"


@contextmanager
def own_environment(offline: bool) -> Iterator[None]:
    """Take out of the environment what leads W&B to one certain run, for the agent and all that it starts.

    `export WANDB_SWEEP_ID=...` is common in job scripts, and would make the SDK ignore the ids of our runs.

    Args:
        offline: let programs that functions start work without W&B too.
    """
    before = _environment()
    # For programs that functions start too: `wandb.init` there would write into the sweep's run.
    for name in OF_ONE_RUN:
        os.environ.pop(name, None)
    if offline and os.environ.get(_MODE) not in ("dryrun", "disabled"):
        os.environ[_MODE] = "offline"
    try:
        yield
    finally:
        _put_back_environment(before)


@contextmanager
def importing(name: str) -> Iterator[None]:
    """Import a module with a command line without arguments; it may set up logging, but not ours."""
    argv, disabled = sys.argv, logger.disabled
    sys.argv = [name]
    try:
        yield
    finally:
        sys.argv = argv
        logger.disabled = disabled  # dictConfig turns off all loggers that are there before


@contextmanager
def isolated() -> Iterator[None]:
    """Call the function with a command line without arguments, and put back what it leaves changed.

    These are sys.argv, the working directory, the umask, environment variables of W&B, CUDA and launchers,
    handlers of signals and alarms, how logging is set up, Python's hooks for exceptions, and a closed stdout
    or stderr.
    """
    with _open_streams(), ExitStack() as stack:
        stack.callback(_put_back_environment, _environment())
        for name in ("argv", "excepthook", "unraisablehook"):
            stack.callback(setattr, sys, name, getattr(sys, name))
        stack.callback(setattr, threading, "excepthook", threading.excepthook)
        stack.callback(_put_back_logging, _logging(logging.root, logger))
        stack.callback(os.umask, _umask())
        stack.callback(_put_back_working_directory, Path.cwd())
        if threading.current_thread() is threading.main_thread():
            stack.callback(
                _put_back_signals, {each: signal.getsignal(each) for each in signal.valid_signals()}
            )
            if signal.getitimer(signal.ITIMER_REAL)[0] == 0:
                stack.callback(signal.setitimer, signal.ITIMER_REAL, 0)  # no handler is left for its signal
        sys.argv = sys.argv[:1]
        yield


@contextmanager
def _open_streams() -> Iterator[None]:
    """Open stdout and stderr again if they are closed meanwhile."""
    copies = {number: os.dup(number) for number in (1, 2) if _is_open(number)}
    try:
        yield
    finally:
        for number, copy in copies.items():
            if not _is_open(number):
                os.dup2(copy, number)
            os.close(copy)


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if name in _VARIABLES or (name.startswith(_PREFIX) and name != _SERVICE)
    }


def _put_back_environment(before: dict[str, str]) -> None:
    # Only W&B's, CUDA's and the launchers': what a function puts into the environment for its own libraries
    # (tokens, caches) often has to stay for the next run.
    for name in _environment().keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@dataclass(frozen=True)
class _Logging:
    disabled_below: int
    loggers: dict[logging.Logger, tuple[list[logging.Handler], int, bool, bool]]


def _logging(*loggers: logging.Logger) -> _Logging:
    """Note how loggers are set up, which `dictConfig` for example turns off."""
    return _Logging(
        logging.root.manager.disable,
        {each: (list(each.handlers), each.level, each.disabled, each.propagate) for each in loggers},
    )


def _put_back_logging(before: _Logging) -> None:
    logging.disable(before.disabled_below)
    for each, (handlers, level, disabled, propagate) in before.loggers.items():
        for handler in [handler for handler in each.handlers if handler not in handlers]:
            each.removeHandler(handler)
        for handler in handlers:
            each.addHandler(handler)
        each.setLevel(level)
        each.disabled, each.propagate = disabled, propagate


def _umask() -> int:
    mask = os.umask(0o077)  # the only way to read it everywhere; meanwhile new files are closed to others
    os.umask(mask)
    return mask


def _put_back_working_directory(path: Path) -> None:
    # The next run needs a working directory; without one the SDK and many libraries fail.
    place = next(each for each in (path, *path.parents) if each.is_dir())
    os.chdir(place)
    if place != path:
        logger.warning("%s: the function has deleted it; the next run starts in %s", path, place)


def _put_back_signals(before: dict[int, Callable[..., object] | int | None]) -> None:
    for number, handler in before.items():
        if handler is not None and signal.getsignal(number) != handler:
            # SIGKILL and SIGSTOP cannot be set, nor those that Python's threads use.
            with contextlib.suppress(OSError, ValueError):  # some numbers are the system's own
                signal.signal(number, handler)
