"""Where a sweep changes a class, and arguments of the old one stay because they are merged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dysweep.errors import LanguageError
from dysweep.language.evaluate import carries_code
from dysweep.language.placed import unwrap
from dysweep.language.points import Grid
from dysweep.language.samples import chosen_at, samples
from dysweep.language.space import Space
from dysweep.language.tree import CLASS_KEYS, INIT_ARGS, TreePath, copy_tree, format_path
from dysweep.language.upsert import Upsert
from dysweep.text import short_value

_NAMED = 5


@dataclass(frozen=True)
class ClassChange:
    """A class that is another one than in the base, with arguments of that one.

    Args:
        path: of the class in the config.
        old: the class in the base.
        new: the class in the config.
        kept: the old one's arguments that no patch gives.
    """

    path: TreePath
    old: str
    new: str
    kept: tuple[str, ...]

    def __str__(self) -> str:
        names = ", ".join(map(short_value, self.kept[:_NAMED]))
        names += f" and {len(self.kept) - _NAMED} more" if len(self.kept) > _NAMED else ""
        arguments = f"{INIT_ARGS} {names}" if CLASS_KEYS[str(self.path[-1])] else names
        stay, them = ("stays", "it") if len(self.kept) == 1 else ("stay", "them")
        return (
            f"{format_path(self.path)} becomes {short_value(self.new, 80)}; "
            f"{arguments} of {short_value(self.old, 80)} {stay}; dy__replace drops {them}"
        )


def class_changes(
    space: Space, base_config: Mapping[str, Any], grid: Grid | None, allow_eval: bool
) -> dict[ClassChange, str]:
    """Return what changes a class and leaves arguments of the old one, each with where it happens first.

    Args:
        space: the compiled space.
        base_config: the tree that every run starts from.
        grid: the sweep's points; None if they are drawn.
        allow_eval: whether code in the space (`dy__eval`) may be run.

    Returns:
        by change: `run 7`, or the value that makes it, as `model=cnn`.
    """
    found: dict[ClassChange, str] = {}
    if not (_names_classes(space.tree) or carries_code(space.tree)):
        return found
    for sample in samples(space, grid):
        watched = _Watched(base_config, allow_eval)
        try:
            watched.put_level(watched.top, "", space.patch(sample.assignment), space.path)
        except (LanguageError, RecursionError):
            continue  # that a run will fail is said elsewhere
        for change, written in watched.changes():
            if change not in found:
                by_value = sample.run is None
                found[change] = chosen_at(space, written) if by_value else f"run {sample.run}"
    return found


def _names_classes(tree: Any) -> bool:
    if isinstance(tree, dict):
        return not tree.keys().isdisjoint(CLASS_KEYS) or any(map(_names_classes, tree.values()))
    return isinstance(tree, list) and any(map(_names_classes, tree))


@dataclass(frozen=True)
class _Class:
    """A class of the base: the mapping that names it, and that of its arguments."""

    mapping: dict[str, Any]
    word: str
    name: str
    arguments: dict[str, Any]
    names: tuple[str, ...]


class _Watched(Upsert):
    """An upsert that notes what a patch gives, and so what of the base is left by itself."""

    def __init__(self, base_config: Mapping[str, Any], allow_eval: bool) -> None:
        super().__init__({"": copy_tree(base_config, ("base_config",))}, allow_eval)
        self._classes: dict[int, list[_Class]] = {}
        for each in _classes(self.top):
            self._classes.setdefault(id(each.mapping), []).append(each)
        # With the containers, so that no later one gets the id of one that is gone.
        self._given: dict[int, tuple[Any, dict[Any, TreePath]]] = {}

    def put(self, container: Any, key: Any, patch: Any, path: TreePath) -> None:
        _, written = unwrap(patch, path)
        self._given.setdefault(id(container), (container, {}))[1][key] = written
        super().put(container, key, patch, path)

    def changes(self) -> Iterator[tuple[ClassChange, TreePath]]:
        """Return the changes of classes that leave arguments, each with where in the YAML it is written."""
        for mapping, path in _mappings(self.top[""], ()):
            for old in self._classes.get(id(mapping), ()):
                new = mapping.get(old.word)
                below = CLASS_KEYS[old.word]
                is_merged = below is None or mapping.get(below) is old.arguments
                if new == old.name or not isinstance(new, str) or not is_merged:
                    continue
                given = self._given_to(old.arguments)
                kept = tuple(name for name in old.names if name in old.arguments and name not in given)
                if kept:
                    written = self._given_to(mapping).get(old.word, ())
                    yield ClassChange((*path, old.word), old.name, new, kept), written

    def _given_to(self, container: dict[str, Any]) -> dict[Any, TreePath]:
        return self._given.get(id(container), (None, {}))[1]


def _classes(tree: Any) -> Iterator[_Class]:
    for mapping, _ in _mappings(tree, ()):
        for word, below in CLASS_KEYS.items():
            name, arguments = mapping.get(word), mapping if below is None else mapping.get(below)
            if isinstance(name, str) and isinstance(arguments, dict):
                names = tuple(key for key in arguments if below is not None or not key.startswith("_"))
                yield _Class(mapping, word, name, arguments, names)


def _mappings(tree: Any, path: TreePath) -> Iterator[tuple[dict[str, Any], TreePath]]:
    if isinstance(tree, dict):
        yield tree, path
        for key, item in tree.items():
            yield from _mappings(item, (*path, key))
    elif isinstance(tree, list):
        for index, item in enumerate(tree):
            yield from _mappings(item, (*path, index))
