"""The chosen values in the places of their sweep nodes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dysweep.language.axes import axis_of_range
from dysweep.language.parameter import wandb_part
from dysweep.language.placed import KEEP, Placed
from dysweep.language.tree import EVAL, GROUP, OPERATIONS, UPSERT, TreePath


def put_in(tree: Any, path: TreePath, chosen: Mapping[TreePath, int | Placed]) -> Any:
    """Put the chosen values in the places of their sweep nodes; leave out what has none.

    Args:
        tree: a part of the parameters.
        path: where it is in the YAML.
        chosen: for the path of a sweep node the place of a declared value, or a value that was not declared.

    Returns:
        a patch for the upsert; `KEEP` if nothing is left of it.
    """
    if isinstance(tree, dict):
        if "sweep" in tree:
            return _chosen_value(tree, path, chosen)
        items = {key: put_in(item, (*path, key), chosen) for key, item in tree.items()}
        kept = {key: item for key, item in items.items() if item is not KEEP}
        if "expression" in tree and "expression" not in kept and path[-1] == EVAL:
            return KEEP
        if OPERATIONS in tree and OPERATIONS not in kept:
            kept = {key: item for key, item in kept.items() if key == UPSERT or key.startswith(GROUP)}
        return kept if kept or not tree else KEEP
    if isinstance(tree, list):
        elements = [put_in(item, (*path, index), chosen) for index, item in enumerate(tree)]
        return elements if not tree or any(element is not KEEP for element in elements) else KEEP
    return tree


def _chosen_value(node: dict[str, Any], path: TreePath, chosen: Mapping[TreePath, int | Placed]) -> Any:
    choice = chosen.get(path, KEEP)
    if not isinstance(choice, int):
        return choice
    if "values" in node:
        path, value = (*path, "values", choice), node["values"][choice]
    elif "value" in (described := wandb_part(node)):
        path, value = (*path, "value"), described["value"]
    elif "values" in described:
        return Placed(described["values"][choice], (*path, "sweep_repeats"))
    else:
        return Placed(axis_of_range(described, path).value(choice), path)
    patch = put_in(value, path, chosen)
    return patch if patch is KEEP or isinstance(patch, Placed) else Placed(patch, path)
