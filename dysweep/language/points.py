"""The points of a sweep that its own directory serves: which there are, and the assignment of each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from dysweep.errors import ConfigError, LanguageError
from dysweep.language.parameter import Parameter
from dysweep.language.space import Space
from dysweep.language.tree import format_path


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
    """

    names: tuple[str, ...]
    axes: tuple[Axis, ...]
    cap: int | None = None

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
        return cls(tuple(p.name for p in space.swept), tuple(map(_axis, space.swept)), cap)

    @property
    def size(self) -> int:
        """The number of points."""
        size = math.prod(axis.size for axis in self.axes)
        return size if self.cap is None else min(size, self.cap)

    def assignment(self, index: int) -> dict[str, Any]:
        """Return the point with this index, 0 for the first."""
        chosen = []
        for axis in reversed(self.axes):
            index, position = divmod(index, axis.size)
            chosen.append(axis.value(position))
        return dict(zip(self.names, reversed(chosen), strict=True))


@dataclass(frozen=True)
class Axis:
    """The values of one parameter: declared ones, or `start + position * step`."""

    size: int
    declared: tuple[Any, ...] = ()
    start: float = 0
    step: float = 1

    def value(self, position: int) -> Any:
        """Return the value at this position."""
        if self.declared:
            return self.declared[position]
        value = self.start + position * self.step
        return float(f"{value:.12g}") if isinstance(value, float) else value


def _axis(parameter: Parameter) -> Axis:
    if "probabilities" in parameter.node:
        raise LanguageError(
            f"{format_path(parameter.path)}.probabilities",
            "a grid takes every value once; leave them out, or choose method: random",
        )
    if parameter.values:
        values = tuple(parameter.encode(index) for index in range(len(parameter.values)))
        return Axis(len(values), values)
    node = parameter.node
    low: Any = node.get("min")
    high: Any = node.get("max")
    step: Any = node.get("q", 1)
    kind = node.get("distribution", "int_uniform" if type(low) is int and type(high) is int else "uniform")
    finite = (
        kind in ("int_uniform", "q_uniform")
        and all(isinstance(n, (int, float)) and math.isfinite(n) for n in (low, high, step))
        and step > 0
        and low <= high
    )
    if not finite:
        raise LanguageError(
            format_path(parameter.path),
            f"a grid needs finitely many values, and {kind!r} has not; "
            "give `values`, or whole numbers as min and max",
        )
    step = 1 if kind == "int_uniform" else step
    whole = all(type(n) is int for n in (low, high, step))
    steps = (high - low) // step if whole else math.floor((high - low) / step + 1e-9)
    return Axis(int(steps) + 1, (), low, step)
