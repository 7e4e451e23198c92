"""What people read for a value in W&B: its alias, itself, or a label made of its content."""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

from dysweep.errors import LanguageError

_MADE_LENGTH = 48
_LARGEST_EXACT = 2**53  # JSON's readers may keep numbers in 64-bit floats


def alias_labels(aliases: Any, count: int | None, where: str) -> tuple[str, ...]:
    """Check the aliases of a sweep node, and return them as texts.

    Args:
        aliases: what is in `sweep_alias`.
        count: how many values the node has; None if it has no list of values.
        where: the node's path, for messages.

    Raises:
        LanguageError: they are not one short text for each value.
    """
    where += ".sweep_alias"
    if count is None:
        raise LanguageError(where, "sweep_alias needs `values` beside it, one alias for each")
    if not isinstance(aliases, list):
        raise LanguageError(
            where, f"sweep_alias should be a list, one alias for each value, this is {aliases!r}"
        )
    if len(aliases) != count:
        raise LanguageError(
            where, f"sweep_alias and values differ in length: {len(aliases)} aliases, {count} values"
        )
    labels: dict[str, None] = {}
    for index, alias in enumerate(aliases):
        if isinstance(alias, (dict, list)):
            raise LanguageError(f"{where}[{index}]", "an alias is a short text")
        label = scalar_text(alias)
        if label in labels:
            raise LanguageError(f"{where}[{index}]", f"the alias {label!r} is used twice in this parameter")
        labels[label] = None
    return tuple(labels)


def made_labels(values: list[Any]) -> tuple[str | None, ...]:
    """Build a label for each value that is not a scalar or that JSON may lose: readable, short, unique."""
    needs_label = [isinstance(value, (dict, list)) or not _is_kept_by_json(value) for value in values]
    texts = [made_label(value) for value, is_needed in zip(values, needs_label, strict=True) if is_needed]
    labels = iter(numbered(texts, {value for value in values if isinstance(value, str)}))
    return tuple(next(labels) if is_needed else None for is_needed in needs_label)


def made_label(value: Any) -> str:
    """Build a short label of a value's content."""
    label = (flow(value)[1:-1] if isinstance(value, dict) else flow(value)) or "{}"
    if len(label) > _MADE_LENGTH:
        digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:6]
        label = f"{label[: _MADE_LENGTH - 8]}..{digest}"
    return label


def _is_kept_by_json(value: Any) -> bool:
    """Return whether a scalar comes back from W&B as it was sent."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) <= _LARGEST_EXACT


def unless_taken(text: str, taken: Collection[str]) -> str:
    """Return a text, or if it is taken the first of `text (2)`, `text (3)` that is not."""
    if text not in taken:
        return text
    number = 2
    while f"{text} ({number})" in taken:
        number += 1
    return f"{text} ({number})"


def numbered(texts: Iterable[str], taken: Collection[str]) -> list[str]:
    """Return texts so that each is unlike those before it and those taken; see `unless_taken`."""
    used, numbers, found = set(taken), Counter[str](), []
    for text in texts:
        new = text
        while new in used:
            numbers[text] += 1
            new = f"{text} ({numbers[text] + 1})"
        used.add(new)
        found.append(new)
    return found


def flow(value: Any) -> str:
    """Write a tree in one line, as YAML's flow style without quotes."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar_text(value)


def scalar_text(value: Any) -> str:
    """Write a scalar as YAML has it: text as it is, true, null, 0.001; and nan, inf, -inf."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str) else json.dumps(value, default=str)


def lookup_key(value: Any) -> Any:
    """Return a key under which 1 and 1.0 are the same, and True and 1 are not; None for a tree."""
    if isinstance(value, str):
        return ("text", value)
    if isinstance(value, (bool, int, float)) or value is None:
        return (isinstance(value, bool), value)
    return None
