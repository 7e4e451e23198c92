"""Early termination by Hyperband, as W&B's sweeps do it: bands, thresholds, and which run is stopped."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from dysweep.language.metric import Metric

_MOST_BANDS = 100  # as in W&B's package
_LARGEST_BAND = 2**53


@dataclass(frozen=True)
class StoppedEarly:
    """Why a run was stopped early.

    Args:
        band: the last band that the run has reached.
        value: its value that was compared.
        threshold: the worst value that would have let it continue.
        step: W&B's step of the run.
    """

    band: int
    value: float
    threshold: float
    step: int

    @classmethod
    def from_stored(cls, stored: Any) -> StoppedEarly:
        """Read it from an attempt's end.

        Raises:
            KeyError, TypeError, ValueError: it is damaged.
        """
        numbers = [stored[each.name] for each in fields(cls)]
        if not all(isinstance(number, (int, float)) for number in numbers):
            raise ValueError("stopped_early has numbers")
        return cls(*numbers)

    def __str__(self) -> str:
        return f"stopped early at step {self.step} (band {self.band})"


@dataclass(frozen=True)
class Logged:
    """What a run has logged of the metric so far.

    Args:
        count: the number of valid values.
        best: the best of them; None before the first.
        at_bands: the values at the bands.
    """

    count: int = 0
    best: float | None = None
    at_bands: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Hyperband:
    """The rule of `early_terminate`.

    Args:
        metric: what is compared.
        bands: the numbers of values after which a run is compared with the others, ascending.
        eta: one run in eta continues.
        strict: compare the value at the band, instead of the best value so far.
    """

    metric: Metric
    bands: tuple[int, ...]
    eta: float = 3
    strict: bool = True

    @classmethod
    def of(cls, sweep_configuration: Mapping[str, Any]) -> Hyperband | None:
        """Return the rule of a sweep; None if it stops no run early."""
        described, metric = sweep_configuration.get("early_terminate"), Metric.of(sweep_configuration)
        if not described or metric is None:
            return None
        eta = described.get("eta", 3)
        return cls(metric, _bands(described, eta), eta, described.get("strict", True))

    def band_of(self, count: int) -> int | None:
        """Return the last band that a run with this number of values has reached; None before the first."""
        place = bisect_right(self.bands, count)
        return self.bands[place - 1] if place else None

    def add(self, logged: Logged, value: Any) -> Logged:
        """Return what a run has logged with one value more; only finite numbers count."""
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return logged
        if isinstance(value, float) and not math.isfinite(value):
            return logged
        count = logged.count + 1
        is_best = logged.best is None or self._is_worse(logged.best, value)
        at_bands = {**logged.at_bands, count: value} if self.band_of(count) == count else logged.at_bands
        return Logged(count, value if is_best else logged.best, at_bands)

    def threshold(self, values: Iterable[float]) -> float:
        """Return the worst value at a band that lets a run continue.

        Args:
            values: those of all runs that have reached the band; at least one.
        """
        ordered = sorted(values, reverse=self._is_maximized)
        return ordered[int(len(ordered) / self.eta)]

    def judge(self, logged: Logged, others: Iterable[float], step: int) -> StoppedEarly | None:
        """Return why a run is to be stopped; None if it continues.

        Args:
            logged: what the run has logged.
            others: the values of the other runs at the last band that it has reached.
            step: W&B's step of the run.
        """
        band = self.band_of(logged.count)
        if band is None or band not in logged.at_bands or logged.best is None:
            return None
        value = logged.at_bands[band] if self.strict else logged.best
        threshold = self.threshold([logged.at_bands[band], *others])
        return StoppedEarly(band, value, threshold, step) if self._is_worse(value, threshold) else None

    @property
    def _is_maximized(self) -> bool:
        return self.metric.goal == "maximize"

    def _is_worse(self, value: float, other: float) -> bool:
        return value < other if self._is_maximized else value > other


def _bands(described: Mapping[str, Any], eta: float) -> tuple[int, ...]:
    """Return the bands; of the two ways to write them, max_iter with s wins."""
    downwards = {"max_iter", "s"} <= described.keys()
    band: float = min(described["max_iter" if downwards else "min_iter"], _LARGEST_BAND)
    found = set()
    for _ in range(min(int(described["s"]), _MOST_BANDS) if downwards else _MOST_BANDS):
        if downwards:
            band /= eta
        if not 1 <= band <= _LARGEST_BAND:
            break
        found.add(int(band))
        if not downwards:
            band *= eta
    return tuple(sorted(found))
