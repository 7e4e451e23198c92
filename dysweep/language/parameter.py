"""One swept parameter: what W&B gets for its values, and what it stands for."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dysweep.errors import LanguageError, closest
from dysweep.language.axes import axis_of_range
from dysweep.language.labels import alias_labels, flow, lookup_key, made_labels, scalar_text
from dysweep.language.nodes import OWN_WORDS, WANDB_WORDS, Node
from dysweep.language.tree import TreePath, copy_tree, format_key, format_path

MOST_ALTERNATIVES = 10_000


@dataclass(frozen=True)
class Parameter:
    """One swept parameter.

    Args:
        name: what W&B calls it.
        path: where its sweep node is below `parameters`; of several, the first.
        node: W&B's description of it, with the values as written in the YAML.
        labels: for every value the text that W&B gets for it, or None where it gets the value itself.
        zipped: the other sweep nodes that advance with it (`sweep_zip`).
        within: the parameter that it depends on, by its place in `Space.flat`, and with which of its values
            it is swept; None if it always is.
        is_repeat: whether its values repeat the points (`sweep_repeats`).
        in_full: whether W&B gets the values of its range one by one.
        picks: where W&B gets one parameter for several: for each value, the places of those in `Space.flat`
            that it sets, with the place of the value.
    """

    name: str
    path: TreePath
    node: dict[str, Any]
    labels: tuple[str | None, ...]
    zipped: tuple[TreePath, ...] = ()
    within: tuple[int, int] | None = None
    is_repeat: bool = False
    in_full: bool = False
    picks: tuple[Mapping[int, int], ...] = ()

    @property
    def paths(self) -> tuple[TreePath, ...]:
        """Where its sweep nodes are."""
        return (self.path, *self.zipped)

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

    @cached_property
    def size(self) -> int:
        """The number of its values.

        Raises:
            LanguageError: they are infinitely many.
        """
        return len(self.values) if self.values else axis_of_range(self.node, self.path).size

    def encode(self, index: int) -> Any:
        """Return what W&B gets for the value with this index."""
        if not self.values:
            return axis_of_range(self.node, self.path).value(index)
        label = self.labels[index]
        return self.values[index] if label is None else label

    @property
    def first(self) -> Any:
        """What W&B gets for the first value, or a value that it could draw."""
        return self.encode(0) if self.values else self.node.get("min", self.node.get("mu", 1))

    def index_of(self, sent: Any) -> int | None:
        """Return the index of the declared value that W&B chose.

        Args:
            sent: an alias, or a raw value, perhaps with another type of number than was declared.

        Returns:
            None for a value that was not declared.
        """
        index = self._indices.get(lookup_key(sent))
        if index is None and self._has_labels_only and not isinstance(sent, (dict, list)):
            index = self._indices.get(("text", scalar_text(sent)))
        return index

    def to_wandb(self) -> dict[str, Any]:
        """Return the parameter as a W&B sweep configuration wants it."""
        if self.in_full and self.size <= MOST_ALTERNATIVES:
            return {"values": [self.encode(index) for index in range(self.size)]}
        described = dict(self.node)
        sent = [self.encode(index) for index in range(len(self.values))]
        if "values" in described:
            described["values"] = sent
        elif "value" in described:
            described["value"] = sent[0]
        return copy_tree(described, self.path)  # type: ignore[no-any-return]

    @property
    def same_values(self) -> list[str]:
        """The first values that W&B cannot tell apart, as 1 and 1.0, as they are written."""
        places: dict[Any, list[int]] = {}
        for index in range(len(self.values)):
            places.setdefault(lookup_key(self.encode(index)), []).append(index)
        same = next((found for found in places.values() if len(found) > 1), [])
        return [flow(self.values[index]) for index in same]

    @cached_property
    def _has_labels_only(self) -> bool:
        return bool(self.labels) and None not in self.labels

    @cached_property
    def _indices(self) -> dict[Any, int]:
        indices: dict[Any, int] = {}
        for index in range(len(self.values)):
            indices.setdefault(lookup_key(self.encode(index)), index)
        return indices


def check_alternatives(count: int, path: TreePath) -> None:
    """Check that one parameter does not become too large for W&B.

    Raises:
        LanguageError: it does.
    """
    if count > MOST_ALTERNATIVES:
        raise LanguageError(
            format_path(path),
            f"{count} alternatives in one parameter, at most {MOST_ALTERNATIVES} can be written out; "
            "make inner parameters outer ones, or choose method: random",
        )


def check_equal_shares(parameter: Parameter) -> None:
    """Check that a parameter of a grid has no probabilities.

    Raises:
        LanguageError: it has some.
    """
    if "probabilities" in parameter.node:
        raise LanguageError(
            f"{format_path(parameter.path)}.probabilities",
            "a grid takes every value once; leave them out, or choose method: random",
        )


def wandb_part(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a sweep node is W&B's description of the parameter."""
    if "sweep_repeats" in spec:
        repeats = spec["sweep_repeats"]
        return {"values": list(range(repeats)) if isinstance(repeats, int) else list(repeats)}
    return {key: value for key, value in spec.items() if key not in OWN_WORDS}


def check_node(node: Node) -> None:
    """Check the words of a sweep node.

    Raises:
        LanguageError: it is malformed.
    """
    if "sweep_repeats" in node.spec:
        _check_repeats(node)
        return
    described = wandb_part(node.spec)
    where = format_path(node.path)
    if not described:
        raise LanguageError(where, "a sweep node needs `values`, or `min` and `max`, or a `distribution`")
    words = sorted(WANDB_WORDS | OWN_WORDS)
    for key in described:
        if key not in WANDB_WORDS and (
            key.startswith("sweep_") or difflib.get_close_matches(key, words, n=1)
        ):
            raise LanguageError(
                format_key(where, str(key)), f"unknown key of a sweep node{closest(key, words)}"
            )
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


def _check_repeats(node: Node) -> None:
    repeats, where = node.spec["sweep_repeats"], f"{format_path(node.path)}.sweep_repeats"
    if beside := sorted(node.spec.keys() - {"sweep", "sweep_repeats", "sweep_identifier"}):
        raise LanguageError(where, f"takes the place of `values`; leave out {', '.join(beside)}")
    if node.parent is not None:
        raise LanguageError(
            where, "counts whole runs, so it cannot be inside the values of another node; put it outside"
        )
    is_number = type(repeats) is int and repeats >= 1
    are_seeds = (
        isinstance(repeats, list)
        and all(type(each) is int for each in repeats)
        and 0 < len(repeats) == len(set(repeats))
    )
    if not is_number and not are_seeds:
        raise LanguageError(
            where, f"a number of 1 or more, or a list of different seeds, is needed, got {flow(repeats)}"
        )


def labels_of(spec: Mapping[str, Any], path: TreePath) -> tuple[str | None, ...]:
    """Return for each value of a sweep node the text that W&B gets for it, or None for the value itself.

    Raises:
        LanguageError: its aliases are not one text for each.
    """
    described = wandb_part(spec)
    aliases = spec.get("sweep_alias")
    if aliases is not None:
        count = len(described["values"]) if "values" in described else None
        return alias_labels(aliases, count, format_path(path))
    values = described.get("values", [described["value"]] if "value" in described else [])
    return made_labels([_shown(value) for value in values])


def _shown(value: Any) -> Any:
    """Return a value for a label: what is swept inside of it as a star, a sweep node itself as W&B has it."""
    if isinstance(value, dict) and "sweep" in value:
        value = wandb_part(value)
    return _without_nodes(value)


def _without_nodes(value: Any) -> Any:
    if isinstance(value, dict):
        return "*" if "sweep" in value else {key: _without_nodes(item) for key, item in value.items()}
    return [_without_nodes(item) for item in value] if isinstance(value, list) else value
