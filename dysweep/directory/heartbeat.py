"""Signs of life: an attempt's own, and those of attempts on other hosts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable

from dysweep.directory.runs import Attempt
from dysweep.files import write_in_place

_LEAVING_SECONDS = 60
_LATE_SECONDS = 1.5  # a beat may be, on a busy machine or a network's disk


class Heartbeat:
    """Keeps an attempt's heartbeat changing while the process lives.

    Args:
        attempt: the attempt.
        seconds: between two beats.
        when_superseded: called, from the heart's own thread, if another process has taken the run over.
    """

    def __init__(self, attempt: Attempt, seconds: float, when_superseded: Callable[[], object]) -> None:
        self._attempt = attempt
        self._seconds = seconds
        self._when_superseded = when_superseded
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="dysweep-heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        count = 0
        is_superseded = False
        while True:
            try:
                write_in_place(self._attempt.heartbeat_path, f"{count}\n")
            except OSError:
                pass  # a full or vanished disk must not end the training; the lease covers the gap
            count += 1
            if self._stop.wait(self._seconds):
                return
            # A process that stood still for a lease (a laptop's lid, a full disk) finds here that it was
            # taken for dead. It beats until its function has been left: the next owner waits for that.
            if not is_superseded and self._attempt.superseded():
                is_superseded = True
                self._when_superseded()


class Watch:
    """Tells which attempts on other hosts are dead: those whose heartbeat has stood still for one lease.

    All are watched at the same time, by this process's own clock, and while it does other things.

    Args:
        lease: seconds in which a living owner changes its heartbeat.
    """

    def __init__(self, lease: float) -> None:
        self.lease = lease
        self._since: dict[Attempt, tuple[str, float]] = {}

    def dead(self, attempts: Iterable[Attempt]) -> set[Attempt]:
        """Look at attempts without an end once more, and give those that are dead."""
        dead = set()
        for attempt in attempts:
            # This process's own clock: those of two hosts can be minutes apart. What is compared is only
            # whether the content has changed, not any time in it.
            beat, clock = attempt.heartbeat(), time.monotonic()
            seen, since = self._since.setdefault(attempt, (beat, clock))
            if beat != seen:
                self._since[attempt] = beat, clock
            elif clock - since >= self.lease and not attempt.end_path.exists():
                dead.add(attempt)
        return dead

    def let_leave(self, attempt: Attempt, beat: float, stopping: Callable[[], bool]) -> None:
        """Wait until the owner of an attempt that was superseded has left its function, a minute at most.

        It hears of it at its next beat, and beats until then.

        Args:
            attempt: the attempt.
            beat: seconds between two beats.
            stopping: tells whether to stop waiting.
        """
        begun = time.monotonic()
        while time.monotonic() - begun < _LEAVING_SECONDS and not stopping():
            self.dead([attempt])
            if time.monotonic() - self._since[attempt][1] > beat + _LATE_SECONDS:
                return
            time.sleep(0.2)

    def wait(self, attempts: Iterable[Attempt], stopping: Callable[[], bool] = lambda: False) -> set[Attempt]:
        """Watch attempts until each has beaten, has ended or is dead, and give the dead ones."""
        first = {attempt: attempt.heartbeat() for attempt in attempts}
        dead: set[Attempt] = set()
        while first and not stopping():
            dead |= self.dead(first)
            first = {
                attempt: beat
                for attempt, beat in first.items()
                if attempt not in dead and attempt.heartbeat() == beat and not attempt.end_path.exists()
            }
            if first:
                time.sleep(min(0.5, self.lease / 10))
        return dead
