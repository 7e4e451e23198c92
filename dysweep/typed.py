"""From mappings to dataclasses, with every value's type checked."""

from __future__ import annotations

import argparse
import collections.abc
import contextlib
import copy
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, TypeVar

from dysweep.errors import ConfigError, closest
from dysweep.text import key_in_a_line

T = TypeVar("T")
_WORDS = {
    str: "text", int: "a whole number", float: "a number", bool: "true or false", dict: "a mapping",
    list: "a list", tuple: "a list", type(None): "null", Path: "a path",
}  # fmt: skip
_LISTS = (list, collections.abc.Sequence, collections.abc.Iterable)
_MAPPINGS = (dict, collections.abc.Mapping, collections.abc.MutableMapping)


class _Unfit(Exception):
    """A value is not of a type; the text says what is allowed."""


def parse_dictionary_onto_dataclass(dictionary: Mapping[str, Any], cls: type[T]) -> T:
    """Build a dataclass of a mapping, with its types checked; what is missing takes the defaults.

    Fields may be dataclasses too, optional, lists, tuples, mappings and unions of them, literals and enums.

    Args:
        dictionary: field names to values; it is copied.
        cls: the dataclass.

    Raises:
        ConfigError: an unknown key (with the closest match), a missing one, or a value of a wrong type.

    Example:
        >>> from dysweep import ResumableSweepConfig, parse_dictionary_onto_dataclass
        >>> parse_dictionary_onto_dataclass({"count": 3, "lease": 60}, ResumableSweepConfig).lease
        60.0
    """
    return typing.cast(T, _dataclass(dictionary, cls, ""))


def as_mapping(value: Any) -> Mapping[str, Any] | None:
    """Return what is meant as a mapping as one: a mapping, a dataclass, a namespace; None for all else."""
    if isinstance(value, Mapping):
        return value
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, (argparse.Namespace, SimpleNamespace)):
        return vars(value)
    return None


def _dataclass(given: Mapping[str, Any], cls: Any, path: str) -> Any:
    try:
        hints = typing.get_type_hints(cls)
    except NameError as error:
        raise ConfigError(f"{cls.__name__}: an annotation cannot be resolved ({error})") from None
    known = {field.name: field for field in fields(cls) if field.init}
    values: dict[str, Any] = {}
    for key, value in given.items():
        place = f"{path}.{key_in_a_line(key)}" if path else key_in_a_line(key)
        if key not in known:
            raise ConfigError(f"{place}: unknown setting{closest(str(key), known)}")
        if value is None and known[key].default is None:  # `name: str = None`, as many write it
            values[key] = None
            continue
        try:
            values[key] = _value(value, hints[key], place)
        except _Unfit as wanted:
            quotes = isinstance(value, (int, float)) and "text" in str(wanted).split(" or ")
            hint = "; write it in quotes" if quotes else ""
            raise ConfigError(f"{place}: {value!r} is not {wanted}{hint}") from None
    for name, field in known.items():
        if name not in values and field.default is MISSING and field.default_factory is MISSING:
            raise ConfigError(f"{path}.{name}: missing" if path else f"{name}: missing")
    return cls(**values)


def _value(value: Any, hint: Any, path: str) -> Any:
    kind, arguments = typing.get_origin(hint) or hint, typing.get_args(hint)
    if kind in (typing.Union, types.UnionType):
        return _one_of(value, arguments, path)
    if kind is Literal:
        if value in arguments:
            return value
        raise _Unfit(" or ".join(map(str, arguments)))
    if is_dataclass(kind) and isinstance(kind, type):
        mapping = None if isinstance(value, kind) else as_mapping(value)
        return value if mapping is None and isinstance(value, kind) else _below(mapping, kind, path)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _member(value, kind)
    if isinstance(value, (list, tuple)) and kind in _LISTS:
        return [
            _value(item, (arguments or (Any,))[0], f"{path}[{index}]") for index, item in enumerate(value)
        ]
    if isinstance(value, (list, tuple)) and kind is tuple:
        return _tuple(value, arguments, path)
    if kind in _MAPPINGS and (mapping := as_mapping(value)) is not None:
        if len(arguments) == 2 and arguments[1] is not Any:
            return {key: _value(item, arguments[1], f"{path}.{key}") for key, item in mapping.items()}
        return _copied(value)
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind is str and isinstance(value, os.PathLike):
        return os.fspath(value)
    if kind is Path and isinstance(value, (str, Path)):
        return Path(value)
    if kind is Any or not isinstance(kind, type) or type(value) is kind:
        return _copied(value)
    if kind not in _WORDS and kind not in (*_LISTS, *_MAPPINGS) and isinstance(value, kind):
        return value
    raise _Unfit(_WORDS.get(kind, getattr(kind, "__name__", str(kind))))


def _one_of(value: Any, kinds: tuple[Any, ...], path: str) -> Any:
    if type(value) in kinds:  # 3 for float | int stays 3
        return value
    wanted = []
    for kind in kinds:
        try:
            return _value(value, kind, path)
        except _Unfit as unfit:
            wanted.append(str(unfit))
    raise _Unfit(" or ".join(each for each in wanted if each != "null"))


def _below(mapping: Mapping[str, Any] | None, kind: Any, path: str) -> Any:
    if mapping is None:
        raise _Unfit(f"a mapping of {kind.__name__}'s fields")
    return _dataclass(mapping, kind, path)


def _member(value: Any, kind: type[Enum]) -> Enum:
    for member in kind:
        if value in (member, member.value, member.name):
            return member
    raise _Unfit(" or ".join(str(member.value) for member in kind))


def _tuple(value: Any, kinds: tuple[Any, ...], path: str) -> tuple[Any, ...]:
    if len(kinds) == 2 and kinds[1] is ...:
        kinds = (kinds[0],) * len(value)
    if kinds and len(kinds) != len(value):
        raise _Unfit(f"a list of {len(kinds)}")
    kinds = kinds or (Any,) * len(value)
    return tuple(
        _value(item, kind, f"{path}[{index}]")
        for index, (item, kind) in enumerate(zip(value, kinds, strict=True))
    )


def _copied(value: Any) -> Any:
    with contextlib.suppress(Exception):  # what cannot be copied is refused, with its place, by define()
        return copy.deepcopy(value)
    return value
