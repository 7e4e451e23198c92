"""The next point of a sweep that searches: what Optuna's samplers suggest after the runs there are.

A study is made anew for every suggestion, from the sweep's own records. So there is no second truth beside
them, a killed agent leaves nothing behind, and the same records give the same suggestion.
"""

from __future__ import annotations

import hashlib
import json
import math
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from dysweep.errors import ConfigError
from dysweep.language.combinations import Combinations, choose
from dysweep.language.distributions import distribution_of, multiple, multiples, quantile, share_below
from dysweep.language.parameter import Parameter
from dysweep.language.points import draw
from dysweep.language.shuffle import shuffled
from dysweep.language.space import Space

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler
    from optuna.trial import Trial as OptunaTrial

_MOST_OF_GP = 300  # finished trials; its time grows with their third power
_MOST_POSITIONS = 2**53  # Optuna computes with floats
_SMALLEST_SHARE = 2.0**-53


@dataclass(frozen=True)
class Trial:
    """A point that a sweep has chosen.

    Args:
        assignment: the point.
        is_over: whether it was tried.
        value: what it gave; None as long as it is being tried, and if it has failed.
    """

    assignment: dict[str, Any]
    is_over: bool
    value: float | None


def check_installed() -> None:
    """Check that Optuna is there.

    Raises:
        ConfigError: it is not.
    """
    if find_spec("optuna") is None:
        raise ConfigError(
            "sweep_configuration.method: bayes without W&B needs Optuna: pip install 'dysweep[search]'"
        )


def suggest(space: Space, trials: Iterable[Trial], goal: str, seed: int | str) -> dict[str, Any] | None:
    """Suggest the next point, with the parameters of its branches alone.

    A point that has failed counts as the worst of all.

    Args:
        space: the sweep's space.
        trials: the points there are, in the order in which they were chosen.
        goal: minimize or maximize.
        seed: another one gives another suggestion.

    Returns:
        what W&B would get for each value; None if every point there is was chosen.
    """
    known = list(trials)
    taken = {_written(trial.assignment) for trial in known}
    point = _ask(space, known, goal, seed)
    return point if _written(point) not in taken else _free_point(space, taken, seed)


def _written(point: dict[str, Any]) -> str:
    return json.dumps(point, sort_keys=True)


def _free_point(space: Space, taken: set[str], seed: int | str) -> dict[str, Any] | None:
    """Return a point that was not chosen, in a random order that every agent goes through."""
    combinations = Combinations(space)
    described = {parameter.name: parameter for parameter in space.flat}
    for place in range(combinations.size):
        point = combinations.point(shuffled(combinations.size, 0, place))
        for name in [name for name, value in point.items() if value is None and not described[name].values]:
            point[name] = draw(described[name], seed, 0)
        if _written(point) not in taken:
            return point
    return None


def _ask(space: Space, trials: list[Trial], goal: str, seed: int | str) -> dict[str, Any]:
    import optuna
    from optuna.trial import TrialState, create_trial

    dimensions = {each.name: _Dimension(each) for each in space.flat if not each.is_repeat}
    values = [trial.value for trial in trials if trial.value is not None]
    worst = (min if goal == "maximize" else max)(values, default=None)
    told = []
    for trial in trials:
        value = trial.value if trial.value is not None else worst if trial.is_over else None
        if trial.is_over and value is None:
            continue
        points = {
            name: dimensions[name].told(sent) for name, sent in trial.assignment.items() if name in dimensions
        }
        params = {name: point for name, point in points.items() if point is not None}
        told.append(
            create_trial(
                state=TrialState.RUNNING if value is None else TrialState.COMPLETE,
                value=value,
                params=params,
                distributions={name: dimensions[name].distribution for name in params},
            )
        )
    number = int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:4], "big")
    with _quiet(), _one_thread():
        study = optuna.create_study(
            direction="maximize" if goal == "maximize" else "minimize",
            sampler=_sampler(space, len(values), number),
        )
        study.add_trials(told)
        asked = study.ask()
        return choose(space, lambda parameter: dimensions[parameter.name].asked(asked))


def _sampler(space: Space, finished: int, seed: int) -> BaseSampler:
    import optuna

    is_conditional = any(parameter.within is not None for parameter in space.flat)
    if _has_gp() and not is_conditional and finished <= _MOST_OF_GP:
        return optuna.samplers.GPSampler(seed=seed)
    # Named, since they are the defaults of Optuna 5 alone.
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)


def _has_gp() -> bool:
    return find_spec("torch") is not None and find_spec("scipy") is not None


@contextmanager
def _quiet() -> Iterator[None]:
    """Leave out what Optuna says of each study, and that some of its arguments are experimental."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch compute with one thread: agents share their machine, and more are slower then."""
    if not _has_gp():
        yield
        return
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class _Dimension:
    """A parameter as Optuna has it: positions of values, and shares of what is drawn below a number.

    A uniform distribution of shares is the parameter's own distribution, whichever that is.
    """

    parameter: Parameter

    @cached_property
    def _positions(self) -> range | None:
        if self.parameter.values:
            return range(len(self.parameter.values))
        if distribution_of(self.parameter.node) not in ("int_uniform", "q_uniform"):
            return None
        numbers = multiples(self.parameter.node)
        return numbers if numbers is not None and len(numbers) <= _MOST_POSITIONS else None

    @cached_property
    def distribution(self) -> BaseDistribution:
        """Optuna's distribution."""
        from optuna import distributions

        if self._positions is None:
            return distributions.FloatDistribution(0, 1)
        if self.parameter.values:
            return distributions.CategoricalDistribution(tuple(self._positions))
        return distributions.IntDistribution(0, len(self._positions) - 1)

    def told(self, sent: Any) -> float | None:
        """Return what Optuna gets for a value; None for one that the space does not have."""
        if self.parameter.values:
            return self.parameter.index_of(sent)
        if type(sent) not in (int, float) or not math.isfinite(sent):
            return None
        if self._positions is None:
            return min(1.0, max(0.0, share_below(self.parameter.node, sent)))
        number = round(sent / self.parameter.node.get("q", 1))
        return self._positions.index(number) if number in self._positions else None

    def asked(self, trial: OptunaTrial) -> Any:
        """Return what W&B would get for what Optuna suggests."""
        name, node, positions = self.parameter.name, self.parameter.node, self._positions
        if positions is None:
            share = trial.suggest_float(name, 0, 1)
            return quantile(node, min(1 - _SMALLEST_SHARE, max(_SMALLEST_SHARE, share)))
        if self.parameter.values:
            return self.parameter.encode(trial.suggest_categorical(name, tuple(positions)))
        return multiple(node, positions[trial.suggest_int(name, 0, len(positions) - 1)])
