"""The values of one parameter of a grid, one after the other: declared ones, or those of a range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dysweep.errors import LanguageError
from dysweep.language.distributions import distribution_of
from dysweep.language.tree import TreePath, format_path


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


def axis_of_range(node: Mapping[str, Any], path: TreePath) -> Axis:
    """Return the values of a range of whole numbers, or in steps of q.

    Args:
        node: the sweep node.
        path: where it is in the YAML, for messages.

    Raises:
        LanguageError: they are infinitely many.
    """
    low: Any = node.get("min")
    high: Any = node.get("max")
    step: Any = node.get("q", 1)
    kind = distribution_of(node)
    finite = (
        kind in ("int_uniform", "q_uniform")
        and all(isinstance(n, (int, float)) and math.isfinite(n) for n in (low, high, step))
        and step > 0
        and low <= high
    )
    if not finite:
        raise LanguageError(
            format_path(path),
            f"a grid needs finitely many values, and {kind!r} has not; "
            "give `values`, or whole numbers as min and max, or choose method: random",
        )
    step = 1 if kind == "int_uniform" else step
    whole = all(type(n) is int for n in (low, high, step))
    steps = (high - low) // step if whole else math.floor((high - low) / step + 1e-9)
    return Axis(int(steps) + 1, (), low, step)
