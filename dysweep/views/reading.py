"""A sweep directory read run by run; how many runs were read, and in which state, is known in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing

from dysweep.directory.extensions import Definitions, Extension
from dysweep.directory.legacy import OldSweep
from dysweep.directory.reading import read_each
from dysweep.directory.runs import RunDirectory, State
from dysweep.directory.sweep import Sweep, SweepDirectory
from dysweep.errors import ConfigError, DirectoryError
from dysweep.language.metric import Metric
from dysweep.views.index import Entry, Index
from dysweep.views.runs import RunStatus, old_run_status, run_status


class Reading:
    """One look at a sweep's directory, without any network.

    Args:
        directory: the sweep's directory.
        max_attempts: how often a run may fail or crash before it is given up.

    Raises:
        NotFoundError: the directory holds no sweep.
        DirectoryError: its record is damaged.
    """

    def __init__(self, directory: SweepDirectory, max_attempts: int) -> None:
        self.directory = directory
        self.states: Counter[str] = Counter()
        self.damaged: list[str] = []
        # A directory that only 0.1 has worked in is read as it is: looking must not change it.
        self._old = OldSweep.at(directory)
        self.sweep = self._old.stand_in() if self._old else directory.sweep
        self._definitions = self._defined()
        self._max_attempts = max_attempts
        last = self._definitions.last
        self._metric = None if self._old or last.online else Metric.of(last.sweep_configuration)
        self._is_reached = False

    def _defined(self) -> Definitions:
        return Definitions((Extension(self.sweep),)) if self._old else Definitions.of(self.directory)

    def runs(self) -> Iterator[RunStatus]:
        """Read one run after the other; of damaged ones `damaged` says what is wrong."""
        for old_run in self._old.runs() if self._old else ():
            yield self._counted(old_run_status(old_run))
        with closing(Index(self.directory)) as index:
            for read, listed in read_each(self._look, index.beside(self.directory.runs())):
                if isinstance(read, str):
                    self.damaged.append(read)
                    continue
                if listed is not None and read.ended is not None:
                    index.add(*listed, read)
                yield self._counted(read)
            index.write()
        self._definitions = self._defined()  # it may have been extended meanwhile, and runs be of that

    def _look(
        self, given: tuple[RunDirectory, Entry | None]
    ) -> tuple[RunStatus | str, tuple[list[str], int] | None]:
        """Return a run, or what is wrong with it, and how its files were listed; None if it was known."""
        run, entry = given
        try:
            names, changed = run.attempts_files()
            files = sorted(names)
            if entry is not None and (entry.files, entry.changed) == (files, changed):
                return entry.status(self._max_attempts), None
            return run_status(run, files, self._max_attempts), (files, changed)
        except DirectoryError as error:
            return str(error), None

    def _counted(self, run: RunStatus) -> RunStatus:
        self.states[run.state] += 1
        if self._metric is not None and not self._is_reached:
            self._is_reached = self._metric.is_reached(self._metric.value_of(run.state, run.metrics))
        return run

    @property
    def extensions(self) -> tuple[Sweep, ...]:
        """What the sweep was defined as later."""
        return tuple(each.sweep for each in self._definitions.extensions[1:])

    @property
    def total(self) -> int | None:
        """How many runs it has in all; None if W&B decides."""
        if self._old:
            return None
        if self._is_reached:
            return self.states.total()
        try:
            return self._definitions.size
        except ConfigError:
            return None

    def found(self) -> tuple[int | None, dict[str, int], list[str]]:
        """Return how many runs it has, how many are in each state, and what is wrong with damaged ones."""
        return self.total, counts_of(self.states, len(self.damaged), self.total), self.damaged


def counts_of(states: Counter[str], damaged: int, total: int | None) -> dict[str, int]:
    """Return the number of runs in each state; pending ones have not been started yet.

    Args:
        states: how many were read in each state.
        damaged: how many could not be read.
        total: how many there are in all; None if nobody knows.
    """
    # The point of a run that was deleted in W&B is handed out again, under another id.
    known = states.total() + damaged - states[State.GONE.value]
    waiting = 0 if total is None else max(0, total - known)
    counts = states + Counter({State.PENDING.value: waiting})
    return {state.value: counts[state.value] for state in State if counts[state.value]}
