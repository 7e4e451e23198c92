"""The runs of one or more sweeps as one table, with the metric that they are compared by."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dysweep.errors import ConfigError, closest
from dysweep.language.metric import Metric
from dysweep.language.parameter import Parameter
from dysweep.results.columns import NOT_SET, column_of, pandas
from dysweep.results.study import Study
from dysweep.text import counted

GOALS = ("maximize", "minimize")
_ABOUT_RUNS = ("run_id", "sweep_id", "state")


@dataclass(frozen=True)
class Trials:
    """Runs, a row for each, and the metric that they are compared by.

    Args:
        frame: run_id, sweep_id and state, the parameters, and all metrics that were logged.
        metric: the column of the metric.
        goal: maximize or minimize; None where nobody says it.
        values: the metric of each run; NaN where a run has none that counts.
        missing: for each run why it has none; empty if it has one.
        parameters: the columns of the parameters.
        repeats: those whose values repeat the others (`sweep_repeats`).
        originals: of parameters that are categories, what the labels stand for.
        not_started: how many runs have no record yet.
        remarks: what else a reader must know.
    """

    frame: Any
    metric: str
    goal: str | None
    values: Any
    missing: Any
    parameters: tuple[str, ...]
    repeats: tuple[str, ...]
    originals: Mapping[str, Mapping[str, Any]] = field(repr=False)
    not_started: int = 0
    remarks: tuple[str, ...] = ()

    @property
    def counting(self) -> Any:
        """The runs whose metric counts, the best first."""
        return self.frame.loc[self.ranked.dropna().index]

    @property
    def ranked(self) -> Any:
        """The metrics, the best first; those that do not count at the end."""
        if self.goal is None:
            raise ConfigError(
                f"--goal: the sweep does not say whether {self.metric!r} is to be large or small; "
                "give maximize or minimize"
            )
        return self.values.sort_values(ascending=self.goal == "minimize", kind="stable")

    @property
    def notes(self) -> list[str]:
        """What a table of these runs does not show: how many runs are missing, and why."""
        why = Counter(reason for reason in self.missing if reason)
        if self.not_started:
            why["not started"] += self.not_started
        counting = len(self.frame) - sum(bool(reason) for reason in self.missing)
        reasons = ", ".join(f"{number} {reason}" for reason, number in why.items())
        known = len(self.frame) + self.not_started
        left_out = f"; without a value that counts: {reasons}" if why else ""
        early = int(((self.frame["state"] == "killed") & (self.missing == "")).sum())
        killed = [f"{early} of them stopped early, with the last value"] if early else []
        return [f"{counting} of {counted(known, 'run')}{left_out}", *killed, *self.remarks]

    def columns(self, names: Iterable[str], option: str) -> list[str]:
        """Return the columns that are meant by names.

        Raises:
            ConfigError: there is no such parameter.
        """
        known = [*self.parameters, *_ABOUT_RUNS]
        found = list(dict.fromkeys(names))
        for name in found:
            if name not in known:
                raise ConfigError(f"--{option}: no parameter {name!r}{closest(name, self.parameters)}")
        return found

    def chosen(self, mask: Any, remark: str | None = None) -> Trials:
        """Return only some of the runs."""
        return replace(
            self,
            frame=self.frame[mask],
            values=self.values[mask],
            missing=self.missing[mask],
            remarks=(*self.remarks, remark) if remark else self.remarks,
        )


def trials_of(studies: Sequence[Study], metric: str | None = None, goal: str | None = None) -> Trials:
    """Bring the runs of sweeps into one table.

    Args:
        studies: the sweeps, which may have different parameters.
        metric: the metric; the sweeps' own by default.
        goal: maximize or minimize; the sweeps' own by default.

    Raises:
        ConfigError: no run has logged the metric; the sweeps have different ones; the goal is neither.
    """
    if goal is not None and goal not in GOALS:
        raise ConfigError(f"--goal: must be {' or '.join(GOALS)}, got {goal!r}")
    runs = [(study, run) for study in studies for run in study.runs]
    logged = sorted({name for _, run in runs for name in run.metrics})
    wanted = _metric(studies, metric, goal, logged)
    frame = {
        "run_id": pandas.Series([run.run_id for _, run in runs], dtype=object),
        "sweep_id": pandas.Categorical([study.sweep_id for study, _ in runs]),
        "state": pandas.Categorical([run.state for _, run in runs]),
    }
    parameters, originals = [], {}
    known: dict[str, Parameter] = {each.name: each for study in studies for each in study.parameters}
    for name, parameter in known.items():
        column = _free(name, frame, "parameter")
        declared = [parameter.encode(index) for index in range(len(parameter.values))]
        cells = [run.settings.get(name, NOT_SET) for _, run in runs]
        frame[column], originals[column] = column_of(cells, declared)
        parameters.append(column)
    logged_as = {name: _free(name, frame, "metric") for name in logged}
    for name, column in logged_as.items():
        frame[column] = pandas.Series([_float(run.metrics.get(name)) for _, run in runs], dtype=float)
    counting = [wanted.value_of(run.state, run.metrics) for _, run in runs]
    missing = [
        "" if value is not None else _why(run.state, run.metrics.get(wanted.name))
        for (_, run), value in zip(runs, counting, strict=True)
    ]
    return Trials(
        frame=pandas.DataFrame(frame),
        metric=logged_as[wanted.name],
        goal=wanted.goal if goal or wanted.goal in GOALS else None,
        values=pandas.Series([_float(value) for value in counting], dtype=float),
        missing=pandas.Series(missing, dtype=object),
        parameters=tuple(parameters),
        repeats=tuple(
            column for column, name in zip(parameters, known, strict=True) if known[name].is_repeat
        ),
        originals=originals,
        not_started=sum(study.not_started for study in studies),
        remarks=tuple(_remarks(studies, known)),
    )


def _metric(studies: Sequence[Study], name: str | None, goal: str | None, logged: list[str]) -> Metric:
    """Return the metric under the name by which it was logged; its goal is empty where nobody says it."""
    declared = {study.metric.name: study.metric for study in studies if study.metric is not None}
    if name is None:
        if len(declared) > 1:
            raise ConfigError(
                f"--metric: the sweeps optimize {' and '.join(declared)}; say which is compared"
            )
        name = next(iter(declared), None)
    if not logged:
        raise ConfigError("--metric: no run has logged a number yet")
    if name is None:
        raise ConfigError(f"--metric: the sweep declares none; its runs have logged {', '.join(logged)}")
    goals = {each.metric.goal for each in studies if each.metric is not None and each.metric.name == name}
    if goal is None and len(goals) > 1:
        raise ConfigError(f"--goal: the sweeps do not agree on {name!r}; give maximize or minimize")
    meant = Metric(name, goal or next(iter(goals), ""))
    found = meant.logged_as(logged)
    if found is None:
        raise ConfigError(
            f"--metric: no run has logged {name!r}{closest(meant.meant(logged) or name, logged)}"
        )
    return Metric(found, meant.goal)


def _free(name: str, taken: Mapping[str, Any], kind: str) -> str:
    return f"{kind}.{name}" if name in taken else name


def _float(value: float | None) -> float:
    try:
        return math.nan if value is None else float(value)
    except OverflowError:  # JSON's whole numbers have no limit
        return math.copysign(math.inf, value or 0)


def _why(state: str, logged: float | None) -> str:
    if state not in ("finished", "killed"):
        return "not started" if state == "pending" else state
    if logged is None:
        return "without the metric"
    return "with NaN" if math.isnan(logged) else "with an infinite value"


def _remarks(studies: Sequence[Study], known: Iterable[str]) -> Iterable[str]:
    if damaged := sum(study.damaged for study in studies):
        yield f"{counted(damaged, 'damaged run')} left out"
    for study in studies:
        own = {parameter.name for parameter in study.parameters}
        if others := [name for name in known if name not in own]:
            yield f"sweep {study.sweep_id} has no parameter {', '.join(others)}"
