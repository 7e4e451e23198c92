"""Runs, groups of runs, and the table of a paper, as DataFrames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dysweep.errors import ConfigError, closest
from dysweep.results.columns import cell_text, pandas
from dysweep.results.trials import Trials

CONFIDENCE = 0.95
SIGNIFICANCE = 0.05
STATISTICS = ("n", "mean", "std", "median", "low", "high", "missing")


@dataclass(frozen=True)
class Order:
    """How a table is sorted.

    Args:
        column: by which column.
        ascending: the smallest first; None for the order that its metric's goal gives, else the smallest.
    """

    column: str
    ascending: bool | None = None

    @classmethod
    def of(cls, text: str) -> Order:
        """Read `NAME`, `NAME:asc` or `NAME:desc`."""
        name, colon, direction = text.rpartition(":")
        return cls(name, direction == "asc") if colon and direction in ("asc", "desc") else cls(text)


def runs_table(trials: Trials, sort: str | None = None, top: int | None = None) -> Any:
    """Return a row for each run with state, parameters and metric, the best first.

    Args:
        trials: the runs.
        sort: a column, with `:asc` or `:desc`; by the metric by default.
        top: only so many.

    Raises:
        ConfigError: there is no such column.
    """
    several = ["sweep_id"] if trials.frame["sweep_id"].nunique() > 1 else []
    columns = ["run_id", *several, "state", *trials.parameters, trials.metric]
    order = Order(trials.metric) if sort is None else Order.of(sort)
    if order.column not in trials.frame:
        raise ConfigError(f"--sort: no column {order.column!r}{closest(order.column, trials.frame.columns)}")
    if order.column == trials.metric and order.ascending is None:
        ranked = trials.ranked.index
    else:
        ascending = order.ascending is not False
        ranked = trials.frame[order.column].sort_values(ascending=ascending, kind="stable").index
    shown = list(dict.fromkeys([*columns, order.column]))
    return trials.frame.loc[ranked, shown].head(top if top is not None else len(ranked)).set_index("run_id")


def best(trials: Trials, by: Sequence[str] = (), count: int = 1) -> Any:
    """Return the best runs, of each group or of all.

    Raises:
        ConfigError: there is no such parameter, or no run has a value that counts.
    """
    by = trials.columns(by, "by")
    found = trials.counting
    if found.empty:
        raise ConfigError(f"--metric: no run has a value of {trials.metric!r} that counts: {trials.notes[0]}")
    if by:
        found = found.groupby(by, observed=True, dropna=False, sort=False).head(count)
        found = found.sort_values(by, kind="stable")
    return runs_table(trials, top=None).loc[found["run_id"].head(None if by else count)]


def groups(trials: Trials, by: Sequence[str]) -> Any:
    """Return for each combination of the parameters how the metric is distributed over its runs.

    Args:
        trials: the runs.
        by: the parameters.

    Returns:
        a row for each combination: n runs with a value that counts, their mean, standard deviation (of a
        sample), median, the 95 % confidence interval of the mean (low, high) by Student's t, and how many
        more runs have no value; no deviation and no interval where n is 1.

    Raises:
        ConfigError: there is no such parameter.
    """
    from scipy.special import stdtrit  # Student's t; scipy.stats takes most of a second to be imported

    by = trials.columns(by, "by")
    keys = [trials.frame[name] for name in by]
    grouped = trials.values.groupby(keys, observed=True, dropna=False)
    found = grouped.agg(n="count", mean="mean", std="std", median="median", error="sem", all="size")
    half = stdtrit((found["n"] - 1).where(found["n"] > 1), 0.5 + CONFIDENCE / 2) * found["error"]
    found = found.assign(
        low=found["mean"] - half, high=found["mean"] + half, missing=found["all"] - found["n"]
    )
    return found[list(STATISTICS)]


def averaged_over(trials: Trials, by: Sequence[str]) -> list[str]:
    """Return the parameters that differ between runs of one group."""
    others = [name for name in trials.parameters if name not in by]
    return [name for name in others if trials.frame[name].nunique(dropna=False) > 1]


def pivoted(trials: Trials, by: Sequence[str], pivot: str) -> dict[str, Any]:
    """Return groups with one of their parameters spread into columns.

    Args:
        trials: the runs.
        by: the parameters of the rows; the one that is spread may be among them.
        pivot: the parameter that is spread.

    Returns:
        for each of its values the groups, all with the same rows; n is 0 where a combination has no run.

    Raises:
        ConfigError: there is no such parameter, or none is left for the rows.
    """
    [pivot] = trials.columns([pivot], "pivot")
    rest = [name for name in by if name != pivot]
    if not rest:
        raise ConfigError(f"--pivot: --by needs another parameter than {pivot!r}, for the rows")
    table = groups(trials, [*rest, pivot])
    level = table.index.get_level_values(pivot)
    rows = table.index.droplevel(pivot).unique()
    parts = {}
    for value in level.unique().sort_values():
        part = table[level.isna() if pandas.isna(value) else level == value].droplevel(pivot).reindex(rows)
        parts[cell_text(value)] = part.fillna({"n": 0, "missing": 0}).astype({"n": int, "missing": int})
    return parts


def beside(parts: Mapping[str, Any], pivot: str) -> Any:
    """Return what `pivoted` gives as one DataFrame: below each value of the parameter the statistics."""
    return pandas.concat(parts, axis=1, names=[pivot, "statistic"])


def marks(table: Any, goal: str) -> tuple[Any, Any]:
    """Return which groups are the best, and which do not differ from them significantly.

    Args:
        table: the groups to compare.
        goal: maximize or minimize.

    Returns:
        two boolean columns; what is best is not in the second. Welch's t-test by scipy, so groups of one run
        differ from nothing and equal nothing.
    """
    from scipy.stats import ttest_ind_from_stats

    mean, n = table["mean"], table["n"]
    bold = mean == (mean.max() if goal == "maximize" else mean.min())
    alike = pandas.Series(False, index=table.index)
    best = table.iloc[int(bold.to_numpy().argmax())]
    testable = (n > 1) & (best["n"] > 1) & ~bold
    if testable.any():
        its, others = (part[["mean", "std", "n"]].to_numpy(dtype=float) for part in (best, table[testable]))
        test = ttest_ind_from_stats(*its, *others.T, equal_var=False)
        alike[testable] = test.pvalue >= SIGNIFICANCE
    return bold, alike
