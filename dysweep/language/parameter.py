"""One swept parameter: what W&B gets for its values, and what it stands for."""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dysweep.errors import LanguageError, closest
from dysweep.language.tree import TreePath, copy_tree, format_key, format_path
from dysweep.language.upsert import Placed

logger = logging.getLogger("dysweep")

WANDB_WORDS = frozenset(
    ["value", "values", "distribution", "min", "max", "mu", "sigma", "q", "probabilities"]
)
OWN_WORDS = frozenset(["sweep", "sweep_alias", "sweep_identifier"])
_MADE_LABEL_LENGTH = 48
_LARGEST_EXACT = 2**53  # JSON's readers may keep numbers in 64-bit floats


@dataclass(frozen=True)
class Parameter:
    """One swept parameter.

    Args:
        name: what W&B calls it.
        path: where its sweep node is below `parameters`.
        node: W&B's description of it, with the values as written in the YAML.
        labels: for every value the text that W&B gets for it, or None where it gets the value itself.
    """

    name: str
    path: TreePath
    node: dict[str, Any]
    labels: tuple[str | None, ...]

    @property
    def values(self) -> list[Any]:
        """The declared values; empty for a distribution."""
        return (
            self.node["values"]
            if "values" in self.node
            else [self.node["value"]]
            if "value" in self.node
            else []
        )

    def encode(self, index: int) -> Any:
        """Return what W&B gets for the value with this index."""
        label = self.labels[index]
        return self.values[index] if label is None else label

    def decode(self, sent: Any) -> Placed:
        """Turn what W&B chose back into the declared value, with its place in the YAML.

        Args:
            sent: an alias, or a raw value, perhaps with another type of number than was declared.

        Returns:
            the declared value; a value that was not declared is taken as it is.
        """
        index = self._indices.get(_lookup_key(sent))
        if index is None and self._has_labels_only and not isinstance(sent, (dict, list)):
            index = self._indices.get(("text", _scalar_text(sent)))
        if index is None:
            return Placed(sent, self.path)
        place: TreePath = ("values", index) if "values" in self.node else ("value",)
        return Placed(self.values[index], (*self.path, *place))

    def to_wandb(self) -> dict[str, Any]:
        """Return the parameter as a W&B sweep configuration wants it."""
        described = copy_tree(self.node, self.path)
        sent = [self.encode(index) for index in range(len(self.values))]
        if "values" in described:
            described["values"] = sent
        elif "value" in described:
            described["value"] = sent[0]
        return described  # type: ignore[no-any-return]

    @property
    def same_values(self) -> list[str]:
        """The first values that W&B cannot tell apart, as 1 and 1.0, as they are written."""
        places: dict[Any, list[int]] = {}
        for index in range(len(self.values)):
            places.setdefault(_lookup_key(self.encode(index)), []).append(index)
        same = next((found for found in places.values() if len(found) > 1), [])
        return [_flow(self.values[index]) for index in same]

    @cached_property
    def _has_labels_only(self) -> bool:
        return bool(self.labels) and None not in self.labels

    @cached_property
    def _indices(self) -> dict[Any, int]:
        indices: dict[Any, int] = {}
        for index in range(len(self.values)):
            indices.setdefault(_lookup_key(self.encode(index)), index)
        return indices


def numbered(text: str, taken: set[str]) -> str:
    number = 2
    while f"{text} ({number})" in taken:
        number += 1
    return f"{text} ({number})"


def wandb_part(node: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key not in OWN_WORDS}


def make_parameter(name: str, path: TreePath, node: dict[str, Any]) -> Parameter:
    described = wandb_part(node)
    where = format_path(path)
    if not described:
        raise LanguageError(where, "a sweep node needs `values`, or `min` and `max`, or a `distribution`")
    words = sorted(WANDB_WORDS | OWN_WORDS)
    for key in described:
        if key not in WANDB_WORDS and difflib.get_close_matches(key, words, n=1):
            raise LanguageError(
                format_key(where, str(key)), f"unknown key of a sweep node{closest(key, words)}"
            )
    if isinstance(described.get("value"), list):
        logger.warning("%s.value: one value that is a list; to choose from it, write `values`", where)
    values = described.get("values", [described["value"]] if "value" in described else [])
    if not isinstance(values, list):
        raise LanguageError(f"{where}.values", f"a list is needed, as `[{json.dumps(values)}]`")
    if "values" in described and not values:
        raise LanguageError(f"{where}.values", "an empty list; give at least one value")
    probabilities = described.get("probabilities")
    if isinstance(probabilities, list) and len(probabilities) != len(values):
        raise LanguageError(
            f"{where}.probabilities",
            f"{len(probabilities)} probabilities for {len(values)} values; give one for each",
        )
    aliases = node.get("sweep_alias")
    return Parameter(
        name,
        path,
        described,
        _made_labels(values) if aliases is None else _alias_labels(aliases, node, where),
    )


def _alias_labels(aliases: Any, node: dict[str, Any], where: str) -> tuple[str, ...]:
    where += ".sweep_alias"
    if "values" not in node:
        raise LanguageError(where, "sweep_alias needs `values` beside it, one alias for each")
    if not isinstance(aliases, list):
        raise LanguageError(
            where, f"sweep_alias should be a list, one alias for each value, this is {aliases!r}"
        )
    if len(aliases) != len(node["values"]):
        raise LanguageError(
            where,
            f"sweep_alias and values differ in length: {len(aliases)} aliases, {len(node['values'])} values",
        )
    labels: dict[str, None] = {}
    for index, alias in enumerate(aliases):
        if isinstance(alias, (dict, list)):
            raise LanguageError(f"{where}[{index}]", "an alias is a short text")
        label = _scalar_text(alias)
        if label in labels:
            raise LanguageError(f"{where}[{index}]", f"the alias {label!r} is used twice in this parameter")
        labels[label] = None
    return tuple(labels)


def _made_labels(values: list[Any]) -> tuple[str | None, ...]:
    """Build a label for each value that is not a scalar or that JSON may lose: readable, short, unique."""
    labels: list[str | None] = []
    taken = {value for value in values if isinstance(value, str)}
    for value in values:
        if not isinstance(value, (dict, list)) and _is_kept_by_json(value):
            labels.append(None)
            continue
        label = (_flow(value)[1:-1] if isinstance(value, dict) else _flow(value)) or "{}"
        if len(label) > _MADE_LABEL_LENGTH:
            digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:6]
            label = f"{label[: _MADE_LABEL_LENGTH - 8]}..{digest}"
        if label in taken:
            label = numbered(label, taken)
        taken.add(label)
        labels.append(label)
    return tuple(labels)


def _is_kept_by_json(value: Any) -> bool:
    """Return whether a scalar comes back from W&B as it was sent."""
    if isinstance(value, float):
        return math.isfinite(value)
    return not isinstance(value, int) or abs(value) <= _LARGEST_EXACT


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _scalar_text(value)


def _scalar_text(value: Any) -> str:
    """Write a scalar as YAML has it: text as it is, true, null, 0.001; and nan, inf, -inf."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _lookup_key(value: Any) -> Any:
    """Return a key under which 1 and 1.0 are the same, and True and 1 are not."""
    if isinstance(value, str):
        return ("text", value)
    if isinstance(value, (bool, int, float)) or value is None:
        return (isinstance(value, bool), value)
    return None
