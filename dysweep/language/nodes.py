"""The sweep nodes of a tree: where they are, and in which value of another node."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dysweep.errors import LanguageError
from dysweep.language.tree import TreePath, format_path

logger = logging.getLogger("dysweep")

WANDB_WORDS = frozenset(
    ["value", "values", "distribution", "min", "max", "mu", "sigma", "q", "probabilities", "a", "b"]
)
OWN_WORDS = frozenset(["sweep", "sweep_alias", "sweep_identifier", "sweep_zip", "sweep_repeats"])
ROOT_WORDS = ("sweep_exclude", "sweep_shuffle", "sweep_seed")
_SEEMING_WORDS = WANDB_WORDS - {"a", "b"}  # too short to show what was meant


@dataclass(frozen=True)
class Node:
    """A sweep node.

    Args:
        path: where it is in the YAML.
        spec: what is in it.
        inside: its path below the parameters, or below the value of another node that it is in.
        parent: path of the node in whose values it is; None if it is in none.
        index: in which of them.
    """

    path: TreePath
    spec: dict[str, Any]
    inside: TreePath
    parent: TreePath | None = None
    index: int = 0

    @property
    def branch(self) -> tuple[TreePath | None, int]:
        """The value in which it is."""
        return self.parent, self.index


def sweep_nodes(tree: Any, path: TreePath) -> list[Node]:
    """Find the sweep nodes of a tree in document order, each before those in its values.

    Raises:
        LanguageError: a word of the language is where it means nothing.
    """
    return list(_nodes(tree, path, path, None, 0))


def _nodes(value: Any, path: TreePath, top: TreePath, parent: TreePath | None, index: int) -> Iterator[Node]:
    if isinstance(value, dict):
        if "sweep" in value:
            yield Node(path, value, path[len(top) :], parent, index)
            values = value.get("values")
            for place, item in enumerate(values) if isinstance(values, list) else ():
                branch = (*path, "values", place)
                yield from _nodes(item, branch, branch, path, place)
            if "value" in value:
                branch = (*path, "value")
                yield from _nodes(value["value"], branch, branch, path, 0)
            return
        _check_words(value, path)
        for key, item in value.items():
            yield from _nodes(item, (*path, key), top, parent, index)
    elif isinstance(value, list):
        for place, item in enumerate(value):
            yield from _nodes(item, (*path, place), top, parent, index)


def _check_words(mapping: dict[str, Any], path: TreePath) -> None:
    for word in sorted(OWN_WORDS - {"sweep"}):
        if word in mapping:
            raise LanguageError(format_path(path), f"{word} without sweep; add `sweep: true` beside it")
    for word in ROOT_WORDS:
        if word in mapping:
            raise LanguageError(
                format_path((*path, word)), f"{word} is about the whole sweep; it belongs beside `parameters`"
            )


def warn_of_seeming_nodes(value: Any, path: TreePath) -> None:
    """Warn of mappings that look like a swept parameter and are constants."""
    if isinstance(value, dict):
        if "sweep" in value:
            if isinstance(value.get("value"), list):
                logger.warning(
                    "%s.value: one value that is a list; to choose from it, write `values`", format_path(path)
                )
            value = {key: value[key] for key in ("values", "value") if key in value}
        elif _looks_swept(value):
            logger.warning(
                "%s: this looks like a swept parameter and is a constant; to sweep it, add `sweep: true`",
                format_path(path),
            )
        for key, item in value.items():
            warn_of_seeming_nodes(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            warn_of_seeming_nodes(item, (*path, index))


def _looks_swept(node: dict[str, Any]) -> bool:
    """Return whether a mapping seems to be meant as a sweep node: W&B's words, perhaps a misspelt `sweep`."""
    others = node.keys() - _SEEMING_WORDS
    if node.keys() <= {"value", "distribution"}:
        return False  # W&B's way to write a constant
    return len(others) < len(node) and all(difflib.get_close_matches(key, OWN_WORDS, n=1) for key in others)
