"""Runs of a sweep that searches without W&B: each point is chosen by what the runs before it have given."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import fmean
from typing import Any

from filelock import FileLock, Timeout

from dysweep.agents.run_values import RunValue, RunValues
from dysweep.agents.sources import Claim, Claims
from dysweep.directory.extensions import Definitions
from dysweep.directory.sweep import Sweep
from dysweep.language.combinations import repeats_of
from dysweep.language.parameter import Parameter
from dysweep.search import Trial, suggest

_LONGEST_WAIT = 10.0  # seconds for the lock, which is held while another agent computes


@dataclass
class Suggestions:
    """The points that a sampler suggests, one after the other.

    Args:
        claims_of: claims the sweep's runs.
        definitions: what the sweep is, as far as this agent knows.
        results: what its runs have given.
    """

    claims_of: Claims
    definitions: Definitions
    results: RunValues

    @property
    def total(self) -> int | None:
        self.definitions = self.definitions.now(self.claims_of.directory)
        return self.definitions.size

    def left(self) -> int | None:
        total = self.total
        return None if total is None else total - len(self.claims_of.directory.run_ids())

    def claims(self) -> Generator[Claim, None, None]:
        """Claim one suggested point after the other."""
        directory = self.claims_of.directory
        while True:
            # The lock only spares agents the same work; which one gets a number is decided by the rename in
            # start_run.
            with _waiting_for(directory.lock_path):
                total, results, number = self.total, self.results.read(), self._next_number()
                if total is not None and number > total:
                    return
                if self.results.has_reached_target(results):
                    return
                point = self._point(self.definitions.last, number, results)
                if point is None:
                    return
                definition = len(self.definitions.extensions)
                claim = self.claims_of.new(
                    directory.run_id(number), point, place=number, definition=definition
                )
            if claim is not None:
                yield claim

    def _next_number(self) -> int:
        started = self.claims_of.directory.run_ids()
        return next(number for number in count(1) if self.claims_of.directory.run_id(number) not in started)

    def _point(self, sweep: Sweep, number: int, results: Mapping[str, RunValue]) -> dict[str, Any] | None:
        """Return the point of a run; None if every point there is was chosen."""
        repeats = repeats_of(sweep.compiled)
        size = repeats.size if repeats else 1
        place, repeat = divmod(number - 1, size)
        draws: dict[int, list[RunValue]] = {}
        for run_id, result in results.items():
            known = self.claims_of.directory.number_of(run_id)
            if known is not None:
                draws.setdefault((known - 1) // size, []).append(result)
        if place in draws:
            point = _drawn(draws[place], repeats)
        else:
            seed = f"{sweep.sweep_configuration.get('sweep_seed', sweep.sweep_id)}/{place}"
            trials = [_trial(draws[each], repeats) for each in sorted(draws)]
            suggested = suggest(sweep.compiled, trials, self.results.metric.goal, seed)
            if suggested is None:
                return None
            point = suggested
        return {**point, repeats.name: repeats.encode(repeat)} if repeats else point


def _trial(repeated: Sequence[RunValue], repeats: Parameter | None) -> Trial:
    """Return the runs of one draw as one: it has ended when all have, and its value is their mean."""
    is_over = all(each.is_over for each in repeated) and len(repeated) == (repeats.size if repeats else 1)
    values = [each.value for each in repeated if each.value is not None]
    return Trial(_drawn(repeated, repeats), is_over, fmean(values) if is_over and values else None)


def _drawn(repeated: Sequence[RunValue], repeats: Parameter | None) -> dict[str, Any]:
    return {
        name: value for name, value in repeated[0].assignment.items() if not repeats or name != repeats.name
    }


@contextmanager
def _waiting_for(path: Path) -> Iterator[None]:
    """Hold a lock; where locks do not work, and after a long wait, continue without it."""
    lock = FileLock(path)
    with suppress(Timeout, OSError, NotImplementedError):
        lock.acquire(timeout=_LONGEST_WAIT)
    try:
        yield
    finally:
        with suppress(OSError):  # a network file system that is gone; the lock goes with the process
            lock.release()
