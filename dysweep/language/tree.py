"""Plain trees, what configs and sweeps are made of, and the words that are no keys of a config."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from datetime import date, time, timedelta
from enum import Enum
from numbers import Real
from os import PathLike, fspath
from typing import Any

from dysweep.errors import LanguageError, text_of
from dysweep.typed import as_mapping

TreePath = tuple["str | int", ...]

GROUP = "sweep_group"
OPERATIONS = "dy__list__operations"
UPSERT = "dy__upsert"
EVAL = "dy__eval"
REPLACE = "dy__replace"
DELETE = "dy__delete"
INSERT, REMOVE, OVERWRITE = "dy__insert", "dy__remove", "dy__overwrite"
INIT_ARGS = "init_args"
CLASS_KEYS = {"class_path": INIT_ARGS, "_target_": None}  # what names a class, and where its arguments are
RESERVED = frozenset(
    """sweep sweep_identifier sweep_alias sweep_zip sweep_repeats""".split()
    + [GROUP, OPERATIONS, UPSERT, EVAL, REPLACE, DELETE, INSERT, REMOVE, OVERWRITE]
)
INDEX_KEY = re.compile(r"__IDX__(-?\d+)")

SCALARS = frozenset((str, float, bool, type(None)))  # and int, if it is not too long
_DEEPEST = 200
_LONGEST = 1_000_000
_LONGEST_BITS = 13_000  # Python and JSON write no whole number of more than 4,300 digits


def copy_tree(value: Any, path: TreePath, reserved: frozenset[str] = frozenset()) -> Any:
    """Copy a tree into plain mappings, lists, text, numbers, booleans and None.

    Args:
        value: the tree. Taken for what they are: tuples, ranges and other sequences, dataclasses, namespaces,
            paths, scalars and arrays of numpy and torch, and OmegaConf's containers, resolved.
        path: where it is in the YAML, for messages.
        reserved: keys that it must not contain.

    Returns:
        the copy.

    Raises:
        LanguageError: a key is not text or is reserved, a value has no plain type, or the tree has no end.
    """
    kind = type(value)
    if kind in SCALARS:
        return value
    if kind is dict or kind is list:
        try:
            return _copy_plain(value, reserved, _DEEPEST)
        except _NotPlain:
            pass
    return _copy(value, path, reserved, len(path) + _DEEPEST)


def is_word(key: str | int) -> bool:
    """Return whether a key is a word of the language, and no key of a config."""
    return isinstance(key, str) and (key in RESERVED or key.startswith(GROUP))


class _NotPlain(Exception):
    """A tree needs a closer look: it is refused, or made plain."""


def _copy_plain(value: Any, reserved: frozenset[str], levels: int) -> Any:
    """Copy a mapping or list; most of the time that it takes to resolve a config is spent here."""
    if levels == 0:
        raise _NotPlain
    if type(value) is dict:
        if not reserved.isdisjoint(value):
            raise _NotPlain
        copied = value.copy()
        for key, item in value.items():
            if type(key) is not str:
                raise _NotPlain
            kind = type(item)
            if kind is dict or kind is list:
                copied[key] = _copy_plain(item, reserved, levels - 1)
            elif kind not in SCALARS and (kind is not int or item.bit_length() > _LONGEST_BITS):
                raise _NotPlain
        return copied
    elements = []
    for item in value:
        kind = type(item)
        if kind is dict or kind is list:
            item = _copy_plain(item, reserved, levels - 1)
        elif kind not in SCALARS and (kind is not int or item.bit_length() > _LONGEST_BITS):
            raise _NotPlain
        elements.append(item)
    return elements


def _copy(value: Any, path: TreePath, reserved: frozenset[str], deepest: int) -> Any:
    kind = type(value)
    if kind is str or kind is float or kind is bool or value is None:
        return value
    if kind is int:
        if value.bit_length() > _LONGEST_BITS:
            raise LanguageError(format_path(path), "a number with too many digits; at most 4,000 can be kept")
        return value
    if len(path) > deepest:
        where = format_path(path[: deepest - _DEEPEST + 1])
        raise LanguageError(
            where, f"nested too deeply, or it contains itself; at most {_DEEPEST} levels can be kept"
        )
    value = _resolved(value, path)
    if (mapping := as_mapping(value)) is not None:
        copied: dict[str, Any] = {}
        for key, item in mapping.items():
            if not isinstance(key, str):
                raise LanguageError(
                    format_path((*path, str(key))),
                    f"the key {key!r} is {describe(key)}, and keys are text; write it in quotes",
                )
            key = str.__str__(key)
            if key in reserved:
                raise reserved_word(key, path)
            copied[key] = _copy(item, (*path, key), reserved, deepest)
        return copied
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray, memoryview)):
        if isinstance(value, range) and len(value) > _LONGEST:
            raise LanguageError(format_path(path), f"a range of {len(value)} numbers is too long")
        return [_copy(item, (*path, index), reserved, deepest) for index, item in enumerate(value)]
    for scalar in (str, int, float):
        if isinstance(value, scalar):
            # An Enum that is a text, too, is its value: str() would give its name.
            plain = str.__str__(value) if scalar is str else scalar(value)
            return _copy(plain, path, reserved, deepest)
    if isinstance(value, PathLike) and isinstance(text := fspath(value), str):
        return text
    if _is_array(value) and not _is_date(value):
        try:
            plain = value.tolist()
        except Exception as error:  # a tensor on `meta`, or a sparse one
            raise LanguageError(format_path(path), f"its .tolist() failed ({text_of(error)})") from None
        if type(plain) is not kind:
            return _copy(plain, path, reserved, deepest)
    raise LanguageError(
        format_path(path), f"{_with_article(kind.__name__)} cannot be in a config; {_advice(value)}"
    )


def _resolved(value: Any, path: TreePath) -> Any:
    """Turn a container of OmegaConf's into a plain one, with what it refers to put in."""
    omegaconf = sys.modules.get("omegaconf")
    if omegaconf is None or not isinstance(value, omegaconf.Container):
        return value
    try:
        return omegaconf.OmegaConf.to_container(value, resolve=True, enum_to_str=True)
    except omegaconf.errors.OmegaConfBaseException as error:
        problem = " ".join(str(error).split())
        raise LanguageError(format_path(path), f"OmegaConf cannot resolve this: {problem}") from None


def _is_array(value: Any) -> bool:
    return hasattr(value, "tolist") and hasattr(value, "dtype") and not isinstance(value, type)


def _is_date(value: Any) -> bool:
    """Tell numpy's dates, which `tolist` may turn into plain numbers."""
    return getattr(value.dtype, "kind", None) in ("m", "M")


def _with_article(name: str) -> str:
    return f"an {name}" if name[:1].lower() in "aeiou" else f"a {name}"


def _advice(value: Any) -> str:
    """Say how to write what cannot be in a tree."""
    if isinstance(value, (date, time, timedelta)) or (_is_array(value) and _is_date(value)):
        return "write it as text, in quotes"
    if isinstance(value, Enum):
        return "write its .value or its .name"
    if isinstance(value, (set, frozenset)):
        return "it has no order; write a list, as sorted(...) gives it"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return "write text"
    if isinstance(value, type):
        return f"write its name as text, as '{value.__module__}.{value.__qualname__}'"
    if isinstance(value, Real) or hasattr(value, "as_integer_ratio"):
        return "write float(...) of it"
    for name in ("to_dict", "model_dump", "tolist"):
        if callable(getattr(value, name, None)):
            return f"write what its .{name}() gives"
    if isinstance(value, Iterable):
        return "write list(...) of it"
    if hasattr(value, "__qualname__"):
        return f"write its name as text, as '{value.__module__}.{value.__qualname__}'"
    return "allowed are text, numbers, true/false, null, lists and mappings"


def format_path(path: TreePath) -> str:
    """Write a path as people read it: `base_config.layers[1].dim`, and `a['b.c']` for odd keys."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[^\s.\[\]]+", part):
            text += f".{part}" if text else part
        else:
            text += f"[{part!r}]"
    return text


def format_key(where: str, key: str) -> str:
    """Write the place of a key below a place, as `format_path` does."""
    written = format_path((key,))
    return f"{where}{written}" if written.startswith("[") else f"{where}.{written}"


def reserved_word(key: str, path: TreePath) -> LanguageError:
    """Build the error about a word of the language that is a key of the config."""
    hints = {"sweep": "a sweep is in sweep_configuration, not in the base or in what code returns"}
    hints |= dict.fromkeys((INSERT, REMOVE, OVERWRITE), f"it belongs in the list of a {OPERATIONS!r}")
    hint = f"; {hints[key]}" if key in hints else ""
    return LanguageError(
        format_path((*path, key)),
        f"{key!r} is a word of the sweep language and cannot be a key of the config{hint}",
    )


def describe(value: Any) -> str:
    """Describe a value of a tree in a few words, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the text {value!r}" if len(value) <= 40 else f"the text {value[:37]!r}..."
    return "a mapping" if isinstance(value, dict) else "a list" if isinstance(value, list) else repr(value)
