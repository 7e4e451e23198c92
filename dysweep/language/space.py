"""From the hierarchical YAML to W&B's flat parameters, and from their values back to a config.

    parameters (hierarchical) ──compile──▶ Space ──parameters──▶ {name: W&B parameter}
    base config + assignment {name: value} ──resolve──▶ config

What is in no sweep node is a constant and is upserted as well.
"""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dysweep.errors import LanguageError
from dysweep.language.parameter import OWN_WORDS, WANDB_WORDS, Parameter, make_parameter, numbered, wandb_part
from dysweep.language.tree import (
    EVAL,
    GROUP,
    INDEX_KEY,
    INSERT,
    OPERATIONS,
    OVERWRITE,
    REMOVE,
    UPSERT,
    TreePath,
    copy_tree,
    format_path,
)
from dysweep.language.upsert import KEEP, Placed, upsert
from dysweep.limits import check_size

logger = logging.getLogger("dysweep")

TAKEN_BY_WANDB = frozenset(["", "dy_config", "_wandb"])


@dataclass(frozen=True)
class Space:
    """A compiled sweep space; nothing in it ever changes.

    Args:
        tree: the hierarchical parameters as written.
        swept: the swept parameters in document order.
        path: where the parameters are in the YAML, for messages.

    Example:
        >>> from dysweep import Space
        >>> model = {"sweep": True, "sweep_alias": ["small", "large"], "values": [{}, {"width": 64}]}
        >>> space = Space.compile({"model": model, "epochs": 5})
        >>> space.parameters
        {'model': {'values': ['small', 'large']}}
        >>> space.resolve({"model": {"width": 8}}, {"model": "large"})
        {'model': {'width': 64}, 'epochs': 5}
    """

    tree: dict[str, Any]
    swept: tuple[Parameter, ...]
    path: TreePath = ("sweep_configuration",)

    @classmethod
    def compile(cls, parameters: Mapping[str, Any], path: TreePath = ("sweep_configuration",)) -> Space:
        """Find the swept parameters and name them.

        Args:
            parameters: the hierarchical mapping, what is below `parameters` in a W&B sweep configuration.
            path: where it is in the YAML, for messages.

        Returns:
            the space.

        Raises:
            LanguageError: a sweep node is malformed, or an identifier is used twice.

        Example:
            >>> Space.compile({"net": {"lr": {"sweep": True, "values": [0.1, 0.01]}}}).parameters
            {'lr': {'values': [0.1, 0.01]}}
        """
        if not isinstance(parameters, Mapping):
            raise LanguageError(format_path(path), "the parameters are a mapping of settings to sweep")
        tree = copy_tree(parameters, path)
        if "sweep" in tree:
            raise LanguageError(
                format_path(path),
                "the whole `parameters` cannot be one sweep node; put `sweep` below the key to sweep",
            )
        nodes = list(_sweep_nodes(tree, path))
        _warn_of_seeming_nodes(tree, path)
        for found, node in nodes:
            if node["sweep"] is not True:
                logger.warning(
                    "%s: `sweep: %s` still marks a sweep; write `sweep: true`, or remove the node",
                    format_path(found), json.dumps(node["sweep"]),
                )  # fmt: skip
                break
        names = _names([(found[len(path) :], node.get("sweep_identifier"), found) for found, node in nodes])
        swept = tuple(
            make_parameter(name, found, node) for name, (found, node) in zip(names, nodes, strict=True)
        )
        return cls(tree, swept, path)

    @cached_property
    def parameters(self) -> dict[str, dict[str, Any]]:
        """The flat parameters, name to W&B parameter: what W&B gets.

        Example:
            >>> Space.compile({"lr": {"sweep": True, "min": 0.001, "max": 0.1}}).parameters
            {'lr': {'min': 0.001, 'max': 0.1}}
        """
        return {parameter.name: parameter.to_wandb() for parameter in self.swept}

    @cached_property
    def example(self) -> dict[str, Any]:
        """An assignment that W&B could choose: the first value of each parameter.

        Example:
            >>> Space.compile({"lr": {"sweep": True, "min": 0.001, "max": 0.1}}).example
            {'lr': 0.001}
        """
        return {
            each.name: each.encode(0) if each.values else each.node.get("min", each.node.get("mu", 1))
            for each in self.swept
        }

    def resolve(
        self, base_config: Mapping[str, Any], assignment: Mapping[str, Any], allow_eval: bool = False
    ) -> dict[str, Any]:
        """Return the config that an assignment stands for.

        Args:
            base_config: the tree that every run starts from.
            assignment: parameter name to the value that W&B chose; a missing name leaves the base as it is,
                names that are no parameter are ignored.
            allow_eval: whether code in the space (`dy__eval`) may be run.

        Returns:
            a new plain tree, without any word of the sweep language.

        Raises:
            LanguageError: the assignment does not fit the base, and the message names the path in the YAML;
                or the config is too large.

        Example:
            >>> space = Space.compile({"net": {"lr": {"sweep": True, "values": [0.1, 0.01]}}})
            >>> space.resolve({"seed": 0, "net": {"lr": 1.0}}, {"lr": 0.01})
            {'seed': 0, 'net': {'lr': 0.01}}
        """
        chosen = {
            parameter.path: parameter.decode(assignment[parameter.name])
            for parameter in self.swept
            if parameter.name in assignment
        }
        patch = _substitute(self.tree, self.path, chosen)
        config: dict[str, Any] = upsert(
            base_config, {} if patch is KEEP else patch, allow_eval=allow_eval, patch_path=self.path
        )
        check_size(config, "the config")
        return config

    def to_json(self) -> str:
        """Write the space as one JSON text.

        Example:
            >>> space = Space.compile({"lr": {"sweep": True, "values": [0.1, 0.01]}})
            >>> Space.from_json(space.to_json()) == space
            True
        """
        swept = [{"name": p.name, "path": p.path, "labels": p.labels} for p in self.swept]
        return json.dumps({"path": self.path, "tree": self.tree, "swept": swept}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Space:
        """Read what `to_json` wrote; names and labels are taken from it, so that running sweeps keep theirs.

        Args:
            text: the JSON text.

        Raises:
            ValueError: the text is not a space.

        Example:
            >>> text = Space.compile({"lr": {"sweep": True, "values": [0.1, 0.01]}}).to_json()
            >>> Space.from_json(text).parameters
            {'lr': {'values': [0.1, 0.01]}}
        """
        try:
            stored = json.loads(text)
            tree, path = stored["tree"], tuple(stored["path"])
            nodes = dict(_sweep_nodes(tree, path))
            swept = []
            for item in stored["swept"]:
                found = tuple(item["path"])
                parameter = Parameter(item["name"], found, wandb_part(nodes[found]), tuple(item["labels"]))
                if not isinstance(parameter.name, str) or len(parameter.labels) != len(parameter.values):
                    raise TypeError(f"{parameter.name!r} has {len(parameter.labels)} labels")
                swept.append(parameter)
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"this is not the space of a sweep: {error!r}") from error
        return cls(tree, tuple(swept), path)


def _sweep_nodes(value: Any, path: TreePath) -> Iterator[tuple[TreePath, dict[str, Any]]]:
    if isinstance(value, dict):
        if "sweep" in value:
            yield path, value
            return
        for word in ("sweep_identifier", "sweep_alias"):
            if word in value:
                raise LanguageError(format_path(path), f"{word} without sweep; add `sweep: true` beside it")
        for key, item in value.items():
            yield from _sweep_nodes(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _sweep_nodes(item, (*path, index))


def _warn_of_seeming_nodes(value: Any, path: TreePath) -> None:
    if isinstance(value, dict) and "sweep" not in value:
        if _looks_swept(value):
            logger.warning(
                "%s: this looks like a swept parameter and is a constant; to sweep it, add `sweep: true`",
                format_path(path),
            )
        for key, item in value.items():
            _warn_of_seeming_nodes(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _warn_of_seeming_nodes(item, (*path, index))


def _looks_swept(node: dict[str, Any]) -> bool:
    """Return whether a mapping seems to be meant as a sweep node: W&B's words, perhaps a misspelt `sweep`."""
    others = node.keys() - WANDB_WORDS
    if node.keys() <= {"value", "distribution"}:
        return False  # W&B's way to write a constant
    return len(others) < len(node) and all(difflib.get_close_matches(key, OWN_WORDS, n=1) for key in others)


def _names(nodes: list[tuple[TreePath, Any, TreePath]]) -> list[str]:
    taken = set(TAKEN_BY_WANDB)
    for _, identifier, found in nodes:
        if identifier is None:
            continue
        where = format_path((*found, "sweep_identifier"))
        if not isinstance(identifier, str):
            raise LanguageError(where, f"an identifier is text, as `{json.dumps(str(identifier))}`")
        if identifier in TAKEN_BY_WANDB:
            raise LanguageError(where, f"{identifier!r} is used by W&B or dysweep itself; choose another one")
        if identifier in taken:
            raise LanguageError(
                where, f"sweep_identifier {identifier!r} is used twice; give each parameter its own"
            )
        taken.add(identifier)
    names = []
    for path, identifier, _ in nodes:
        name = identifier or _free_name(path, taken)
        taken.add(name)
        names.append(name)
    return names


def _free_name(path: TreePath, taken: set[str]) -> str:
    path = tuple(_pieces(path))
    for start in range(len(path) - 1, -1, -1):
        if isinstance(path[start], str) and path[start] not in (INSERT, REMOVE, OVERWRITE):
            name = ".".join(map(str, path[start:]))
            # The shortest end of the path that is free: `lr`, else `optimizer.lr`.
            if name not in taken:
                return name
    return numbered(".".join(map(str, path)), taken)


def _pieces(path: TreePath) -> Iterator[str | int]:
    """Return what a name is made of: n instead of `__IDX__n`, and not which of a list's operations it is."""
    for place, part in enumerate(path):
        if isinstance(part, int):
            if place == 0 or path[place - 1] != OPERATIONS:
                yield part
        elif element := INDEX_KEY.fullmatch(part):
            yield int(element[1])
        elif part != OPERATIONS or len(path) == 1:
            yield from part.split("__CUSTOM_SEPERATOR__")  # dysweep 0.1 joined paths with it


def _substitute(value: Any, path: TreePath, chosen: Mapping[TreePath, Placed]) -> Any:
    """Put the chosen values in the places of their sweep nodes; leave out what has none."""
    if isinstance(value, dict):
        if "sweep" in value:
            return chosen.get(path, KEEP)
        items = {key: _substitute(item, (*path, key), chosen) for key, item in value.items()}
        kept = {key: item for key, item in items.items() if item is not KEEP}
        if "expression" in value and "expression" not in kept and path[-1] == EVAL:
            return KEEP
        if OPERATIONS in value and OPERATIONS not in kept:
            kept = {key: item for key, item in kept.items() if key == UPSERT or key.startswith(GROUP)}
        return kept if kept or not value else KEEP
    if isinstance(value, list):
        elements = [_substitute(item, (*path, index), chosen) for index, item in enumerate(value)]
        return elements if not value or any(element is not KEEP for element in elements) else KEEP
    return value
