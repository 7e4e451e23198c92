"""Many runs read one after the other, or at once where the file system is slow to answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from dysweep.directory.runs import RunDirectory

T = TypeVar("T")
_TIMED = 50
_SLOW = 0.0003  # seconds of waiting a run: less than one call takes on a network file system
_THREADS = 32
_AT_ONCE = 1_000


def read_each(read: Callable[[RunDirectory], T], runs: Iterable[RunDirectory]) -> Iterator[T]:
    """Read runs; the results come in the order of the runs.

    Args:
        read: reads one; it may be called in several threads.
        runs: the runs.
    """
    remaining = iter(runs)
    waited = 0.0
    for run in islice(remaining, _TIMED):
        begun, worked = time.perf_counter(), time.thread_time()
        result = read(run)
        waited += time.perf_counter() - begun - (time.thread_time() - worked)
        yield result
    if waited < _SLOW * _TIMED:
        # Threads would take half as much of the processor again, and win nothing.
        yield from map(read, remaining)
        return
    with ThreadPoolExecutor(_THREADS) as pool:
        while some := list(islice(remaining, _AT_ONCE)):
            yield from pool.map(read, some)
