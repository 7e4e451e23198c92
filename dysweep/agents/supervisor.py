"""A process between an agent and its program: it passes signals on, and leaves nothing running.

    python -I -S supervisor.py GRACE PROGRAM ARGUMENT...

It imports nothing of dysweep, as each run pays for its start. The agent holds the other end of its stdin:
each byte there is the number of a signal for the program, and its end means that the agent is gone, however
it has died. On Linux what the program leaves behind becomes the supervisor's child, also from sessions of its
own (a launcher's ranks, the workers of data loaders, W&B's service), and is ended with it. The supervisor
ends as the program did.
"""

import ctypes
import os
import resource
import select
import signal
import sys
import time

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_LEFT_SECONDS = 2.0  # for what the program has left behind, after SIGTERM
_SERVICE_SECONDS = 10.0  # for W&B's service to send what it has: it ends by itself when its program is gone
_SERVICE = b"wandb-core"
_MOST_SECONDS = 15.0
_POLL_SECONDS = 0.05
_OWN_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGQUIT)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def start(words: list[str]) -> int:
    """Start the program in a session of its own, with an empty stdin; return its process id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # for the case that the supervisor itself is killed
        for number in (*_OWN_SIGNALS, signal.SIGPIPE, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.execvp(words[0], words)
    except OSError as error:
        os.write(2, f"{words[0]}: {error.strerror}\n".encode())
    os._exit(126)


def descendants() -> dict[int, bytes]:
    """List the processes that come from this one, each with its name; none where there is no /proc."""
    parents, names = {}, {}
    for entry in os.listdir("/proc") if sys.platform == "linux" else ():
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat", "rb") as file:
                    stat = file.read()
            except OSError:  # it has just ended
                continue
            begin, end = stat.index(b"("), stat.rindex(b")")
            state, parent = stat[end + 2 :].split()[:2]
            if state != b"Z":
                parents[int(entry)] = int(parent)
                names[int(entry)] = stat[begin + 1 : end]
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid: names[pid] for pid in found - {os.getpid()}}


def send(pids: list[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except OSError:  # it has ended, or belongs to somebody else
            pass


def reap(program: int) -> "int | None":
    """Collect children that have ended; return the program's status if it is among them."""
    status = None
    while True:
        try:
            pid, code = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == program:
            status = code


def end_what_is_left(program: int) -> None:
    """End all that the program has left behind; W&B's service gets time to send what it has."""
    try:
        os.killpg(program, signal.SIGTERM)
    except OSError:  # nobody is left in its group
        pass
    send([pid for pid, name in descendants().items() if name != _SERVICE], signal.SIGTERM)
    begun = time.monotonic()
    # Not without end: one that waits for a disk that is gone cannot even be killed.
    while (waited := time.monotonic() - begun) < _MOST_SECONDS and (left := descendants()):
        send(
            [
                pid
                for pid, name in left.items()
                if waited > (_SERVICE_SECONDS if name == _SERVICE else _LEFT_SECONDS)
            ],
            signal.SIGKILL,
        )
        reap(program)
        time.sleep(_POLL_SECONDS)
    reap(program)
    try:
        os.killpg(program, signal.SIGKILL)  # where there is no /proc, and so no list of what is left
    except OSError:
        pass


def watch(program: int, grace: float) -> int:
    """Wait for the program's end, pass on what the agent sends, and return the program's status."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    control, deadline = [0], float("inf")
    while True:
        # Looked at before the wait, too: it may have ended before its end could be told.
        status = reap(program)
        if status is not None:
            return status
        patience = min(max(0.0, deadline - time.monotonic()), 60.0)
        ready = select.select([woken, *control], [], [], patience)[0]
        if woken in ready:
            os.read(woken, 512)
        if 0 in ready:
            numbers = os.read(0, 1)
            if not numbers:
                control = []
            try:
                os.killpg(program, numbers[0] if numbers else signal.SIGTERM)
            except ProcessLookupError:
                pass
            deadline = min(deadline, time.monotonic() + grace)
        if time.monotonic() >= deadline:
            send([program], signal.SIGKILL)
            deadline = float("inf")


def main() -> None:
    grace, words = float(sys.argv[1]), sys.argv[2:]
    # A batch system signals all processes of a job; the agent decides what that means.
    for number in _OWN_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    program = start(words)
    status = watch(program, grace)
    end_what_is_left(program)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main()
