"""The chosen values in the places of their sweep nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dysweep.language.axes import axis_of_range
from dysweep.language.parameter import wandb_part
from dysweep.language.placed import KEEP, Placed
from dysweep.language.tree import EVAL, GROUP, OPERATIONS, UPSERT, TreePath

Chosen = Mapping[TreePath, "int | Placed"]


def put_in(tree: Any, path: TreePath, chosen: Chosen) -> Any:
    """Put the chosen values in the places of their sweep nodes; leave out what has none.

    Args:
        tree: a part of the parameters.
        path: where it is in the YAML.
        chosen: for the path of a sweep node the place of a declared value, or a value that was not declared.

    Returns:
        a patch for the upsert, which shares with the tree what is not swept; `KEEP` if nothing is left of it.
    """
    slots = slots_of(tree, path)
    return tree if slots is None else slots.fill(chosen)


def slots_of(tree: Any, path: TreePath) -> Slots | None:
    """Find the places of sweep nodes once, for many choices; None if there are none."""
    if isinstance(tree, dict):
        if "sweep" in tree:
            return _Node(tree, path)
        below = {key: slots_of(item, (*path, key)) for key, item in tree.items()}
        inside = {key: slots for key, slots in below.items() if slots is not None}
        return _Mapping(tree, inside, path[-1:] == (EVAL,)) if inside else None
    if isinstance(tree, list):
        elements = {index: slots_of(item, (*path, index)) for index, item in enumerate(tree)}
        swept = {index: slots for index, slots in elements.items() if slots is not None}
        return _List(tree, swept) if swept else None
    return None


class Slots:
    """A part of the parameters in which something is swept."""

    def fill(self, chosen: Chosen) -> Any:
        """Return the part with the chosen values; `KEEP` if nothing is left of it."""
        raise NotImplementedError


class _Mapping(Slots):
    def __init__(self, tree: dict[str, Any], inside: dict[str, Slots], is_code: bool) -> None:
        self._tree = tree
        self._inside = list(inside.items())
        self._needs_expression = is_code and "expression" in inside
        self._needs_operations = OPERATIONS in inside

    def fill(self, chosen: Chosen) -> Any:
        kept = self._tree.copy()
        for key, slots in self._inside:
            item = slots.fill(chosen)
            if item is KEEP:
                del kept[key]
            else:
                kept[key] = item
        if self._needs_expression and "expression" not in kept:
            return KEEP
        if self._needs_operations and OPERATIONS not in kept:
            kept = {key: item for key, item in kept.items() if key == UPSERT or key.startswith(GROUP)}
        return kept or KEEP


class _List(Slots):
    def __init__(self, tree: list[Any], inside: dict[int, Slots]) -> None:
        self._tree = tree
        self._inside = list(inside.items())

    def fill(self, chosen: Chosen) -> Any:
        elements = self._tree.copy()
        for index, slots in self._inside:
            elements[index] = slots.fill(chosen)
        return elements if any(element is not KEEP for element in elements) else KEEP


class _Node(Slots):
    def __init__(self, node: dict[str, Any], path: TreePath) -> None:
        self._node = node
        self._path = path
        self._values: dict[int, tuple[Placed, Slots | None]] = {}

    def fill(self, chosen: Chosen) -> Any:
        choice = chosen.get(self._path, KEEP)
        if not isinstance(choice, int):
            return choice
        if choice not in self._values:
            self._values[choice] = self._value(choice)
        value, slots = self._values[choice]
        if slots is None:
            return value
        patch = slots.fill(chosen)
        return patch if patch is KEEP or isinstance(patch, Placed) else Placed(patch, value.path)

    def _value(self, choice: int) -> tuple[Placed, Slots | None]:
        node, path, described = self._node, self._path, wandb_part(self._node)
        if "values" in node:
            value, path = node["values"][choice], (*path, "values", choice)
        elif "value" in described:
            value, path = described["value"], (*path, "value")
        elif "values" in described:
            return Placed(described["values"][choice], (*path, "sweep_repeats")), None
        else:
            return Placed(axis_of_range(described, path).value(choice), path), None
        return Placed(value, path), slots_of(value, path)
