"""Runs of a sweep that its own directory serves: each point goes to one process."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from dysweep.agents.sources import Claim, Claims, Source
from dysweep.language.points import Grid, Points

_LOCK_SECONDS = 10


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
        return FreePoints(self.claims, Grid.of(sweep.compiled, sweep.sweep_configuration))

    def unstarted_runs(self) -> Iterator[Source]:
        """Return nothing: a run of a directory is recorded together with its first claim."""
        return iter(())

    def claim_unrecorded(self, run_id: str, resume: bool) -> Claim:
        """Refuse a run that the directory does not know.

        Raises:
            NotFoundError: always; the message says which runs there are.
        """
        raise self.claims.directory.unknown(run_id)


@dataclass(frozen=True)
class FreePoints:
    """The points of a sweep that nobody has started, one after the other."""

    claims_of: Claims
    points: Points

    @property
    def total(self) -> int:
        return self.points.size

    def left(self) -> int:
        return self.points.size - len(self.claims_of.directory.run_ids())

    def claims(self) -> Generator[Claim, None, None]:
        directory = self.claims_of.directory
        started = directory.run_ids()
        for index in range(self.points.size):
            run_id = f"{directory.sweep.sweep_id}-{index + 1:04d}"
            if run_id in started:
                continue
            claim = None
            # The lock only spares the others a directory that they would make and throw away; which
            # process gets the point is decided by the rename in start_run.
            with _briefly_alone(directory.lock_path):
                if not (directory.runs_path / run_id).exists():
                    claim = self.claims_of.new(run_id, self.points.assignment(index), place=index + 1)
            if claim is not None:
                yield claim


@contextmanager
def _briefly_alone(path: Path) -> Iterator[None]:
    """Keep other agents from trying the same point; where locks do not work, they try and one wins."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=_LOCK_SECONDS)
    except (Timeout, OSError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):  # a network file system that is gone; the lock goes with the process
            lock.release()
