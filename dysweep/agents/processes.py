"""A program's process: started below a supervisor, its output written down, its end awaited."""

from __future__ import annotations

import logging
import math
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from dysweep.agents.signals import StopSignals
from dysweep.current import RUN_DIR
from dysweep.directory.runs import Attempt
from dysweep.errors import Preempted, ProgramCrash, ProgramError
from dysweep.text import signal_name

logger = logging.getLogger("dysweep")

_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_POLL_SECONDS = 0.1
_CHUNK = 1 << 16
_DRAIN_SECONDS = 1.0
_MOST_AFTER_GRACE = 20.0  # the supervisor's own time


def run_program(
    words: Sequence[str],
    environment: Mapping[str, str],
    grace: float,
    pending_signal: Callable[[], int | None],
    write: Callable[[str, bytes], object],
) -> int:
    """Run a program to its end, and end whatever it leaves running.

    Args:
        words: the program and its arguments.
        environment: its environment variables.
        grace: seconds that it has after a signal before it is killed.
        pending_signal: asked again and again: the number of the signal to pass on; None for none yet.
        write: called with "stdout" or "stderr" and what the program has written there.

    Returns:
        its exit code; negative if a signal has ended it.
    """
    supervisor = subprocess.Popen(
        [sys.executable, "-I", "-S", str(_SUPERVISOR), str(grace), *words],
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        start_new_session=True,  # Ctrl-C in a terminal is for the agent, which passes it on
    )
    # Closed whatever happens here: then the supervisor ends the program, and after that itself.
    with supervisor, selectors.DefaultSelector() as outputs:
        for name in ("stdout", "stderr"):
            outputs.register(getattr(supervisor, name), selectors.EVENT_READ, name)
        told, ended = False, math.inf
        while outputs.get_map():
            for key, _ in outputs.select(_POLL_SECONDS):
                data = os.read(key.fd, _CHUNK)
                if data:
                    write(key.data, data)
                else:
                    outputs.unregister(key.fileobj)
            if supervisor.poll() is not None:
                ended = min(ended, time.monotonic())
                if time.monotonic() - ended > _DRAIN_SECONDS:
                    # It was killed itself, and what it has not ended still holds its output open.
                    _kill(_processes_with(f"{RUN_DIR}={environment.get(RUN_DIR)}"))
                    break
            if not told and (number := pending_signal()) is not None:
                told = True
                _pass(supervisor, number)
    return supervisor.returncode


def wait_for_former(attempt: Attempt, grace: float, stop: StopSignals) -> None:
    """Wait until what a former attempt of a run has left on this host has ended; kill what does not.

    Its supervisor ends it when its agent has died, and gives it the grace to save; until then it must not
    meet the next attempt. On Linux only.

    Args:
        attempt: the attempt that is to begin.
        grace: seconds that its supervisor gives a program to end.
        stop: the signals that end the wait.

    Raises:
        Preempted: the process was told to stop.
    """
    deadline = time.monotonic() + grace + _MOST_AFTER_GRACE
    mark = f"{RUN_DIR}={attempt.run.path.absolute()}"
    while not stop.stopping and attempt.number > 1 and (left := _processes_with(mark)):
        if time.monotonic() > deadline:
            _kill(left)
        if time.monotonic() > deadline + _MOST_AFTER_GRACE:
            shown = ", ".join(map(str, left))
            logger.warning("%s: processes of a former attempt cannot be ended: %s", attempt.run.run_id, shown)
            break
        time.sleep(_POLL_SECONDS)
    if stop.stopping:
        raise Preempted(stop.received or signal.SIGTERM)


def _kill(pids: Sequence[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _processes_with(variable: str) -> list[int]:
    """List this user's processes that have been started with an environment variable."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):  # somebody else's, or it has just ended
            if os.fsencode(variable) in environ.read_bytes().split(b"\0"):
                found.append(int(environ.parent.name))
    return [pid for pid in found if pid != os.getpid()]


def exit_error(code: int, last_lines: Sequence[str]) -> ProgramError:
    """Build the error about a program that has not ended well.

    Args:
        code: its exit code; negative if a signal has ended it.
        last_lines: the last lines that it has printed.
    """
    last = tuple(last_lines)
    if code < 0:
        hint = " (the kernel, if memory ran out)" if -code == signal.SIGKILL else ""
        return ProgramCrash(f"ended by {signal_name(-code)}{hint}", last)
    return ProgramError(f"exit code {code}{f': {last[-1]}' if last else ''}", last)


def signal_to_pass(stop: StopSignals) -> int | None:
    """Return the signal that a program is to get: SIGINT as it is, SIGTERM for those that launchers lack."""
    if not stop.stopping:
        return None
    return signal.SIGINT if stop.received == signal.SIGINT else signal.SIGTERM


def _pass(supervisor: subprocess.Popen[bytes], number: int) -> None:
    try:
        assert supervisor.stdin is not None
        supervisor.stdin.write(bytes([number]))
    except BrokenPipeError:  # it has ended meanwhile
        pass
