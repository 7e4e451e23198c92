"""What results are computed from: sweeps, and their runs with settings and metrics, already read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dysweep.errors import NotFoundError, closest
from dysweep.language.metric import Metric
from dysweep.language.parameter import Parameter

_MOST_NAMED = 20
FEWEST_RUNS = 10
"""What the importance of parameters needs."""


@dataclass(frozen=True)
class StudyRun:
    """One run.

    Args:
        run_id: its id.
        state: its state, in W&B's words.
        settings: the values of its parameters one by one.
        metrics: its final numeric metrics.
    """

    run_id: str
    state: str
    settings: Mapping[str, Any]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Study:
    """One sweep.

    Args:
        sweep_id: its id.
        metric: what it optimizes, if it says so.
        parameters: its parameters one by one.
        runs: the runs that have a record.
        not_started: how many of its runs have none yet.
        damaged: how many cannot be read.
    """

    sweep_id: str
    metric: Metric | None
    parameters: tuple[Parameter, ...]
    runs: tuple[StudyRun, ...]
    not_started: int = 0
    damaged: int = 0

    def run(self, run_id: str) -> StudyRun:
        """Return a run.

        Raises:
            NotFoundError: there is no such run.
        """
        found = next((run for run in self.runs if run.run_id == run_id), None)
        if found is None:
            known = [run.run_id for run in self.runs]
            near = closest(run_id, known) if len(known) <= _MOST_NAMED else ""
            raise NotFoundError(f"{run_id}: unknown run of sweep {self.sweep_id}{near}")
        return found
