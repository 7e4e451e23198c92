"""How large a file and a tree may be: a slip, or a trap of ten lines, must not take a machine's memory."""

from __future__ import annotations

import marshal
import os
from typing import Any

from dysweep.errors import ConfigError, LanguageError

_VARIABLE = "DYSWEEP_MAX_BYTES"
_BYTES = 16 * 2**20
_BYTES_OF_A_VALUE = 8  # a number, a bracket: roughly what is written for it


def max_bytes() -> int:
    """Return how many bytes a file of settings, or a tree when it is written out, may have.

    Raises:
        ConfigError: the environment variable that sets it is not a number.
    """
    given = os.environ.get(_VARIABLE) or str(_BYTES)
    if not given.isdecimal():
        raise ConfigError(f"{_VARIABLE}: {given!r} is not a number of bytes")
    return int(given)


def too_large(where: str) -> LanguageError:
    """Build the error about what is larger than that."""
    return LanguageError(
        where, f"larger than {max_bytes()} bytes; if that is meant, set {_VARIABLE} to what it needs"
    )


def check_plain_size(tree: Any, where: str) -> None:
    """Check the same of a plain tree in which no object is at two places.

    Args:
        tree: mappings, lists and scalars.
        where: what to call it in the message.

    Raises:
        LanguageError: it is too large.
    """
    if not is_surely_small(tree):
        check_size(tree, where)


def is_surely_small(*trees: Any) -> bool:
    """Return whether plain trees, in which no object is at two places, are together not too large.

    They may still not be where this cannot be told at once.
    """
    # marshal writes at least a byte for each value and each character, and does so in C.
    written = sum(len(marshal.dumps(tree, 2)) for tree in trees)
    return _BYTES_OF_A_VALUE * written <= max_bytes()


def check_size(tree: Any, where: str) -> None:
    """Check that a tree stays small when it is written out, each alias with all that it stands for.

    Args:
        tree: the tree; the same object may be at many places of it.
        where: what to call it in the message.

    Raises:
        LanguageError: it does not.
    """
    try:
        size = _size(tree, {})
    except RecursionError:
        return  # whoever copies the tree names the place that is nested too deeply
    if size > max_bytes():
        raise too_large(where)


def _size(tree: Any, known: dict[int, int]) -> int:
    if isinstance(tree, str):
        return _BYTES_OF_A_VALUE + len(tree)
    if not isinstance(tree, (dict, list, tuple)):
        return _BYTES_OF_A_VALUE
    size = known.get(id(tree))
    if size is None:
        known[id(tree)] = 0  # while it is measured, as it may contain itself
        parts = [*tree.keys(), *tree.values()] if isinstance(tree, dict) else tree
        size = known[id(tree)] = _BYTES_OF_A_VALUE + sum(_size(part, known) for part in parts)
    return size
