"""The points of a sweep that its own directory serves: which there are, and the assignment of each.

Those of bayes depend on what the runs before have given: `dysweep.agents.suggestions`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from dysweep.errors import ConfigError
from dysweep.language.axes import Axis, axis_of_range
from dysweep.language.combinations import Combinations, choose, repeats_of
from dysweep.language.distributions import position, quantile
from dysweep.language.parameter import Parameter, check_equal_shares
from dysweep.language.shuffle import shuffled
from dysweep.language.space import Space


class Points(Protocol):
    """What there is to serve."""

    @property
    def size(self) -> int | None:
        """The number of points; None if they are endless."""

    def assignment(self, index: int) -> dict[str, Any]:
        """Return the assignment of the point with this index, 0 for the first."""


def points_of(space: Space, sweep_configuration: Mapping[str, Any], sweep_id: str | None) -> Points | None:
    """Return the points of a sweep; None if they are not known before its runs are.

    Args:
        space: the sweep's space.
        sweep_configuration: its W&B sweep configuration.
        sweep_id: its id, which seeds what is drawn if `sweep_seed` does not; None if it has none yet.

    Raises:
        LanguageError: a parameter of a grid has infinitely many values.
        ConfigError: run_cap is not a number.
    """
    method = sweep_configuration.get("method", "grid")
    if method == "grid":
        return Grid.of(space, sweep_configuration)
    seed = sweep_configuration.get("sweep_seed", sweep_id)
    return (
        Draws(space, seed, cap_of(sweep_configuration)) if method == "random" and seed is not None else None
    )


def size_of(space: Space, sweep_configuration: Mapping[str, Any], mode: str) -> int | None:
    """Return how many runs a sweep has at most; None if nobody knows, or if they are endless.

    Args:
        space: the sweep's space.
        sweep_configuration: its W&B sweep configuration.
        mode: who serves it, online or offline.

    Raises:
        LanguageError: a parameter of a grid has infinitely many values.
        ConfigError: run_cap is not a number.
    """
    method = sweep_configuration.get("method", "grid")
    if method == "grid":
        return Grid.of(space, sweep_configuration).size
    cap = cap_of(sweep_configuration) if mode == "offline" else None
    whole = Combinations(space).runs if mode == "offline" and method == "bayes" else None
    return cap if whole is None else whole if cap is None else min(cap, whole)


def cap_of(sweep_configuration: Mapping[str, Any]) -> int | None:
    """Return how many runs a sweep may have; None if that is not limited.

    Raises:
        ConfigError: it is not a number.
    """
    cap = sweep_configuration.get("run_cap")
    if cap is not None and (type(cap) is not int or cap < 1):
        raise ConfigError(f"sweep_configuration.run_cap: {cap!r} must be at least 1")
    return cap


@dataclass(frozen=True)
class Grid:
    """All combinations of the parameters' values, the last changing fastest; nothing is ever enumerated.

    Args:
        names: the parameters' names.
        axes: the values that W&B would get, one sequence for each parameter.
        cap: `run_cap`, how many points at most.
        seed: `sweep_shuffle`, gives the points another order.
    """

    names: tuple[str, ...]
    axes: tuple[Axis, ...]
    cap: int | None = None
    seed: int | None = None

    @classmethod
    def of(cls, space: Space, sweep_configuration: Mapping[str, Any]) -> Grid:
        """Build the grid of a sweep.

        Raises:
            LanguageError: a parameter has infinitely many values.
            ConfigError: run_cap is not a number.
        """
        names = tuple(parameter.name for parameter in space.swept)
        seed = sweep_configuration.get("sweep_shuffle")
        return cls(names, tuple(map(_axis, space.swept)), cap_of(sweep_configuration), seed)

    @property
    def size(self) -> int:
        """The number of points."""
        return self._whole if self.cap is None else min(self._whole, self.cap)

    @property
    def _whole(self) -> int:
        return math.prod(axis.size for axis in self.axes)

    def assignment(self, index: int) -> dict[str, Any]:
        """Return the point with this index, 0 for the first."""
        if self.seed is not None:
            index = shuffled(self._whole, self.seed, index)
        chosen = []
        for axis in reversed(self.axes):
            index, position = divmod(index, axis.size)
            chosen.append(axis.value(position))
        return dict(zip(self.names, reversed(chosen), strict=True))


@dataclass(frozen=True)
class Draws:
    """Points drawn at random: each can be computed for itself, and each parameter's value for itself.

    Args:
        space: the sweep's space.
        seed: what is drawn is always the same for the same seed.
        cap: `run_cap`, how many points; None for endless ones.
    """

    space: Space
    seed: int | str
    cap: int | None = None

    @property
    def size(self) -> int | None:
        """The number of points; None if they are endless."""
        return self.cap

    def assignment(self, index: int) -> dict[str, Any]:
        """Return the point with this index, 0 for the first; it has the parameters of its branches alone."""
        repeats = repeats_of(self.space)
        number, repeat = divmod(index, repeats.size if repeats else 1)
        point = choose(self.space, lambda parameter: draw(parameter, self.seed, number))
        return {**point, repeats.name: repeats.encode(repeat)} if repeats else point


def draw(parameter: Parameter, seed: int | str, number: int) -> Any:
    """Return what W&B would get for the value that a parameter has in a draw.

    Args:
        parameter: the parameter.
        seed: another one gives other values.
        number: of the draw.
    """
    digest = hashlib.sha256(f"{seed}/{number}/{parameter.name}".encode()).digest()
    share = ((int.from_bytes(digest[:8], "big") >> 11) + 0.5) / 2**53  # never 0 or 1
    if parameter.values:
        return parameter.encode(position(parameter.node, share))
    return quantile(parameter.node, share)


def _axis(parameter: Parameter) -> Axis:
    check_equal_shares(parameter)
    if parameter.values:
        values = tuple(parameter.encode(index) for index in range(len(parameter.values)))
        return Axis(len(values), values)
    return axis_of_range(parameter.node, parameter.path)
