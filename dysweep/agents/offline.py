"""Runs of a sweep that its own directory serves: each point goes to one process."""

from __future__ import annotations

import random
from collections.abc import Collection, Generator, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

from filelock import FileLock, Timeout

from dysweep.agents.run_values import RunValues
from dysweep.agents.sources import Claim, Claims, Source
from dysweep.directory.extensions import Definitions
from dysweep.directory.runs import State
from dysweep.errors import ConfigError
from dysweep.language.metric import Metric


@dataclass(frozen=True)
class DirectoryServer:
    """Serves a sweep from its directory.

    Args:
        claims: claims the sweep's runs.
    """

    claims: Claims

    def new_runs(self) -> Source:
        """Return the points that nobody has started."""
        sweep = self.claims.directory.sweep
        metric = Metric.of(sweep.sweep_configuration)
        results = RunValues(self.claims.directory, metric, self.claims.max_attempts) if metric else None
        if sweep.sweep_configuration["method"] != "bayes":
            return FreePoints(self.claims, Definitions.of(self.claims.directory), results)
        from dysweep.agents.suggestions import Suggestions

        assert results is not None  # checked when the sweep was created
        return Suggestions(self.claims, Definitions.of(self.claims.directory), results)

    def unstarted_runs(self) -> Iterator[Source]:
        """Return nothing: a run of a directory is recorded together with its first claim."""
        return iter(())

    def interrupted_runs(self, states: Collection[State]) -> Source:
        """Refuse to ask W&B, which does not know the sweep.

        Raises:
            ConfigError: always.
        """
        sweep_id = self.claims.directory.sweep.sweep_id
        raise ConfigError(f"from_wandb: the sweep {sweep_id} is served by its directory, without W&B")

    def claim_unrecorded(self, run_id: str, resume: bool) -> Claim:
        """Refuse a run that the directory does not know.

        Raises:
            NotFoundError: always; the message says which runs there are.
        """
        raise self.claims.directory.unknown(run_id)


@dataclass
class FreePoints:
    """The points of a sweep that nobody has started, one after the other.

    Args:
        claims_of: claims the sweep's runs.
        points: the sweep's points, as far as this agent knows.
        results: what the runs have given; None if the sweep has no metric.
    """

    claims_of: Claims
    points: Definitions
    results: RunValues | None = None

    @property
    def total(self) -> int | None:
        self.points = self.points.now(self.claims_of.directory)
        return self.points.size

    def left(self) -> int | None:
        total = self.total
        return None if total is None else total - len(self.claims_of.directory.run_ids())

    def claims(self) -> Generator[Claim, None, None]:
        """Claim one point after the other: in their order, and from anywhere once another agent was met.

        Agents that all want the next point would wait for each other. One that begins again at a point by
        chance is by itself for a while.
        """
        directory = self.claims_of.directory
        started = directory.run_ids()
        begin, is_first = 0, True
        while not self._has_reached_target():
            total = self.total
            index = self._free(total, begin, started)
            if index is None:
                return
            run_id, points = directory.run_id(index + 1), self.points
            # The lock only tells that another agent begins at the same time; later ones are met at a point
            # that is taken. Which one gets a point is decided by the rename in start_run.
            with _unless_taken(directory.lock_path) if is_first else nullcontext(True) as is_free:
                claim = None
                if is_free and not (directory.runs_path / run_id).exists():
                    claim = self.claims_of.new(
                        run_id, points.assignment(index), place=index + 1, definition=points.number(index)
                    )
            is_first = False
            if claim is None:
                started = directory.run_ids()
                begin = 0 if total is None else random.randrange(total)
            else:
                started.add(run_id)
                begin = index + 1
                yield claim

    def _has_reached_target(self) -> bool:
        if self.results is None or self.results.metric.target is None:
            return False
        return self.results.has_reached_target(self.results.read())

    def _free(self, size: int | None, begin: int, started: Collection[str]) -> int | None:
        """Return the first point that is not known to be started, from one on and around."""
        for index in count(begin) if size is None else chain(range(begin, size), range(begin)):
            if self.claims_of.directory.run_id(index + 1) not in started:
                return index
        return None


@contextmanager
def _unless_taken(path: Path) -> Iterator[bool]:
    """Hold a lock, and tell whether nobody else does; where locks do not work, nobody is known to."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError, NotImplementedError) as error:
        yield not isinstance(error, Timeout)
        return
    try:
        yield True
    finally:
        with suppress(OSError):  # a network file system that is gone; the lock goes with the process
            lock.release()
