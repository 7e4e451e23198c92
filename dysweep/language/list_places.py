"""The places in a list that its edits name."""

from __future__ import annotations

from typing import Any

from dysweep.errors import LanguageError
from dysweep.language.tree import TreePath, format_path


def checked_index(index: Any, current: list[Any], path: TreePath) -> int:
    """Return the place of a list's element, counted from the front.

    Raises:
        LanguageError: there is none.
    """
    if type(index) is not int or not -len(current) <= index < len(current):
        raise LanguageError(
            format_path(path),
            f"index {index!r} is out of range for a list of {len(current)}{_valid(current)}",
        )
    return index % len(current)


def _valid(current: list[Any]) -> str:
    return f" (valid: {-len(current)} to {len(current) - 1})" if current else ""


def insert_index(index: Any, current: list[Any], path: TreePath) -> int:
    """Return the place before which an element is inserted; -1 appends.

    Raises:
        LanguageError: it is further off than the list's ends.
    """
    if type(index) is not int or index < min(-len(current), -1):
        raise LanguageError(
            format_path(path),
            f"{index!r} is not a place to insert at in this list, "
            f"which has {len(current)} elements (-1 appends)",
        )
    return len(current) if index == -1 else index
