"""What a patch holds beside plain values: what a sweep chose, with its place, and nothing at all."""

from __future__ import annotations

from typing import Any, NamedTuple

from dysweep.language.tree import TreePath


class Marker:
    """What stands in a patch for something that is not part of a tree."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name


KEEP = Marker("KEEP")


class Placed(NamedTuple):
    """A part of a patch that comes from elsewhere in the YAML than from where it is written."""

    value: Any
    path: TreePath


def unwrap(patch: Any, path: TreePath) -> tuple[Any, TreePath]:
    """Return a part of a patch without its place, and the place."""
    return patch if isinstance(patch, Placed) else (patch, path)


def without_places(value: Any) -> Any:
    """Return a part of a patch as a plain tree."""
    value, _ = unwrap(value, ())
    if isinstance(value, dict):
        return {key: without_places(item) for key, item in value.items()}
    if isinstance(value, list):
        return [None if item is KEEP else without_places(item) for item in value]
    return value
