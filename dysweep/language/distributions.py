"""W&B's distributions without W&B: which one a description means, and the value at each share of its draws.

The formulas are those of `sweeps`, the package by which W&B draws (https://github.com/wandb/sweeps).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate
from statistics import NormalDist
from typing import Any

_STANDARD_NORMAL = NormalDist()
_MOST_STEPS = 300
_TINY = 1e-300


def distribution_of(node: Mapping[str, Any]) -> Any:
    """Return the distribution that a description names, or the one that W&B takes where none is named."""
    if "distribution" in node:
        return node["distribution"]
    if "values" in node:
        return "categorical_w_probabilities" if "probabilities" in node else "categorical"
    if "value" in node:
        return "constant"
    return "int_uniform" if all(type(node.get(key, 0)) is int for key in ("min", "max")) else "uniform"


def position(node: Mapping[str, Any], share: float) -> int:
    """Return which of the declared values is drawn, 0 for the first.

    Args:
        node: W&B's description of a parameter with values.
        share: a number between 0 and 1, which a uniform generator has drawn.
    """
    count = len(node.get("values", [None]))
    probabilities = node.get("probabilities")
    if probabilities is None:
        return min(count, math.ceil(share * count)) - 1
    last = max(place for place, each in enumerate(probabilities) if each > 0)
    return min(last, bisect_right([*accumulate(probabilities)], share))


def quantile(node: Mapping[str, Any], share: float) -> float:
    """Return the number below which a share of the draws lies.

    Args:
        node: W&B's description of a parameter without values.
        share: between 0 and 1.
    """
    kind = str(distribution_of(node))
    if kind == "int_uniform":
        count = node["max"] - node["min"] + 1
        return int(node["min"] + min(count, math.ceil(share * count)) - 1)
    drawn = _unrounded(kind, node, share)
    return rounded(drawn, node.get("q", 1.0)) if kind.startswith("q_") else drawn


def share_below(node: Mapping[str, Any], value: float) -> float:
    """Return the share of the draws below a value: the inverse of `quantile`, but for its rounding."""
    kind = str(distribution_of(node)).removeprefix("q_")
    if kind == "beta":
        return _beta_share(node.get("a", 1), node.get("b", 1), value)
    if kind.endswith("normal"):
        if kind == "log_normal":
            value = math.log(max(value, _TINY))
        return _normal(node).cdf(value)
    low, high = _ends(kind, node)
    if kind not in ("uniform", "int_uniform"):
        value = math.log(max(value, _TINY))
    return min(1.0, max(0.0, (value - low) / (high - low))) if high > low else 0.5


def multiples(node: Mapping[str, Any]) -> range | None:
    """Return which multiples of q, of 1 for whole numbers, are drawn; None if they are infinitely many."""
    kind = str(distribution_of(node))
    if kind == "int_uniform":
        return range(node["min"], node["max"] + 1)
    if not kind.startswith("q_") or kind.endswith("normal"):
        return None
    step = node.get("q", 1.0)
    low, high = (round(_unrounded(kind, node, end) / step) for end in (0.0, 1.0))
    return range(low, high + 1)


def multiple(node: Mapping[str, Any], number: int) -> float:
    """Return the value that is so many times q."""
    return number if distribution_of(node) == "int_uniform" else _times(number, node.get("q", 1.0))


def rounded(value: float, step: float) -> float:
    """Return the nearest multiple of a step, halves to even; of a whole step it is a whole number."""
    return _times(round(value / step), step)


def _times(number: int, step: float) -> float:
    return number * step if type(step) is int else float(f"{number * step:.12g}")


def _unrounded(kind: str, node: Mapping[str, Any], share: float) -> float:
    kind = kind.removeprefix("q_")
    if kind == "beta":
        return _beta_quantile(node.get("a", 1), node.get("b", 1), share)
    if kind == "normal":
        return _normal(node).inv_cdf(share)
    if kind == "log_normal":
        return math.exp(_normal(node).inv_cdf(share))
    low, high = _ends(kind, node)
    drawn = low + share * (high - low)
    if kind == "uniform":
        return drawn
    value = math.exp(drawn)
    return min(max(value, node["min"]), node["max"]) if kind.endswith("_values") else value


def _ends(kind: str, node: Mapping[str, Any]) -> tuple[float, float]:
    """Return the smallest and the largest value; of log-uniform distributions their logarithms."""
    low, high = node["min"], node["max"]
    if kind.endswith("_values"):
        return math.log(low), math.log(high)
    return (-high, -low) if kind.startswith("inv_") else (low, high)


def _normal(node: Mapping[str, Any]) -> NormalDist:
    return NormalDist(node.get("mu", 0), node.get("sigma", 1))


def _beta_quantile(a: float, b: float, share: float) -> float:
    """Return the quantile of the beta distribution, by bisection; as a float is, it is most exact at 0."""
    if share > 0.5 and _beta_share(a, b, 0.5) < share:
        return 1 - _beta_quantile(b, a, 1 - share)
    low, high = 0.0, 1.0
    for _ in range(_MOST_STEPS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if _beta_share(a, b, middle) < share:
            low = middle
        else:
            high = middle
    return high


def _beta_share(a: float, b: float, x: float) -> float:
    """Return the regularized incomplete beta function, by its continued fraction.

    Source: NIST Digital Library of Mathematical Functions, 8.17.22, evaluated from front to back (Lentz).
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast below that
        return 1 - _beta_share(b, a, 1 - x)
    factor = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    )
    numerator, denominator, fraction = 1.0, 0.0, 1.0
    for step in range(_MOST_STEPS):
        m = step // 2
        if step == 0:
            term = 1.0
        elif step % 2 == 0:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        else:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        denominator = 1 / _not_zero(1 + term * denominator)
        numerator = _not_zero(1 + term / numerator)
        fraction *= numerator * denominator
        if abs(numerator * denominator - 1) < 1e-16:
            break
    return factor / a * (fraction - 1)


def _not_zero(number: float) -> float:
    return number if abs(number) > _TINY else _TINY
