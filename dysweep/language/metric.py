"""The metric of a sweep: under which name its runs have logged it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from dysweep.text import short_value

_AGGREGATES = {
    "minimize": ("min", "best", "last", "mean", "max", "first", "sum"),
    "maximize": ("max", "best", "last", "mean", "min", "first", "sum"),
}


class Measured(Protocol):
    """A run with its state and its final metrics."""

    @property
    def state(self) -> str: ...

    @property
    def metrics(self) -> Mapping[str, float]: ...


R = TypeVar("R", bound=Measured)


@dataclass(frozen=True)
class Metric:
    """What a sweep is to optimize.

    Args:
        name: the metric's name.
        goal: minimize or maximize.
        target: no new run is started once one has reached it; None for no such value.
    """

    name: str
    goal: str = "minimize"
    target: float | None = None

    @classmethod
    def of(cls, sweep_configuration: Mapping[str, Any]) -> Metric | None:
        """Return the metric that a sweep declares; None if it declares none."""
        declared = sweep_configuration.get("metric")
        name = declared.get("name") if isinstance(declared, dict) else None
        if not name or not declared:
            return None
        return cls(str(name), str(declared.get("goal") or "minimize"), declared.get("target"))

    def value_of(self, state: str, logged: Mapping[str, float]) -> float | None:
        """Return the value of a run: None if it has failed, or has logged no number.

        Args:
            state: the run's state.
            logged: its final metrics.
        """
        name = self.logged_as(logged)
        if state not in ("finished", "killed") or name is None or not math.isfinite(logged[name]):
            return None
        return logged[name]

    def is_reached(self, value: float | None) -> bool:
        """Return whether a run with this value has reached the target."""
        if self.target is None or value is None:
            return False
        return value >= self.target if self.goal == "maximize" else value <= self.target

    def logged_as(self, logged: Collection[str]) -> str | None:
        """Return the name under which it was logged: its own, or what fits the goal of its aggregates.

        `define_metric("acc", summary="min,max")` keeps `acc.min` and `acc.max`.
        """
        aggregates = _AGGREGATES.get(self.goal, _AGGREGATES["minimize"])
        names = (self.name, *(f"{self.name}.{each}" for each in aggregates))
        return next((name for name in names if name in logged), None)

    def shown(self, logged: Mapping[str, float]) -> str:
        """Write its value for people: `accuracy 0.9811`; nothing if it was not logged."""
        name = self.logged_as(logged)
        return "" if name is None else f"{short_value(name)} {short_value(logged[name])}"

    def meant(self, logged: Collection[str]) -> str | None:
        """Return the logged name that is most like the metric's; None if none is like it."""
        word = self.name.lower()
        holding = [name for name in logged if word in name.lower() or name.lower() in word]
        return min(holding, key=len, default=None) or next(
            iter(difflib.get_close_matches(self.name, logged, n=1)), None
        )


def best_of(runs: Iterable[R], metric: Metric) -> R | None:
    """Return the run with the best value of a metric, of equal ones the first; None if no run has a value."""
    sign = -1 if metric.goal == "maximize" else 1
    values = [
        (sign * value, run) for run in runs if (value := metric.value_of(run.state, run.metrics)) is not None
    ]
    return min(values, key=lambda each: each[0], default=(0, None))[1]
