"""The commands' doors: parse, do the command, and give the exit code."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

from dysweep import __version__
from dysweep.agents.ranks import refuse_ranks
from dysweep.arguments import COMMANDS, completion, overview, parse, parse_launch, parse_results, parse_status
from dysweep.completion import SHELLS
from dysweep.errors import ConfigError, DysweepError, Preempted, closest
from dysweep.log import discard, is_stdout_closed, open_closed_streams, said_on_stderr, say
from dysweep.settings import CREATE, LAUNCH, RESULTS, RUN, STATUS, SYNC

_SECONDS_FOR_THE_EXIT = 20.0


def create(argv: Sequence[str] | None = None, typed: str = CREATE) -> int:
    """Run `dysweep_create`.

    Args:
        argv: the arguments; the process's own by default.
        typed: what messages call the command.

    Returns:
        the exit code.
    """
    return _reported(typed, lambda: _execute("create", *parse(typed, _words(argv))))


def run_resume(argv: Sequence[str] | None = None, typed: str = RUN) -> int:
    """Run `dysweep_run_resume`.

    Args:
        argv: the arguments; the process's own by default.
        typed: what messages call the command.

    Returns:
        the exit code: 0 if all executed runs finished, 1 if not, 2 for wrong usage, 128 + n for signal n.
    """

    def work() -> int:
        refuse_ranks()  # first of all: a launcher starts this with arguments that may not be ours
        given = parse(typed, _words(argv))
        from dysweep.agents.capture import split_output

        with split_output():
            return _execute("run_resume", *given)

    return _reported(typed, work)


def launch(argv: Sequence[str] | None = None, typed: str = LAUNCH) -> int:
    """Run `dysweep_launch`.

    Args:
        argv: the arguments; the process's own by default.
        typed: what messages call the command.

    Returns:
        the exit code.
    """
    return _reported(typed, lambda: _execute("launch", *parse_launch(typed, _words(argv))))


def sync(argv: Sequence[str] | None = None, typed: str = SYNC) -> int:
    """Run `dysweep_sync`.

    Args:
        argv: the arguments; the process's own by default.
        typed: what messages call the command.

    Returns:
        the exit code.
    """
    return _reported(typed, lambda: _execute("sync", parse(typed, _words(argv))[2]))


def status(argv: Sequence[str] | None = None, typed: str = STATUS) -> int:
    """Run `dysweep_status`.

    Args:
        argv: the arguments; the process's own by default.
        typed: what messages call the command.

    Returns:
        the exit code.
    """
    return _reported(typed, lambda: _execute("status", *parse_status(typed, _words(argv))))


def results(argv: Sequence[str] | None = None, typed: str = RESULTS) -> int:
    """Run `dysweep_results`.

    Args:
        argv: the arguments; the process's own by default.
        typed: what messages call the command.

    Returns:
        the exit code.
    """
    return _reported(typed, lambda: _execute("results", *parse_results(typed, _words(argv))))


def main(argv: Sequence[str] | None = None) -> None:
    """Run `dysweep COMMAND`: the six commands under one name; ends the process with the exit code.

    Args:
        argv: the arguments; the process's own by default.
    """
    word, *words = _words(argv) or ["--help"]
    command = {
        "create": create, "run": run_resume, "launch": launch, "status": status, "results": results,
        "sync": sync,
    }.get(word)  # fmt: skip
    if command is not None:
        _script(lambda: command(words, f"dysweep {word}"), runs_user_code=word == "run")
    else:
        _script(lambda: _reported("dysweep", lambda: _without_command(word, words)))


def _without_command(word: str, words: list[str]) -> int:
    if word in ("-h", "--help"):
        print(overview())
    elif word == "--version":
        print(f"dysweep {__version__}")
    elif word == "--print_completion":
        shell = words[0] if words else ""
        if shell not in SHELLS:
            raise ConfigError(f"--print_completion: must be {' or '.join(SHELLS)}, got {shell!r}")
        print(completion(shell))
    else:
        raise ConfigError(f"{word}: unknown command{closest(word, COMMANDS)}")
    return 0


def create_script() -> None:
    """Entry point of the installed script."""
    _script(create)


def run_resume_script() -> None:
    """Entry point of the installed script."""
    _script(run_resume, runs_user_code=True)


def launch_script() -> None:
    """Entry point of the installed script."""
    _script(launch)


def sync_script() -> None:
    """Entry point of the installed script."""
    _script(sync)


def status_script() -> None:
    """Entry point of the installed script."""
    _script(status)


def results_script() -> None:
    """Entry point of the installed script."""
    _script(results)


def _script(command: Callable[[], int], runs_user_code: bool = False) -> None:
    open_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name or value may be of any script
    code = command()
    if code != 0 and not runs_user_code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # where W&B cannot be reached, its service can hold up the ordinary end for minutes
    if code > 128:
        # What the function has left, threads or workers that are waited for, must not keep the process alive.
        end = threading.Timer(_SECONDS_FOR_THE_EXIT, os._exit, [code])
        end.daemon = True
        end.start()
    sys.exit(code)


def _words(argv: Sequence[str] | None) -> list[str]:
    return list(sys.argv[1:] if argv is None else argv)


def _execute(command: str, *given: Any) -> int:
    from dysweep import commands  # half a command's start, which `--help` and wrong arguments do without

    code: int = getattr(commands, command)(*given)
    return code


def _reported(name: str, command: Callable[[], int]) -> int:
    try:
        try:
            with said_on_stderr():
                return command()
        finally:  # here, as Python's own flush at the end of the process would write a traceback
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError as error:
        if not is_stdout_closed():
            say(f"{name}: {error}")
            return 1
        discard(sys.stdout)
        return 128 + signal.SIGPIPE
    except DysweepError as error:
        say(f"{name}: {error}")
        return error.exit_code
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        discard(sys.stdout)
        say(f"{name}: the output cannot be written ({error.strerror})")
        return 1
    except KeyboardInterrupt:
        say(f"{name}: interrupted")
        return 128 + signal.SIGINT
    except Preempted as stopped:
        say(f"{name}: stopped by signal {stopped.signum}")
        return 128 + stopped.signum
