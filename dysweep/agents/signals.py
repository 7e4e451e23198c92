"""SIGTERM, SIGINT and SIGUSR1, and how they reach the running function."""

from __future__ import annotations

import ctypes
import math
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from types import FrameType
from typing import Any

from dysweep.directory.runs import State
from dysweep.errors import ConfigError, Preempted

_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
_RAISE = (
    signal.SIGURG
)  # from the guard to the main thread; one that arrives late, after the handlers, is ignored
_AGAIN_SECONDS = 0.05
_CALM_SECONDS = 0.02  # after a fork: whoever forks must be able to note its child, or nobody will end that
_MOST_PATIENCE_SECONDS = 1.0
_TELLING_SECONDS = 1.0
_SAME_REQUEST_SECONDS = 2.0
_NOT_STOPPED = b"dysweep: the function did not stop within its grace and was ended; continue with --resume\n"
_TOLD_AGAIN = b"dysweep: ended at once, at a second signal; continue with --resume\n"
_SECOND_AGENT = (
    "another agent is at work in this process, and W&B's active run belongs to a process: "
    "start a process for each agent"
)
_ASK, _LOOK, _AT_ONCE, _LEAVE = 252, 253, 254, 255  # words to the guard; all below are numbers of signals

_active: StopSignals | None = None
_working = threading.Lock()  # a forked child finds it taken, and so begins no agent of its own
_masks = threading.local()


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
    return _active is not None and _active.stopping


def refuse_second_agent() -> None:
    """Refuse to begin where an agent is at work, for example in its function.

    Raises:
        ConfigError: an agent is at work in this process already.
    """
    if _working.locked():
        raise ConfigError(_SECOND_AGENT)


class StopSignals:
    """SIGTERM, SIGINT and SIGUSR1 ask the running function to stop; only the main thread installs them.

    The first signal raises `Preempted` in the function and gives it `grace` seconds; then, or at a second
    signal more than two seconds later, the process ends at once. The previous handlers are put back on
    leaving.

    A handler runs between any two bytecodes of the main thread, which may hold any lock there, so it only
    notes the signal and wakes the guard, a thread that reads a pipe. Python writes the signal's number to it
    too, also while the main thread is in compiled code and runs no handler. The guard tells W&B, then sends
    SIGURG to the main thread again and again until `Preempted` has been raised where it can propagate:
    Python drops what is raised in `__del__`, in callbacks of weak references, and in hooks around a fork.
    When the grace is over it ends the process, whatever the main thread is doing.

    Args:
        grace: seconds that the function has for its `finally:` blocks.
        when_stopped: called with the first signal's number when all is recorded.

    Raises:
        ConfigError: an agent is at work in this process already.
    """

    def __init__(self, grace: float, when_stopped: Callable[[int], object] = lambda number: None) -> None:
        self.grace = grace
        self.when_stopped = when_stopped
        self.received: int | None = None
        self.run_ended: State | None = None
        self.when_received: Callable[[], object] = lambda: None
        self.when_grace_is_over: Callable[[], object] = lambda: None
        self.thread = threading.get_ident()
        # When the main thread forked last; infinite while it does. Nothing is raised then, see _before_fork.
        self.forked = 0.0
        # Until then a fork may delay the exception: a function that forks all the time is stopped all the
        # same.
        self._insisting = 0.0
        self._settled = threading.Event()
        # When the first signal was noted; a later one ends the process.
        self._noted: float | None = None
        self._running = False
        self._raised = False
        self._previous: dict[signal.Signals, Any] = {}
        self._previous_wakeup = -1
        self._previous_hook: Callable[[Any], object] = sys.unraisablehook
        self._woken, self._wake = -1, -1

    @property
    def stopping(self) -> bool:
        """Whether the running function has to stop."""
        return self.received is not None or self.run_ended is not None

    def __enter__(self) -> StopSignals:
        global _active
        if not _working.acquire(blocking=False):
            raise ConfigError(_SECOND_AGENT)
        _active = self
        # Late, after the imports of the function's module: see there.
        _watch_forks()
        self._woken, self._wake = os.pipe()
        # Python's C handler writes there too, and must not block when nobody reads.
        os.set_blocking(self._wake, False)
        threading.Thread(target=self._guard, name="dysweep-signals", daemon=True).start()
        self._previous_hook, sys.unraisablehook = sys.unraisablehook, self._dropped
        # Python runs handlers, and lets them be set, in the main thread only.
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._note) for number in _SIGNALS}
            self._previous[_RAISE] = signal.signal(_RAISE, self._raise)
            self._previous_wakeup = signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        return self

    def __exit__(self, *_: object) -> None:
        global _active
        if self.received is not None:
            self.when_stopped(self.received)
        # Handlers first: a signal that comes now does what it does without dysweep, and needs no guard.
        self.put_back()
        self._tell(_LEAVE)
        # The guard closes its own end, when it has read the last word.
        wake, self._wake = self._wake, -1
        os.close(wake)
        _active = None
        _working.release()

    def put_back(self) -> None:
        """Let signals do what they would do without dysweep."""
        for number, previous in self._previous.items():
            # What the function has set itself stays, until `isolated` puts it back.
            if signal.getsignal(number) in (self._note, self._raise) and previous is not None:
                signal.signal(number, previous)
        if self._previous:
            signal.set_wakeup_fd(self._previous_wakeup)
        sys.unraisablehook = self._previous_hook

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Raise `Preempted` inside this block when a signal comes."""
        # A signal while the W&B run was starting: nothing was executed yet, so there is nothing to save.
        if self.stopping:
            raise Preempted(self.received or signal.SIGTERM)
        self._raised = False
        self._settled.clear()
        self._running = True
        try:
            yield
            if self._previous:
                self._settle()
        except SystemExit:  # as a handler of the function's own may end it
            if self._previous:
                self._settle()
            raise
        finally:
            self._running = False

    def _settle(self) -> None:
        """Wait until the guard has read all signals so far, also those to handlers of the function's own."""
        self._tell(_ASK)
        self._settled.wait(_TELLING_SECONDS)

    def end_run(self, outcome: State) -> None:
        """End the running function only, from another thread.

        Args:
            outcome: killed if W&B has stopped the run, crashed if another process has taken it over.
        """
        self.run_ended = outcome
        self._insisting = time.monotonic() + _MOST_PATIENCE_SECONDS
        self._tell(_LOOK)

    def _tell(self, word: int) -> None:
        with suppress(OSError):  # W&B can stop a run that has just ended
            os.write(self._wake, bytes([word]))

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._noted is None:
            self._noted = now
        # SLURM and terminals deliver one request several times.
        self._tell(_AT_ONCE if now - self._noted > _SAME_REQUEST_SECONDS else _LOOK)
        self.received = self.received or number

    def _raise(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        forking = self.forked == math.inf
        # Raised right after a fork, before the caller has noted its child, nobody would ever end that child.
        if self._undelivered and not forking and (now - self.forked > _CALM_SECONDS or now > self._insisting):
            self._raised = True
            raise Preempted(self.received or signal.SIGTERM)

    def _dropped(self, unraisable: Any) -> None:
        """Notice that Python has dropped the exception that was to end the function."""
        # Raised in a destructor or a weak reference's callback: the guard sends it again.
        if isinstance(unraisable.exc_value, Preempted):
            self._raised = False
        else:
            self._previous_hook(unraisable)

    def _guard(self) -> None:
        deadline: float | None = None
        while True:
            patience = _AGAIN_SECONDS if self._undelivered else None
            if deadline is not None:
                patience = max(0, min(patience or self.grace, deadline - time.monotonic()))
            word = os.read(self._woken, 1)[0] if select.select([self._woken], [], [], patience)[0] else _LOOK
            if word == _LEAVE:
                os.close(self._woken)
                return
            if word == _ASK:
                self._settled.set()
            self._hear(word)
            if self.received is not None and deadline is None:
                deadline = time.monotonic() + self.grace
                self._insisting = time.monotonic() + _MOST_PATIENCE_SECONDS
                self._tell_wandb()
            if word == _AT_ONCE or (deadline is not None and time.monotonic() >= deadline):
                self._end(_TOLD_AGAIN if word == _AT_ONCE else _NOT_STOPPED)
            if self._undelivered:
                self._interrupt()

    def _hear(self, word: int) -> None:
        # The number of a signal comes from Python's C handler, also where no Python handler could run yet.
        if word not in _SIGNALS:
            return
        handler = signal.getsignal(word)
        if handler == self._note:
            self.received = self.received or word
        elif word != signal.SIGUSR1 and callable(handler) and self._running:
            # A handler of the function saves, and returns or exits; the run is preempted all the same.
            self._raised = True
            self.received = self.received or word

    @property
    def _undelivered(self) -> bool:
        return self._running and not self._raised and self.stopping

    def _tell_wandb(self) -> None:
        """Call `when_received`, before the function hears of it: its `with wandb.init():` ends the run."""
        # In a thread of its own, as the SDK may wait for its process for minutes.
        telling = threading.Thread(target=self.when_received, daemon=True)
        telling.start()
        telling.join(_TELLING_SECONDS)  # W&B may not answer

    def _interrupt(self) -> None:
        # A real signal interrupts `time.sleep` and other system calls; an asynchronous exception does not.
        if signal.getsignal(_RAISE) == self._raise:
            signal.pthread_kill(self.thread, _RAISE)
        else:  # the agent is in another thread, where no signals arrive
            self._raised = True
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self.thread), ctypes.py_object(Preempted)
            )

    def _end(self, reason: bytes) -> None:
        with suppress(OSError):  # nobody may read there any more
            os.write(2, reason)  # not through logging or sys.stderr, whose locks the function may hold
        try:
            self.when_grace_is_over()
            if self.received is not None:
                self.when_stopped(self.received)
        finally:
            os._exit(128 + (self.received or signal.SIGTERM))


@cache
def _watch_forks() -> None:
    """Have forks announced, once in a process.

    Hooks before a fork are called in the reverse order of their registration, the others in its order:
    registered late, after the imports of the function's module, ours are around those of other modules.
    """
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )


def _before_fork() -> None:
    if _active is not None:
        if threading.get_ident() == _active.thread:
            _active.forked = math.inf
        # A child would lose a SIGTERM, with which pools end workers, that came before the handlers are back.
        _masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, (*_SIGNALS, _RAISE))


def _after_fork_in_parent() -> None:
    _unblock()
    if _active is not None and threading.get_ident() == _active.thread:
        _active.forked = time.monotonic()


def _after_fork_in_child() -> None:
    global _active
    # The child is not the run: its signals are its own, and `_active` would call it preempted.
    if _active is not None:
        _active.put_back()
        _active = None
    _unblock()


def _unblock() -> None:
    before = getattr(_masks, "before", None)
    if before is not None:
        _masks.before = None
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
