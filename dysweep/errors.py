"""The errors of dysweep.

DysweepError                      anything that dysweep itself reports
├── ConfigError (ValueError)      a setting, or a file of settings, is wrong
│   └── LanguageError             the sweep language; the message begins with the path in the YAML
├── FunctionError (TypeError)     the function to run cannot be found or cannot be called as needed
├── ProgramError (RuntimeError)   the program that executes a run has failed
│   └── ProgramCrash              a signal has ended it that no agent sent
├── NotFoundError (LookupError)   a sweep or run is not found
├── DirectoryError (OSError)      a sweep directory cannot be read or written
└── TrackingError (RuntimeError)  W&B refused or could not be reached

Preempted (BaseException)         raised inside the running function when it has to stop
"""

from __future__ import annotations

import difflib
import re
import signal
from collections.abc import Iterable


class DysweepError(Exception):
    """Base class of everything that dysweep reports to its user.

    Example:
        >>> import dysweep
        >>> try:
        ...     dysweep.open_sweep("nothing")
        ... except dysweep.DysweepError as error:
        ...     print(type(error).__name__)
        NotFoundError
    """

    exit_code = 1


class ConfigError(DysweepError, ValueError):
    """A setting, or a file of settings, is wrong.

    Example:
        >>> import dysweep
        >>> dysweep.dysweep_run_resume(cuont=3)
        Traceback (most recent call last):
        dysweep.errors.ConfigError: cuont: unknown setting; did you mean 'count'?
    """

    exit_code = 2


class LanguageError(ConfigError):
    """The base config or the sweep configuration does not say anything that can be done.

    Args:
        path: where in the YAML, as `sweep_configuration.trainer.optimizer.values[2]`.
        problem: what is wrong there, what is allowed, how to mend it.

    Example:
        >>> import dysweep
        >>> dysweep.Space.compile({"lr": {"sweep": True, "values": 3}})
        Traceback (most recent call last):
        dysweep.errors.LanguageError: sweep_configuration.lr.values: a list is needed, as `[3]`
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem

    def __reduce__(self) -> tuple[type[LanguageError], tuple[str, str]]:
        return type(self), (self.path, self.problem)


class FunctionError(DysweepError, TypeError):
    """The function to run cannot be imported, or cannot be called with the arguments that it would get.

    Example:
        >>> import dysweep
        >>> dysweep.dysweep_run_resume(sweep_id="4f1c", function=lambda settings: None)
        Traceback (most recent call last):
        dysweep.errors.FunctionError: <lambda>(settings): cannot be called with config, checkpoint_dir ...
    """

    exit_code = 2


class ProgramError(DysweepError, RuntimeError):
    """The program that executes a run has failed.

    Args:
        message: its exit code, and the last line that it has printed.
        last_lines: the last lines that it has printed.

    Example:
        >>> import dysweep
        >>> raise dysweep.ProgramError("exit code 1: no such file: data.csv", ())
        Traceback (most recent call last):
        dysweep.errors.ProgramError: exit code 1: no such file: data.csv
    """

    def __init__(self, message: str, last_lines: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.last_lines = last_lines


class ProgramCrash(ProgramError):
    """A signal has ended the program that no agent sent: a fault in its code, or memory has run out.

    Example:
        >>> import dysweep
        >>> issubclass(dysweep.ProgramCrash, dysweep.ProgramError)
        True
    """


class LaunchError(DysweepError, RuntimeError):
    """Agents could not be started, or stopped.

    Example:
        >>> import dysweep
        >>> raise dysweep.LaunchError("sbatch: error: invalid partition specified: gpu")
        Traceback (most recent call last):
        dysweep.errors.LaunchError: sbatch: error: invalid partition specified: gpu
    """


class NotFoundError(DysweepError, LookupError):
    """A sweep or run is not found.

    Example:
        >>> import dysweep
        >>> dysweep.open_sweep("nothing")
        Traceback (most recent call last):
        dysweep.errors.NotFoundError: sweep_id: no sweep 'nothing' in ...
    """


class DirectoryError(DysweepError, OSError):
    """A sweep directory, or a file in it, cannot be read or written.

    Example:
        >>> import dysweep, pathlib
        >>> pathlib.Path("dysweep_logs/checkpoints-4f1c").mkdir(parents=True)
        >>> pathlib.Path("dysweep_logs/checkpoints-4f1c/sweep.json").touch()
        >>> dysweep.open_sweep("4f1c")
        Traceback (most recent call last):
        dysweep.errors.DirectoryError: ...sweep.json: damaged or unreadable ...
    """


class TrackingError(DysweepError, RuntimeError):
    """W&B refused something, or could not be reached.

    Example:
        >>> import dysweep
        >>> sweep = {"lr": {"sweep": True, "values": [0.1, 0.01]}}
        >>> dysweep.dysweep_run_resume(mode="online", base_config={}, sweep_configuration=sweep)
        Traceback (most recent call last):
        dysweep.errors.TrackingError: project: missing, and W&B needs it to serve the sweep ...
    """


class Preempted(BaseException):
    """The process was told to stop (SIGTERM, SIGINT, SIGUSR1), or W&B has stopped the run.

    It is no `Exception`, so that an `except Exception:` in a training loop does not swallow it.

    Args:
        signum: the number of the signal.

    Example:
        >>> from dysweep import Preempted
        >>> def train(config, checkpoint_dir):
        ...     try:
        ...         ...  # train
        ...     except Preempted:
        ...         ...  # save to checkpoint_dir, within `grace` seconds
        ...         raise
        >>> issubclass(Preempted, Exception)
        False
    """

    def __init__(self, signum: int = signal.SIGTERM) -> None:
        super().__init__(f"signal {signum}")
        self.signum = signum


def closest(word: str, known: Iterable[str]) -> str:
    """Return the end of a message about an unknown word: the one most like it, or else what there is."""
    known = list(known)
    longer = sorted((name for name in known if word and name.startswith(word)), key=len)
    matches = longer or difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {matches[0]!r}?" if matches else f"; there are {', '.join(known)}"


def misspelt(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant by a new one; None if it seems to be new indeed."""
    same_but_for_digits = re.sub(r"\d", "", word)
    texts = [name for name in known if isinstance(name, str)]  # a key of YAML may be a number
    others = [name for name in texts if re.sub(r"\d", "", name) != same_but_for_digits]
    return next(iter(difflib.get_close_matches(word, others, n=1, cutoff=0.75)), None)


def text_of(error: BaseException) -> str:
    """Return an exception's text, also if its author's code for it fails."""
    try:
        return str(error)
    except Exception as problem:  # its author's own bug
        return f"(its text cannot be made: {type(problem).__name__})"
