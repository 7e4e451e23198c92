"""What a sweep has found: tables of its runs, the best of them, what matters, and configs to start from."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from dysweep.files import write_text
from dysweep.results.study import Study
from dysweep.text import short
from dysweep.views.preview import differences


class Results(ABC):
    """A sweep whose results can be asked for; pandas is imported when they are."""

    @abstractmethod
    def study(self) -> Study:
        """Return what results are computed from."""

    @abstractmethod
    def config(self, run_id: str) -> dict[str, Any]:
        """Return the config of a run."""

    def trials(self, metric: str | None = None, goal: str | None = None, where: Sequence[str] = ()) -> Any:
        """Return the runs with the metric that they are compared by.

        Args:
            metric: the metric; the sweep's own by default.
            goal: maximize or minimize; the sweep's own by default.
            where: conditions, as `dataset=wine` or `lr<=0.01`.

        Raises:
            ConfigError: no run has logged the metric or meets the conditions; pandas is not installed.
        """
        from dysweep.results.selection import where as chosen
        from dysweep.results.trials import trials_of

        return chosen(trials_of([self.study()], metric, goal), _several(where))

    def table(self, by: Sequence[str] = (), pivot: str | None = None, **how: Any) -> Any:
        """Return a DataFrame of the runs, the best first, or of groups of runs.

        Args:
            by: parameters; a row for each of their combinations, with n, mean, standard deviation (std),
                median, the 95 % confidence interval of the mean (low, high), and how many runs have no value
                (missing).
            pivot: spread this parameter into columns.
            how: metric, goal and where, as for `trials`.

        Raises:
            ConfigError: no run has logged the metric or meets the conditions; pandas is not installed.
        """
        from dysweep.results import tables

        trials, by = self.trials(**how), _several(by)
        if pivot is not None:
            return tables.beside(tables.pivoted(trials, by, pivot), pivot)
        return tables.groups(trials, by) if by else tables.runs_table(trials)

    def best(self, count: int = 1, by: Sequence[str] = (), **how: Any) -> Any:
        """Return a DataFrame of the best runs, of all or of each group.

        Args:
            count: how many.
            by: parameters; so many for each of their combinations.
            how: metric, goal and where, as for `trials`.

        Raises:
            ConfigError: no run has a value that counts; the goal is not known; pandas is not installed.
        """
        from dysweep.results import tables

        return tables.best(self.trials(**how), _several(by), count)

    def importance(self, **how: Any) -> Any:
        """Return how much each parameter matters for the metric, what its values do, and which two interact.

        Args:
            how: metric, goal and where, as for `trials`.

        Returns:
            an `Importance`: `parameters`, `effects` and `interactions` are DataFrames, `strongest` is the
            strongest interaction (parameter, other, share), or None.

        Raises:
            ConfigError: there are too few runs; pandas or scikit-learn is not installed.
        """
        from dysweep.results.importance import importance

        return importance(self.trials(**how))

    def diff(self, run_a: str, run_b: str) -> Any:
        """Return a DataFrame of the settings in which the configs of two runs differ, and of their metrics.

        Raises:
            NotFoundError: there is no such run, or it has no config.
            ConfigError: pandas is not installed.
        """
        return difference((self, run_a), (self, run_b))

    def export(self, path: str | os.PathLike[str], run_id: str | None = None, **how: Any) -> str:
        """Write the config of a run as a YAML file that is itself a base config.

        Args:
            path: the file.
            run_id: the run; the best by default.
            how: of which runs the best: metric, goal and where, as for `trials`.

        Returns:
            the run's id.

        Raises:
            NotFoundError: there is no such run, or it has no config.
            ConfigError: no run has a value that counts; the file cannot be written.
        """
        run_id = self.best(**how).index[0] if run_id is None else run_id
        write_text(path, self.base_config_of(run_id), "path")
        return run_id

    def base_config_of(self, run_id: str) -> str:
        """Return the config of a run as YAML that is itself a base config, with a comment of its origin.

        Raises:
            NotFoundError: there is no such run, or it has no config.
        """
        from dysweep.results.configs import as_base_config

        study = self.study()
        config, run = self.config(run_id), study.run(run_id)
        metric = study.metric.logged_as(run.metrics) if study.metric else None
        measured = f" ({metric} {run.metrics[metric]})" if metric else ""
        about = (
            f"config of run {run_id}{measured}, {run.state}, of sweep {study.sweep_id}: {short(run.settings)}"
        )
        return as_base_config(config, about)


def difference(one: tuple[Results, str], other: tuple[Results, str]) -> Any:
    """Return a DataFrame of the settings in which two runs differ, and of their metrics.

    Args:
        one: a sweep and a run's id.
        other: the same or another sweep, and a run's id.

    Raises:
        NotFoundError: there is no such run, or it has no config.
        ConfigError: pandas is not installed.
    """
    from dysweep.results.configs import difference as frame_of

    (sweep, run_id), (its_sweep, its_id) = one, other
    metrics = sweep.study().run(run_id).metrics, its_sweep.study().run(its_id).metrics
    return frame_of(differences(sweep.config(run_id), its_sweep.config(its_id)), metrics, (run_id, its_id))


def _several(given: str | Sequence[str]) -> list[str]:
    """Return a list: one text is often meant as one name."""
    return [given] if isinstance(given, str) else list(given)
