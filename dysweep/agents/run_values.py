"""What the runs of a sweep have given so far, as its directory says."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dysweep.directory.runs import RunDirectory, State
from dysweep.directory.sweep import SweepDirectory
from dysweep.errors import DirectoryError
from dysweep.language.metric import Metric
from dysweep.log import say

logger = logging.getLogger("dysweep")


@dataclass(frozen=True)
class RunValue:
    """What is known of a run.

    Args:
        assignment: what the sweep chose for it.
        is_over: whether it has ended, and is not to be taken over.
        value: its last value of the metric; None if it has none, or it cannot be compared.
    """

    assignment: dict[str, Any]
    is_over: bool
    value: float | None


@dataclass(frozen=True)
class RunValues:
    """Reads what the runs have given; one that has finished is read once.

    Args:
        directory: the sweep's directory.
        metric: what the sweep optimizes.
        max_attempts: how often a run may fail or crash before it is given up.
    """

    directory: SweepDirectory
    metric: Metric
    max_attempts: int
    _finished: dict[str, RunValue] = field(default_factory=dict)
    _damaged: set[str] = field(default_factory=set)

    def read(self) -> dict[str, RunValue]:
        """Read all runs that were ever started, by their ids; a damaged one is named and left out."""
        results = {}
        for run_id in sorted(self.directory.run_ids()):
            result = self._finished.get(run_id) or self._read(run_id)
            if result is not None:
                results[run_id] = result
        return results

    def has_reached_target(self, results: Mapping[str, RunValue]) -> bool:
        """Return whether a run has reached the metric's target, and say which."""
        reached = [run_id for run_id, each in results.items() if self.metric.is_reached(each.value)]
        if reached:
            say(f"{reached[0]} has reached the metric's target, {self.metric.target}: no new run is started")
        return bool(reached)

    def _read(self, run_id: str) -> RunValue | None:
        run = RunDirectory(self.directory.runs_path / run_id)
        try:
            result, is_finished = self._of(run)
        except DirectoryError as error:
            if run_id not in self._damaged:
                self._damaged.add(run_id)
                logger.error("%s; the run is left out of the search", error)
            return None
        if is_finished:
            self._finished[run_id] = result
        return result

    def _of(self, run: RunDirectory) -> tuple[RunValue, bool]:
        assignment = run.record()["assignment"]
        last = run.last_attempt()
        if last is None:
            return RunValue(assignment, False, None), False
        end = last.end()
        state = last.state() if end is None else end.outcome
        value = None if end is None else self.metric.value_of(state, end.metrics)
        is_interrupted = state in (State.RUNNING, State.PREEMPTED, State.CRASHED)
        is_over = not is_interrupted or last.given_up(state, self.max_attempts)
        return RunValue(assignment, is_over, value), state is State.FINISHED
