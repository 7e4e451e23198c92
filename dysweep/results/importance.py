"""How much each parameter matters for the metric, and what each of its values does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy

from dysweep.errors import ConfigError
from dysweep.results.columns import cell_text, pandas
from dysweep.results.study import FEWEST_RUNS
from dysweep.results.tables import groups
from dysweep.results.trials import Trials
from dysweep.text import counted

_FOLDS = 5
_TREES = 100
_SHUFFLED_ROWS = 1_000
_FEWEST_SHUFFLES, _MOST_SHUFFLES = 2, 30
_MOST_PAIRED = 5
_LEAST_INTERACTION = 0.05
_LEAST_EXPLAINED = 0.1
_DEVIATIONS = 3
_MOST_VALUES = 12
_QUARTILES = 4


@dataclass(frozen=True)
class Importance:
    """How much each parameter matters.

    Shuffling the only parameter that counts raises the squared error from zero to twice the variance, so half
    of what it raises is the share of the variance in which the parameter has a part (Sobol's total effect).

    What two parameters do together is what is left of their shares in one another: Sobol's total index of the
    pair, the share of the variance that Friedman and Popescu's H-statistic (2008) asks for in the model.

    Args:
        parameters: a row for each parameter that varies, the most important first: importance, its standard
            deviation (std) between the folds, and the number of runs that have the parameter (runs).
        effects: a row for each value of each parameter, or each quarter of a number's range: what `groups`
            says of the runs that have it, and the distance of their mean from that of all runs (effect).
        interactions: a row for each two of the most important parameters (parameter, other), the strongest
            first: the share of the metric's variance that they explain only together (interaction), and its
            standard deviation (std) between the folds.
        explained: the share of the metric's variance that the parameters explain in runs that were left out;
            at 0 or below, importances mean nothing.
        runs: how many runs were looked at.
    """

    parameters: Any
    effects: Any
    interactions: Any
    explained: float
    runs: int

    @property
    def strongest(self) -> tuple[str, str, float] | None:
        """The two parameters that interact most, and their share; None if it could well be chance."""
        found = self.interactions
        clear = found["interaction"] - _DEVIATIONS * found["std"] / _FOLDS**0.5 > 0
        named = found[clear & (found["interaction"] >= _LEAST_INTERACTION)]
        if named.empty or self.explained <= _LEAST_EXPLAINED:
            return None
        first = named.iloc[0]
        return first["parameter"], first["other"], float(first["interaction"])

    @property
    def interaction(self) -> str:
        """A sentence about the strongest interaction; empty where there is no second parameter."""
        if self.interactions.empty:
            return ""
        if self.strongest is None:
            return "no two parameters interact by clearly more than chance"
        one, other, share = self.strongest
        return (
            f"the strongest interaction: {one} and {other} explain {share:.0%} of the variance only together"
        )

    @property
    def notes(self) -> list[str]:
        """How to read it."""
        doubt = "" if self.explained > _LEAST_EXPLAINED else "; that is too little to rank parameters by"
        return [
            "importance: the share of the metric's variance in which the parameter has a part, alone or with "
            "others, as permutation importance of a random forest in runs that it was not trained on",
            f"all parameters together explain {self.explained:.0%} in {counted(self.runs, 'run')}{doubt}",
        ]


def importance(trials: Trials) -> Importance:
    """Return how much each parameter matters for the metric, and which two interact.

    It is the permutation importance (Breiman 2001) of scikit-learn's random forest, over five folds. Repeats
    (`sweep_repeats`) are noise and no parameter. A parameter in the values of another one is shuffled among
    the runs that have it, so that the choice of the other does not count for it.

    Args:
        trials: the runs; those without a value that counts are left out.

    Raises:
        ConfigError: there are fewer than ten runs, no parameter varies, or scikit-learn is not installed.
    """
    measured = trials.chosen(trials.values.notna())
    frame, values = measured.frame, measured.values.to_numpy(dtype=float)
    if len(frame) < FEWEST_RUNS:
        raise ConfigError(
            f"--importance: it needs {FEWEST_RUNS} runs with a value that counts, there are {len(frame)}"
        )
    names = [
        name
        for name in trials.parameters
        if name not in trials.repeats and frame[name].nunique(dropna=False) > 1
    ]
    if not names:
        raise ConfigError("--importance: no parameter has more than one value in these runs")
    values = values / (numpy.abs(values).max() or 1.0)  # the square of a diverged loss may be infinite
    forests = _forests({name: _inputs(frame[name]) for name in names}, values)
    having = {name: frame[name].notna().to_numpy() for name in names}
    variance = float(values.var()) or 1.0
    single = numpy.array([forest.importances(having) for forest in forests]) / variance
    ranks = pandas.DataFrame(
        {
            "parameter": names,
            "importance": single.mean(axis=0),
            "std": single.std(axis=0, ddof=1),
            "runs": [int(having[name].sum()) for name in names],
        }
    ).sort_values("importance", ascending=False, ignore_index=True)
    ordered = list(ranks["parameter"])
    pairs = [pair for pair in combinations(ordered[:_MOST_PAIRED], 2) if _both_vary(frame, pair)]
    shared = numpy.array([forest.interactions(having, pairs) for forest in forests]) / variance
    interactions = pandas.DataFrame(
        {
            "parameter": [one for one, _ in pairs],
            "other": [other for _, other in pairs],
            "interaction": shared.mean(axis=0),
            "std": shared.std(axis=0, ddof=1),
        }
    ).sort_values("interaction", ascending=False, ignore_index=True)
    unexplained = sum(float(((forest.predicted - forest.values) ** 2).sum()) for forest in forests)
    explained = 1 - unexplained / len(values) / variance if values.var() else 0.0
    return Importance(ranks, _effects(measured, ordered), interactions, explained, len(frame))


def _both_vary(frame: Any, pair: tuple[str, str]) -> bool:
    """Return whether two parameters vary in the runs that have both; a choice and what is in it do not."""
    return bool((frame[list(pair)].dropna().nunique() > 1).all())


def _inputs(column: Any) -> Any:
    """Return a parameter as the forest sees it: numbers by rank (NaN: none), a column for each category."""
    if pandas.api.types.is_numeric_dtype(column):  # a tree sees no more, and infinity has a rank
        return column.rank(method="dense").to_numpy(dtype=float, na_value=numpy.nan)[:, None]
    return pandas.get_dummies(column).to_numpy(dtype=float)


@dataclass(frozen=True)
class _Forest:
    """A random forest, and the runs that it was not trained on.

    Args:
        model: the forest.
        inputs: what it sees of each parameter in these runs.
        values: their metric.
        predicted: what it makes of them.
        places: which runs they are.
    """

    model: Any
    inputs: Mapping[str, Any]
    values: Any
    predicted: Any
    places: Any

    def importances(self, having: Mapping[str, Any]) -> list[float]:
        """Return half of what shuffling a parameter among the runs that have it adds to the squared error."""
        shuffled = self._shuffled([{name: self._orders(name, having[name])} for name in self.inputs])
        error = ((self.predicted - self.values) ** 2).mean()
        return [(((each - self.values) ** 2).mean() - error) / 2 for each in shuffled]

    def interactions(self, having: Mapping[str, Any], pairs: Sequence[tuple[str, str]]) -> list[float]:
        """Return how what two parameters do only together goes with the metric.

        It is what remains of a prediction without what each of the two does alone, so it is 0 for a sum,
        also where their values go together in the runs.
        """
        changes: dict[tuple[tuple[str, ...], bytes], Mapping[str, Any]] = {}
        parts = []
        for pair in pairs:
            both = having[pair[0]] & having[pair[1]]
            parts.append([(names, both.tobytes()) for names in (pair[:1], pair[1:], pair)])
            for key in parts[-1]:
                changes.setdefault(key, {name: self._orders(name, both) for name in key[0]})
        shuffled = dict(zip(changes, self._shuffled([*changes.values()]), strict=True))
        distance = self.values - self.values.mean()
        together = [
            self.predicted - shuffled[one] - shuffled[other] + shuffled[two] for one, other, two in parts
        ]
        return [float((each * distance).mean()) for each in together]

    def _orders(self, name: str, having: Any) -> Any:
        """Return orders of the runs in which only those that have a parameter have changed their places."""
        chance = numpy.random.default_rng(list(self.inputs).index(name))
        many = len(self.values)
        shuffles = min(max(_SHUFFLED_ROWS // many, _FEWEST_SHUFFLES), _MOST_SHUFFLES)
        orders = numpy.tile(numpy.arange(many), (shuffles, 1))
        places = numpy.flatnonzero(having[self.places])
        orders[:, places] = chance.permuted(orders[:, places], axis=1)
        return orders

    def _shuffled(self, changes: Sequence[Mapping[str, Any]]) -> Any:
        """Predict with some parameters in other orders, all at once, as each call takes a while."""
        if not changes:
            return []
        tables = []
        for change in changes:
            shape = next(iter(change.values())).shape
            blocks = [
                block[change[name]] if name in change else numpy.broadcast_to(block, (shape[0], *block.shape))
                for name, block in self.inputs.items()
            ]
            tables.append(numpy.concatenate(blocks, axis=2))
        rows = numpy.concatenate(tables)
        return self.model.predict(rows.reshape(-1, rows.shape[2])).reshape(len(changes), *shape)


def _forests(inputs: Mapping[str, Any], values: Any) -> list[_Forest]:
    try:
        from sklearn.ensemble import RandomForestRegressor
        from sklearn.model_selection import KFold
    except ImportError:
        raise ConfigError('--importance: it needs scikit-learn: pip install "dysweep[results]"') from None
    table = numpy.concatenate(list(inputs.values()), axis=1)
    forests = []
    for train, test in KFold(_FOLDS, shuffle=True, random_state=0).split(table):
        model = RandomForestRegressor(_TREES, min_samples_leaf=2, random_state=0)
        model.fit(table[train], values[train])
        left_out = {name: block[test] for name, block in inputs.items()}
        forests.append(_Forest(model, left_out, values[test], model.predict(table[test]), test))
    return forests


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
    # By rank, as a number may be infinite.
    quarters = pandas.qcut(column.rank(), _QUARTILES, labels=False, duplicates="drop")
    ends = column.astype(float).groupby(quarters).agg(["min", "max"])
    texts = _ranges(ends, "{:.4g}")
    texts = texts if texts.is_unique else _ranges(ends, "{!r}")
    cut = pandas.Categorical(quarters.map(texts), categories=texts, ordered=True)
    return replace(trials, frame=trials.frame.assign(**{name: cut}))


def _ranges(ends: Any, form: str) -> Any:
    return ends["min"].map(form.format) + " to " + ends["max"].map(form.format)
