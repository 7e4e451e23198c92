"""How a sweep fits its base config: what is written in it and can hardly be meant, found at creation."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from dysweep.errors import LanguageError, misspelt
from dysweep.language.nodes import sweep_nodes
from dysweep.language.parameter import wandb_part
from dysweep.language.space import Space
from dysweep.language.tree import (
    GROUP,
    INDEX_KEY,
    INIT_ARGS,
    REPLACE,
    RESERVED,
    UPSERT,
    TreePath,
    describe,
    format_path,
)

logger = logging.getLogger("dysweep")

_ABSENT = object()
_MISSING = "???"
_NONE_WORDS = ("none", "null", "nil")
_BOOLEAN_WORDS = ("true", "false", "yes", "no", "on", "off")
_NUMBER = r"\s*[-+]?[\d.]+(?:e[-+]?\d+)?\s*"
_TUPLE = re.compile(rf"\({_NUMBER}(?:,{_NUMBER})*,?\s*\)|\({_NUMBER}|{_NUMBER}\)", re.IGNORECASE)
_ARITHMETIC = re.compile(rf"{_NUMBER}(?:(?:\*\*|//|[-+*/^]){_NUMBER})+", re.IGNORECASE)
_REFERENCE = re.compile(r"\$\{([^{}:]+)\}")  # of OmegaConf's; with a colon it calls a resolver
_WITHOUT_BLANK = re.compile(r"\w+:\S+")


def check_fit(space: Space, base: dict[str, Any], given: Any) -> None:
    """Compare what a sweep sets with what the base config has there.

    Args:
        space: the compiled space.
        base: the base config.
        given: the base config as it was given, perhaps with OmegaConf's interpolations.

    Raises:
        LanguageError: a dotted key whose place the base has, or W&B's way to write constants and trees.
    """
    fit = _Fit(space)
    fit.read(base, ("base_config",))
    fit.read_interpolations(given, ("base_config",))
    fit.walk(space.tree, base, space.path)
    fit.warn()


class _Fit:
    def __init__(self, space: Space) -> None:
        self.in_base: list[tuple[TreePath, str]] = []
        self.texts: list[tuple[TreePath, str]] = []
        self.added: list[TreePath] = []
        self.replaced: list[tuple[TreePath, Any]] = []
        self.resolved: list[tuple[TreePath, str]] = []
        self.written = {
            node.path: set(_keys(wandb_part(node.spec))) for node in sweep_nodes(space.tree, space.path)
        }
        self.space = space
        self.inside_node = False

    def read(self, base: Any, path: TreePath) -> None:
        """Go through the base config, which was hardly meant to have Python's words."""
        if isinstance(base, dict):
            for key, item in base.items():
                if problem := _doubtful_key(key, item):
                    self.in_base.append(((*path, key), problem))
                self.read(item, (*path, key))
        elif isinstance(base, list):
            for index, item in enumerate(base):
                self.read(item, (*path, index))
        elif base == "None":
            self.in_base.append((path, "the text 'None'; YAML's word for nothing is null"))
        elif base == _MISSING and path[1:] not in self.swept_places:
            self.in_base.append((path, f"{_MISSING!r}, which OmegaConf means as missing, is a text here"))
        elif isinstance(base, str) and _TUPLE.fullmatch(base):
            self.in_base.append((path, _not_a_tuple(base)))

    def read_interpolations(self, given: Any, path: TreePath) -> None:
        """Find OmegaConf's interpolations of what is swept: they were resolved with the base's value."""
        for place, text in _texts(given, path):
            references = [key for found in _REFERENCE.findall(text) for key in re.split(r"[.\[\]]+", found)]
            if self.swept_keys & set(references):
                self.resolved.append((place, text))

    @cached_property
    def swept_places(self) -> set[TreePath]:
        return {path[len(self.space.path) :] for path in self.written}

    @cached_property
    def swept_keys(self) -> set[Any]:
        keys = {key for path in self.swept_places for key in path}
        return keys.union(*self.written.values())

    def walk(self, patch: Any, base: Any, path: TreePath) -> None:
        """Go through a patch together with the part of the base that it is laid over."""
        if isinstance(patch, dict):
            if "sweep" in patch:
                self._walk_node(patch, base, path)
            else:
                self._walk_mapping(patch, base, path)
        elif isinstance(patch, list):
            same = isinstance(base, list) and len(base) == len(patch)
            for index, item in enumerate(patch):
                self.walk(item, base[index] if same else _ABSENT, (*path, index))
        elif problem := _doubtful_text(patch, base):
            self.texts.append((path, problem))

    def _walk_node(self, node: dict[str, Any], base: Any, path: TreePath) -> None:
        walk = self._walk_entries if path[-1] == UPSERT else self.walk
        was_inside, self.inside_node = self.inside_node, True
        for index, value in enumerate(node.get("values", [])):
            walk(value, base, (*path, "values", index))
        if "value" in node:
            walk(node["value"], base, (*path, "value"))
        self.inside_node = was_inside

    def _walk_mapping(self, patch: dict[str, Any], base: Any, path: TreePath) -> None:
        self._refuse_ways_of_wandb(patch, base, path)
        is_meant = self.inside_node and patch  # a class for a number, as an alternative
        if isinstance(base, (str, int, float)) and not is_meant and not patch.keys() & RESERVED:
            self.replaced.append((path, base))
        for key, item in patch.items():
            here = (*path, key)
            if problem := _doubtful_key(key, item):
                self.texts.append((here, problem))
            if key == UPSERT:
                self._walk_entries(item, base, here)
            elif key.startswith(GROUP):
                self.walk(item, base, here)
            elif key == REPLACE:
                self.walk(item, _ABSENT, here)
            elif element := INDEX_KEY.fullmatch(key):
                index = int(element[1])
                inside = isinstance(base, list) and -len(base) <= index < len(base)
                self.walk(item, base[index] if inside else _ABSENT, here)
            elif key not in RESERVED:
                below = base.get(key, _ABSENT) if isinstance(base, dict) else _ABSENT
                if below is _ABSENT and isinstance(base, dict):
                    self._refuse_dotted_key(key, base, here)
                    if isinstance(item, dict) and "sweep" in item and _is_surprising(key, base, path):
                        self.added.append(here)
                self.walk(item, below, here)

    def _walk_entries(self, entries: Any, base: Any, path: TreePath) -> None:
        if isinstance(entries, dict) and "sweep" in entries:
            self._walk_node(entries, base, path)
        elif isinstance(entries, list):
            for index, entry in enumerate(entries):
                self.walk(entry, base, (*path, index))

    def _refuse_dotted_key(self, key: str, base: dict[str, Any], path: TreePath) -> None:
        parts = key.split(".")
        place: Any = base
        for part in parts:
            if not isinstance(place, dict) or part not in place:
                return
            place = place[part]
        nested = ": {".join(parts) + ": ..." + "}" * (len(parts) - 1)
        raise LanguageError(
            format_path(path),
            f"a key with dots is a new key, not a path, and base_config has {key}; write {nested}",
        )

    def _refuse_ways_of_wandb(self, patch: dict[str, Any], base: Any, path: TreePath) -> None:
        known = base if isinstance(base, dict) else {}
        if self.inside_node or not isinstance(path[-1], str) or path == self.space.path:
            return
        if "value" not in known and patch.keys() in ({"value"}, {"value", "distribution"}):
            value = patch["value"]
            written = f"`{path[-1]}: {value}`" if not isinstance(value, (dict, list)) else "its value itself"
            raise LanguageError(
                format_path(path),
                f"a constant is written without W&B's `value`; write {written} "
                "(a setting named `value` has to be in base_config, too)",
            )
        nested = patch.keys() == {"parameters"} and isinstance(patch["parameters"], dict)
        if nested and "parameters" not in known:
            raise LanguageError(
                format_path((*path, "parameters")),
                "W&B's nested `parameters` is not needed; write its keys in its place",
            )

    def warn(self) -> None:
        """Say what has been found, one line for each kind."""
        for texts in filter(None, (self.in_base, self.texts)):
            path, problem = texts[0]
            logger.warning("%s: %s%s", format_path(path), problem, _and_more(texts))
        if self.resolved:
            path, text = self.resolved[0]
            logger.warning(
                "%s: %s is resolved before anything is swept, so every run gets the value of base_config; "
                "give OmegaConf.to_container(config, resolve=False), and resolve in the function%s",
                format_path(path), text, _and_more(self.resolved),
            )  # fmt: skip
        if self.replaced:
            path, old = self.replaced[0]
            logger.warning(
                "%s: a mapping, where base_config has %s, which it replaces%s",
                format_path(path), describe(old), _and_more(self.replaced),
            )  # fmt: skip
        if self.added:
            names = ", ".join(format_path(path[len(self.space.path) :]) for path in self.added[:5])
            names += ", ..." if len(self.added) > 5 else ""
            verb = "is" if len(self.added) == 1 else "are"
            logger.warning(
                "%s: %s swept and not in base_config; every run gets a new key", names, verb
            )  # fmt: skip


def _and_more(found: list[Any]) -> str:
    return f" (and {len(found) - 1} more like this)" if len(found) > 1 else ""


def _texts(tree: Any, path: TreePath) -> Iterator[tuple[TreePath, str]]:
    """Go through the texts of a tree, OmegaConf's as they are written."""
    omegaconf = sys.modules.get("omegaconf")
    if omegaconf is not None and isinstance(tree, omegaconf.Container):
        tree = omegaconf.OmegaConf.to_container(tree, resolve=False)
    if isinstance(tree, (dict, list)):
        for key, item in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from _texts(item, (*path, key))
    elif isinstance(tree, str):
        yield path, tree


def _keys(tree: Any) -> Iterator[str]:
    if isinstance(tree, dict):
        for key, item in tree.items():
            yield key
            yield from _keys(item)
    elif isinstance(tree, list):
        for item in tree:
            yield from _keys(item)


def _is_surprising(key: str, base: dict[str, Any], path: TreePath) -> bool:
    """Return whether a swept key is new beside others.

    Not so one of a series (beta2 beside beta1), an argument of a class, which knows its own, and a misspelt
    key, which the preview names.
    """
    if not base or path[-1] == INIT_ARGS or misspelt(key, [*base, *RESERVED]):
        return False
    stem = re.sub(r"\d", "", key)
    return all(re.sub(r"\d", "", other) != stem for other in base)


def _doubtful_text(value: Any, base: Any) -> str | None:
    """Say what is wrong with a text that was hardly meant as one, given what the base has in its place."""
    if not isinstance(value, str):
        return "null, where base_config has the text 'None'" if value is None and base == "None" else None
    if not isinstance(base, str) and _TUPLE.fullmatch(value):
        return _not_a_tuple(value)
    if base is None and value.lower() in _NONE_WORDS:
        return f"the text {value!r}, where base_config has null; YAML's word for nothing is null"
    if isinstance(base, bool):
        if value.lower() in (*_BOOLEAN_WORDS, *_NONE_WORDS):
            return f"the text {value!r}, where base_config has {str(base).lower()}; write it without quotes"
    elif isinstance(base, (int, float)):
        if value.lower() in _NONE_WORDS:
            return f"the text {value!r}, where base_config has a number; YAML's word for nothing is null"
        if _ARITHMETIC.fullmatch(value):
            return f"the text {value!r}, where base_config has a number; YAML does not calculate"
        try:
            number = float(value)
        except ValueError:
            return None
        odd = number != number or number in (float("inf"), -float("inf"))
        mend = "YAML's numbers are .nan, .inf and -.inf" if odd else "write it without quotes"
        return f"the text {value!r}, where base_config has a number; {mend}"
    return None


def _not_a_tuple(value: str) -> str:
    return f"the text {value!r}; YAML's lists are written in square brackets, as [0.9, 0.999]"


def _doubtful_key(key: Any, item: Any) -> str | None:
    """Say what is wrong with a key that has swallowed its value."""
    if item is not None or not isinstance(key, str) or not _WITHOUT_BLANK.fullmatch(key):
        return None
    name, _, value = key.partition(":")
    return f"a key without a value; write a blank after the colon: `{name}: {value}`"
