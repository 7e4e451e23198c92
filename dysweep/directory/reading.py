"""Many runs read one after the other, or at once where the file system is slow to answer."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")
_TIMED = 50
_SLOW = 0.0003  # seconds of waiting a run: less than one call takes on a network file system
_THREADS = 32
_AHEAD = 2 * _THREADS  # results that may wait for those before them


def read_each(read: Callable[[S], T], runs: Iterable[S]) -> Iterator[T]:
    """Read runs; the results come in the order of the runs.

    Args:
        read: reads one; it may be called in several threads.
        runs: the runs, with whatever helps to read them.
    """
    remaining = iter(runs)
    waits: list[float] = []
    for run in islice(remaining, _TIMED):
        begun, worked = time.perf_counter(), time.thread_time()
        result = read(run)
        waits.append(time.perf_counter() - begun - (time.thread_time() - worked))
        yield result
    # Not the mean: where others use the processor, few runs wait for it, but for long.
    if len(waits) < _TIMED or sorted(waits)[_TIMED // 2] < _SLOW:
        # Threads would take half as much of the processor again, and win nothing.
        yield from map(read, remaining)
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        pending = deque(pool.submit(read, run) for run in islice(remaining, _AHEAD))
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(read, run) for run in islice(remaining, 1))
            yield result
