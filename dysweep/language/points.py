"""The points of a sweep that its own directory serves: which there are, and the assignment of each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from dysweep.errors import ConfigError
from dysweep.language.axes import Axis, axis_of_range
from dysweep.language.parameter import Parameter, check_equal_shares
from dysweep.language.shuffle import shuffled
from dysweep.language.space import Space


class Points(Protocol):
    """What there is to serve."""

    @property
    def size(self) -> int:
        """The number of points."""

    def assignment(self, index: int) -> dict[str, Any]:
        """Return the assignment of the point with this index, 0 for the first."""


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
            ConfigError: the method is not grid, or run_cap is not a number.
        """
        method = sweep_configuration.get("method", "grid")
        if method != "grid":
            raise ConfigError(
                f"sweep_configuration.method: {method!r} cannot be served without W&B; use method: grid"
            )
        cap = sweep_configuration.get("run_cap")
        if cap is not None and (type(cap) is not int or cap < 1):
            raise ConfigError(f"sweep_configuration.run_cap: {cap!r} must be at least 1")
        names = tuple(parameter.name for parameter in space.swept)
        seed = sweep_configuration.get("sweep_shuffle")
        return cls(names, tuple(map(_axis, space.swept)), cap, seed)

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


def _axis(parameter: Parameter) -> Axis:
    check_equal_shares(parameter)
    if parameter.values:
        values = tuple(parameter.encode(index) for index in range(len(parameter.values)))
        return Axis(len(values), values)
    return axis_of_range(parameter.node, parameter.path)
