"""The upsert: a patch laid over a config, type by type.

A config is a plain tree: mappings with text keys, lists, and scalars (text, numbers, booleans, None). A patch
is such a tree too; it may also hold `Placed` values (what a sweep chose, and where in the YAML) and `KEEP`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dysweep.errors import LanguageError, closest, text_of
from dysweep.language.evaluate import checked_form, inline_expression, load_function
from dysweep.language.list_places import checked_index, insert_index
from dysweep.language.placed import KEEP, Marker, Placed, unwrap, without_places
from dysweep.language.tree import (
    DELETE,
    EVAL,
    GROUP,
    INDEX_KEY,
    INSERT,
    OPERATIONS,
    OVERWRITE,
    REMOVE,
    REPLACE,
    RESERVED,
    UPSERT,
    TreePath,
    copy_tree,
    describe,
    format_path,
    reserved_word,
)

_MISSING = Marker("nothing")
_MAY_BE_A_WORD = re.compile("sweep|dy__|__IDX__").match


def upsert(
    config: Mapping[str, Any],
    patch: Any,
    *,
    allow_eval: bool = False,
    config_path: TreePath = ("base_config",),
    patch_path: TreePath = ("sweep_configuration",),
) -> dict[str, Any]:
    """Lay a patch over a config.

    Args:
        config: the tree to start from; it is copied, never changed.
        patch: what to change; it is never changed, and nothing of it is shared with the result.
        allow_eval: whether code in the patch (`dy__eval`) may be run.
        config_path: where the config is in the YAML, for messages.
        patch_path: where the patch is in the YAML, for messages.

    Returns:
        a new plain tree without any reserved key.

    Raises:
        LanguageError: the patch does not fit; the message names the path in the YAML.

    Example:
        >>> from dysweep import upsert
        >>> config = {"optimizer": {"class_path": "SGD", "init_args": {"lr": 0.1}}, "layers": [8, 8]}
        >>> upsert(config, {"optimizer": {"init_args": {"momentum": 0.9}}})["optimizer"]
        {'class_path': 'SGD', 'init_args': {'lr': 0.1, 'momentum': 0.9}}
        >>> upsert(config, {"layers": {"dy__list__operations": [{"dy__insert": [-1, 16]}]}})["layers"]
        [8, 8, 16]
    """
    return _upserted(Upsert({"": copy_tree(config, config_path, RESERVED)}, allow_eval), patch, patch_path)


def upsert_sharing(
    config: dict[str, Any], patch: Any, *, allow_eval: bool, patch_path: TreePath
) -> dict[str, Any]:
    """Lay a patch over a plain config without reserved words; the result shares what stays with it."""
    return _upserted(Upsert({"": config}, allow_eval, shares=True), patch, patch_path)


def _upserted(under_way: Upsert, patch: Any, path: TreePath) -> dict[str, Any]:
    try:
        under_way.put_level(under_way.top, "", patch, path)
    except RecursionError:
        raise LanguageError(format_path(path), "nested too deeply, or without end") from None
    return under_way.top[""]  # type: ignore[no-any-return]


class Upsert:
    """One upsert under way: the config as it stands, and whether code may run.

    Args:
        top: holds the config under an empty key.
        allow_eval: whether code may be run.
        shares: whether the config belongs to others too, so that what is changed is copied first.
    """

    def __init__(self, top: dict[str, Any], allow_eval: bool, shares: bool = False) -> None:
        self.top = top
        self.allow_eval = allow_eval
        self._shares = shares
        self._copies: set[int] = set()

    def _own(self, container: Any, key: Any) -> Any:
        """Return what is at a place, so that it may be changed."""
        current = _current(container, key)
        if self._shares and isinstance(current, (dict, list)) and id(current) not in self._copies:
            container[key] = current = current.copy()
            self._copies.add(id(current))
        return current

    def put(self, container: Any, key: Any, patch: Any, path: TreePath) -> None:
        """Upsert onto container[key]; the container is a mapping, or a list that has this element."""
        if isinstance(patch, Placed):
            patch, path = patch
        if patch is KEEP:
            return
        if isinstance(patch, dict):
            if EVAL in patch:
                self._put_evaluated(container, key, patch, path)
            elif REPLACE in patch:
                self._replace(container, key, patch, path)
            else:
                self._put_mapping(container, key, patch, path)
        elif isinstance(patch, list):
            self._put_list(container, key, patch, path)
        elif isinstance(patch, str) and (expression := inline_expression(patch)) is not None:
            current = copy_tree(_current(container, key, missing=None), path)
            result = self._call(expression, None, {}, current, path)
            container[key] = copy_tree(result, path, RESERVED)
        else:
            container[key] = copy_tree(patch, path)

    def put_level(self, container: Any, key: Any, patch: Any, path: TreePath) -> None:
        """Upsert what is meant for a whole level: a group, a `dy__upsert` entry, the whole parameters."""
        patch, path = unwrap(patch, path)
        if patch is KEEP:
            return
        fits = isinstance(patch, dict) or (
            isinstance(patch, list) and isinstance(_current(container, key), list)
        )
        if not fits:
            raise LanguageError(
                format_path(path),
                f"a mapping is needed here ({{}} changes nothing), this is {describe(patch)}",
            )
        if isinstance(patch, dict) and EVAL in patch:
            self._only_eval(patch, path)
            self.put_level(container, key, self._evaluate(patch[EVAL], path), (*path, EVAL))
            self._put_entries(container, key, patch, path)
        else:
            self.put(container, key, patch, path)

    def _put_mapping(self, container: Any, key: Any, patch: dict[str, Any], path: TreePath) -> None:
        if not any(map(_MAY_BE_A_WORD, patch)):
            self._put_keys(container, key, sorted(patch), patch, path)
            return
        if DELETE in patch:
            self._delete(self._own(container, key), patch[DELETE], (*path, DELETE))
            patch = {name: item for name, item in patch.items() if name != DELETE}
        if OPERATIONS in patch or any(INDEX_KEY.fullmatch(name) for name in patch):
            self._edit_list(container, key, patch, path)
            return
        plain = sorted(name for name in patch if name != UPSERT and not name.startswith(GROUP))
        for name in plain:
            if name in RESERVED:
                raise reserved_word(name, path)
        self._put_keys(container, key, plain, patch, path)
        self._put_groups(container, key, patch, path)
        self._put_entries(container, key, patch, path)

    def _put_keys(
        self, container: Any, key: Any, names: list[str], patch: dict[str, Any], path: TreePath
    ) -> None:
        current = self._own(container, key)
        if not isinstance(current, dict) and (names or not isinstance(current, list)):
            container[key] = current = {}
        for name in names:
            self.put(current, name, patch[name], (*path, name))

    def _replace(self, container: Any, key: Any, patch: dict[str, Any], path: TreePath) -> None:
        if others := sorted(patch.keys() - {REPLACE}):
            raise LanguageError(
                format_path(path),
                f"{REPLACE} should be the only key of its mapping, here is also {others[0]!r}",
            )
        value, path = unwrap(patch[REPLACE], (*path, REPLACE))
        if value is KEEP:
            return
        if container is self.top and not isinstance(value, dict):
            raise LanguageError(format_path(path), f"the config is a mapping, this is {describe(value)}")
        container[key] = None
        self.put(container, key, value, path)

    def _delete(self, current: Any, keys: Any, path: TreePath) -> None:
        keys, path = unwrap(keys, path)
        if keys is KEEP:
            return
        if not isinstance(keys, list):
            raise LanguageError(
                format_path(path), f"{DELETE} should be a list of keys, this is {describe(keys)}"
            )
        if not isinstance(current, dict):
            there = "nothing" if current is _MISSING else describe(current)
            raise LanguageError(
                format_path(path), f"{DELETE} needs a mapping to work on, and there is {there}"
            )
        for index, placed in enumerate(keys):
            name, here = unwrap(placed, (*path, index))
            if name is KEEP:
                continue
            if not isinstance(name, str) or name not in current:
                meant = closest(name, current) if isinstance(name, str) else ""
                raise LanguageError(format_path(here), f"unknown key {name!r}{meant}")
            del current[name]

    def _put_groups(self, container: Any, key: Any, patch: dict[str, Any], path: TreePath) -> None:
        for name in sorted((name for name in patch if name.startswith(GROUP)), key=_natural):
            self.put_level(container, key, patch[name], (*path, name))

    def _put_entries(self, container: Any, key: Any, patch: dict[str, Any], path: TreePath) -> None:
        if UPSERT not in patch:
            return
        entries, path = unwrap(patch[UPSERT], (*path, UPSERT))
        if entries is KEEP:
            return
        if not isinstance(entries, list):
            raise LanguageError(
                format_path(path),
                f"{UPSERT} should be a list of mappings (a dash before each), this is {describe(entries)}",
            )
        for index, entry in enumerate(entries):
            self.put_level(container, key, entry, (*path, index))

    def _put_list(self, container: Any, key: Any, patch: list[Any], path: TreePath) -> None:
        current = self._own(container, key)
        if not isinstance(current, list) or len(current) != len(patch):
            container[key] = current = [None] * len(patch)
        for index, item in enumerate(patch):
            self.put(current, index, item, (*path, index))

    def _edit_list(self, container: Any, key: Any, patch: dict[str, Any], path: TreePath) -> None:
        current = self._own(container, key)
        if not isinstance(current, list):
            word = OPERATIONS if OPERATIONS in patch else next(filter(INDEX_KEY.fullmatch, patch))
            raise LanguageError(
                format_path((*path, word)),
                f"{word} needs a list to work on, and there is {describe(current)}",
            )
        siblings = {name: item for name, item in patch.items() if name != OPERATIONS}
        used = False
        if OPERATIONS in patch:
            used = self._operate(current, patch[OPERATIONS], siblings, path)
        if used:
            return
        for name in sorted(siblings, key=_natural):
            match = INDEX_KEY.fullmatch(name)
            if match:
                index = checked_index(int(match[1]), current, (*path, name))
                self.put(current, index, siblings[name], (*path, name))
            elif name != UPSERT and not name.startswith(GROUP):
                raise LanguageError(
                    format_path((*path, name)),
                    f"a key beside list edits, and no operation uses it; only `{OVERWRITE}: index` and "
                    f"`{INSERT}: index` (an index alone) take the keys beside {OPERATIONS}",
                )
        self._put_groups(container, key, siblings, path)
        self._put_entries(container, key, siblings, path)

    def _operate(self, current: list[Any], operations: Any, siblings: dict[str, Any], path: TreePath) -> bool:
        """Apply the list operations; tell whether one of them used the siblings."""
        operations, operations_path = unwrap(operations, (*path, OPERATIONS))
        if operations is KEEP:
            return False
        if not isinstance(operations, list):
            raise LanguageError(
                format_path(operations_path), f"{OPERATIONS} should be a list, this is {describe(operations)}"
            )
        used = False
        for number, placed in enumerate(operations):
            operation, here = unwrap(placed, (*operations_path, number))
            if operation is KEEP:
                continue
            if not isinstance(operation, dict) or len(operation) != 1:
                raise LanguageError(
                    format_path(here),
                    f"one operation is needed, as `{REMOVE}: 0`, `{INSERT}: [0, value]` "
                    f"or `{OVERWRITE}: [0, value]`; this is {describe(operation)}",
                )
            [(word, argument)] = operation.items()
            argument, here = unwrap(argument, (*here, word))
            if argument is KEEP:
                continue
            if word == REMOVE:
                del current[checked_index(argument, current, here)]
            elif word not in (INSERT, OVERWRITE):
                raise LanguageError(
                    format_path(here), f"unknown list operation; there are {REMOVE}, {INSERT} and {OVERWRITE}"
                )
            elif isinstance(argument, list):
                self._put_pair(current, word, argument, here)
            else:
                used = True
                self._put_siblings(current, word, argument, siblings, here, path)
        return used

    def _put_pair(self, current: list[Any], word: str, pair: list[Any], path: TreePath) -> None:
        if len(pair) != 2:
            raise LanguageError(
                format_path(path), f"{word} takes [index, value], and here are {len(pair)} elements"
            )
        (index, index_path), (value, value_path) = unwrap(pair[0], (*path, 0)), unwrap(pair[1], (*path, 1))
        if index is KEEP or value is KEEP:
            return
        new: list[Any] = [None]
        if word == OVERWRITE:
            index = checked_index(index, current, index_path)
            if isinstance(value, str):
                new = [current[index]]
            self.put(new, 0, value, value_path)
            current[index] = new[0]
        else:
            index = insert_index(index, current, index_path)
            self.put(new, 0, value, value_path)
            current.insert(index, new[0])

    def _put_siblings(
        self,
        current: list[Any],
        word: str,
        index: Any,
        siblings: dict[str, Any],
        path: TreePath,
        siblings_path: TreePath,
    ) -> None:
        if not siblings:
            raise LanguageError(
                format_path(path),
                f"write `{word}: [index, value]`, or put the element's keys beside {OPERATIONS}",
            )
        if word == OVERWRITE:
            index = checked_index(index, current, path)
        else:
            index = insert_index(index, current, path)
            current.insert(index, {})
        self.put(current, index, siblings, siblings_path)

    def _put_evaluated(self, container: Any, key: Any, patch: dict[str, Any], path: TreePath) -> None:
        self._only_eval(patch, path)
        form, form_path = unwrap(patch[EVAL], (*path, EVAL))
        result = self._evaluate(patch[EVAL], path)
        if isinstance(form, dict) and isinstance(result, dict):
            self.put(container, key, result, form_path)
        else:
            container[key] = copy_tree(result, form_path, RESERVED)
        self._put_entries(container, key, patch, path)

    def _only_eval(self, patch: dict[str, Any], path: TreePath) -> None:
        others = sorted(set(patch) - {EVAL, UPSERT})
        if others:
            raise LanguageError(
                format_path(path),
                f"{EVAL} should be the only key of its mapping (beside it only {UPSERT}), "
                f"here is also {others[0]!r}",
            )

    def _evaluate(self, form: Any, path: TreePath) -> Any:
        form, path = unwrap(form, (*path, EVAL))
        form = checked_form(form, path)
        context = copy_tree(without_places(form.get("context") or {}), (*path, "context"))
        root = copy_tree(self.top[""], ())
        return self._call(form["expression"], form.get("function_of_interest"), context, root, path)

    def _call(
        self, expression: str, name: str | None, context: dict[str, Any], argument: Any, path: TreePath
    ) -> Any:
        if not self.allow_eval:
            raise LanguageError(
                format_path(path),
                "here is code (dy__eval), and code from a config runs only where it is allowed: "
                "say allow_eval: true, or --allow_eval true, if you trust whoever wrote this sweep",
            )
        try:
            result = load_function(expression, name, context)(argument)
        except RecursionError:
            raise
        except (Exception, SystemExit) as error:
            raise LanguageError(
                format_path(path), f"the code failed: {type(error).__name__}: {text_of(error)}"
            ) from error
        return copy_tree(result, path)


def _current(container: Any, key: Any, missing: Any = _MISSING) -> Any:
    return container.get(key, missing) if isinstance(container, dict) else container[key]


def _natural(name: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name)]
