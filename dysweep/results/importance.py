"""How much each parameter matters for the metric, and what each of its values does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy

from dysweep.errors import ConfigError
from dysweep.results.columns import cell_text, pandas
from dysweep.results.tables import groups
from dysweep.results.trials import Trials
from dysweep.text import counted

_FEWEST_RUNS = 10
_FOLDS = 5
_SHUFFLES = 10
_TREES = 100
_MOST_VALUES = 12
_QUARTILES = 4


@dataclass(frozen=True)
class Importance:
    """How much each parameter matters.

    Shuffling the only parameter that counts raises the squared error from zero to twice the variance, so half
    of what it raises is the share of the variance in which the parameter has a part (Sobol's total effect).

    Args:
        parameters: a row for each parameter that varies, the most important first: importance, its standard
            deviation (std) between the folds, and the number of runs that have the parameter (runs).
        effects: a row for each value of each parameter, or each quarter of a number's range: what `groups`
            says of the runs that have it, and the distance of their mean from that of all runs (effect).
        explained: the share of the metric's variance that the parameters explain in runs that were left out;
            at 0 or below, importances mean nothing.
        runs: how many runs were looked at.
    """

    parameters: Any
    effects: Any
    explained: float
    runs: int

    @property
    def notes(self) -> list[str]:
        """How to read it."""
        doubt = "" if self.explained > 0.1 else "; that is too little to rank parameters by"
        return [
            "importance: the share of the metric's variance in which the parameter has a part, alone or with "
            "others, as permutation importance of a random forest in runs that it was not trained on",
            f"all parameters together explain {self.explained:.0%} in {counted(self.runs, 'run')}{doubt}",
        ]


def importance(trials: Trials) -> Importance:
    """Return how much each parameter matters for the metric.

    It is scikit-learn's permutation importance of a random forest, over five folds. Repeats (`sweep_repeats`)
    are noise and no parameter. A parameter in the values of another one is shuffled among the runs that have
    it, so that the choice of the other does not count for it.

    Args:
        trials: the runs; those without a value that counts are left out.

    Raises:
        ConfigError: there are fewer than ten runs, no parameter varies, or scikit-learn is not installed.
    """
    measured = trials.chosen(trials.values.notna())
    frame, values = measured.frame, measured.values.reset_index(drop=True)
    if len(frame) < _FEWEST_RUNS:
        raise ConfigError(
            f"--importance: it needs {_FEWEST_RUNS} runs with a value that counts, there are {len(frame)}"
        )
    names = [
        name
        for name in trials.parameters
        if name not in trials.repeats and frame[name].nunique(dropna=False) > 1
    ]
    if not names:
        raise ConfigError("--importance: no parameter has more than one value in these runs")
    table = pandas.DataFrame({name: _codes(frame[name]) for name in names})
    categories = [name for name in names if not pandas.api.types.is_numeric_dtype(frame[name])]
    folds, explained = _shuffled_folds(table, values, categories)
    found = pandas.DataFrame(
        {
            "parameter": names,
            "importance": folds.mean(axis=0),
            "std": folds.std(axis=0, ddof=1),
            "runs": [int(frame[name].notna().sum()) for name in names],
        }
    ).sort_values("importance", ascending=False, ignore_index=True)
    return Importance(found, _effects(measured, list(found["parameter"])), explained, len(frame))


def _codes(column: Any) -> Any:
    """Return a column as floats: a category's place for its label; NaN where there is none."""
    if pandas.api.types.is_numeric_dtype(column):
        return column.astype("Float64").to_numpy(dtype=float, na_value=numpy.nan)
    codes = column.cat.codes.to_numpy(dtype=float)
    return numpy.where(codes < 0, numpy.nan, codes)


def _shuffled_folds(table: Any, values: Any, categories: list[str]) -> tuple[Any, float]:
    """Return for each fold the importance of each column, and which share of the variance is explained."""
    try:
        from sklearn.compose import make_column_transformer
        from sklearn.ensemble import RandomForestRegressor
        from sklearn.inspection import permutation_importance
        from sklearn.model_selection import KFold
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import OneHotEncoder
    except ImportError:
        raise ConfigError('--importance: it needs scikit-learn: pip install "dysweep[results]"') from None
    variance = float(values.var(ddof=0))
    if variance == 0:
        return numpy.zeros((_FOLDS, table.shape[1])), 0.0
    folds, errors = [], numpy.zeros(len(values))
    for train, test in KFold(_FOLDS, shuffle=True, random_state=0).split(table):
        encoder = make_column_transformer(
            (OneHotEncoder(handle_unknown="ignore"), categories), remainder="passthrough"
        )
        forest = RandomForestRegressor(_TREES, min_samples_leaf=2, random_state=0)
        model = make_pipeline(encoder, forest).fit(table.iloc[train], values.iloc[train])
        left_out, its = table.iloc[test], values.iloc[test]
        errors[test] = (model.predict(left_out) - its) ** 2
        lost = numpy.zeros(table.shape[1])
        sharing: dict[tuple[bool, ...], list[int]] = {}
        for place, name in enumerate(table):
            sharing.setdefault(tuple(left_out[name].notna()), []).append(place)
        for mask, places in sharing.items():
            having = numpy.array(mask)
            if having.sum() < 2:
                continue
            shuffled = permutation_importance(
                model, left_out[having], its[having], scoring="neg_mean_squared_error",
                n_repeats=_SHUFFLES, random_state=0,
            )  # fmt: skip
            lost[places] = shuffled.importances_mean[places] * having.mean() / (2 * variance)
        folds.append(lost)
    return numpy.array(folds), 1 - float(errors.mean()) / variance


def _effects(trials: Trials, names: list[str]) -> Any:
    overall = trials.values.mean()
    parts = []
    for name in names:
        found = groups(_in_quarters(trials, name), [name])
        found = found[found.index.notna()]
        values = [cell_text(value) for value in found.index]
        parts.append(found.reset_index(drop=True).assign(parameter=name, value=values))
    whole = pandas.concat(parts, ignore_index=True)
    whole["effect"] = whole["mean"] - overall
    return whole[["parameter", "value", "effect", "n", "mean", "std", "median", "low", "high"]]


def _in_quarters(trials: Trials, name: str) -> Trials:
    """Return runs with a parameter of many numbers cut into quarters of equally many runs."""
    column = trials.frame[name]
    if not pandas.api.types.is_numeric_dtype(column) or column.nunique() <= _MOST_VALUES:
        return trials
    cut = pandas.qcut(column.astype(float), _QUARTILES, duplicates="drop")
    texts = {part: f"{part.left:.4g} to {part.right:.4g}" for part in cut.cat.categories}
    return replace(trials, frame=trials.frame.assign(**{name: cut.cat.rename_categories(texts)}))
