"""Objects made from a tree that names their classes."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import redirect_stdout
from typing import Any

from dysweep.errors import ConfigError, closest, text_of
from dysweep.language.evaluate import import_name
from dysweep.language.tree import INIT_ARGS as _INIT_ARGS
from dysweep.language.tree import format_key

_CLASS_PATH, _TARGET, _PARTIAL = "class_path", "_target_", "_partial_"
_WORDS_OF_HYDRA = (_TARGET, _PARTIAL, "_recursive_", "_convert_", "_args_")


def instantiate(
    tree: Mapping[str, Any], *arguments: Any, allow: Collection[str] | None = None, **overrides: Any
) -> Any:
    """Make the object that a tree describes, and all objects inside it.

    It imports what the tree names and calls it, so the tree's author chooses what runs: use it for trees that
    you trust, or say with `allow` what may be named. A name there should begin as narrowly as it can:
    `torch.nn.` and `torch.optim.`, as `torch.load` runs what is in a file.

    Args:
        tree: `{class_path: torch.optim.SGD, init_args: {lr: 0.1}}` as in Lightning and jsonargparse, or
            `{_target_: torch.optim.SGD, lr: 0.1}` as in Hydra; `_partial_: true` there makes a function that
            still takes arguments. Values may be such trees, also in lists.
        arguments: positional arguments of the outermost object.
        allow: beginnings of the names that may be imported, as `["torch.nn.", "myproject."]`; what is found
            must be a class or function that is defined there, too. None for all.
        overrides: keyword arguments of the outermost object that replace or extend the tree's.

    Returns:
        the object.

    Raises:
        ConfigError: the tree names nothing that can be imported or called, or what `allow` leaves out.
        Exception: whatever the classes raise.

    Example:
        >>> import dysweep
        >>> dysweep.instantiate({"class_path": "datetime.timedelta", "init_args": {"hours": 2}})
        datetime.timedelta(seconds=7200)
        >>> half = dysweep.instantiate({"_target_": "operator.mul", "_partial_": True}, 0.5)
        >>> half(8)
        4.0
    """
    if not isinstance(tree, Mapping) or not _describes_an_object(tree):
        raise ConfigError(f"instantiate: {_CLASS_PATH} or {_TARGET} is missing in {tree!r:.200}")
    return _object(tree, "config", allow, arguments, overrides)


def _describes_an_object(value: Any) -> bool:
    return isinstance(value, Mapping) and (_CLASS_PATH in value or _TARGET in value)


def _value(value: Any, where: str, allow: Collection[str] | None) -> Any:
    if _describes_an_object(value):
        return _object(value, where, allow, (), {})
    if isinstance(value, Mapping):
        return {key: _value(each, format_key(where, str(key)), allow) for key, each in value.items()}
    if isinstance(value, list):
        return [_value(each, f"{where}[{number}]", allow) for number, each in enumerate(value)]
    return value


def _object(
    tree: Mapping[str, Any],
    where: str,
    allow: Collection[str] | None,
    arguments: tuple[Any, ...],
    overrides: Mapping[str, Any],
) -> Any:
    of_lightning = _CLASS_PATH in tree
    words = (_CLASS_PATH, _INIT_ARGS) if of_lightning else (_TARGET, _PARTIAL)
    name = tree[words[0]]
    if of_lightning and (others := [key for key in tree if key not in words]):
        hint = closest(str(others[0]), words)
        raise ConfigError(
            f"{format_key(where, str(others[0]))}: beside {_CLASS_PATH}, there is only {_INIT_ARGS}{hint}"
        )
    given = (
        (tree.get(_INIT_ARGS) or {}) if of_lightning else {k: v for k, v in tree.items() if k not in words}
    )
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}.{_INIT_ARGS}: a mapping is needed, got {given!r:.200}")
    inside = f"{where}.{_INIT_ARGS}" if of_lightning else where
    made = {
        str(key): _value(value, format_key(inside, str(key)), allow)
        for key, value in given.items()
        if key not in overrides
    }
    called = functools.partial(
        _named(name, f"{where}.{words[0]}", allow), *arguments, **{**made, **overrides}
    )
    return called if tree.get(_PARTIAL) is True and not of_lightning else called()


def _named(name: Any, where: str, allow: Collection[str] | None) -> Any:
    if not isinstance(name, str):
        raise ConfigError(f"{where}: {name!r:.200} is not a name, as package.module.Class")
    if allow is not None and not name.startswith(tuple(allow)):
        raise ConfigError(f"{where}: {name} is not allowed; allowed is what begins with {', '.join(allow)}")
    found = import_name(name)
    if found is None:
        raise ConfigError(
            f"{where}: there is no {name}; it is looked for in the working directory and among the "
            "installed packages"
        )
    if not callable(found):
        raise ConfigError(f"{where}: {name} cannot be called")
    if allow is not None and not _is_defined_in(found, tuple(allow)):
        raise ConfigError(f"{where}: {name} is not allowed: it is defined elsewhere")
    return found


def _is_defined_in(found: Any, beginnings: tuple[str, ...]) -> bool:
    """Return whether a class or function is at home there: modules have others, and lists, as attributes."""
    owner = getattr(found, "__self__", None)
    is_free = owner is None or inspect.ismodule(owner) or inspect.isclass(owner)
    home = getattr(found, "__module__", None) or getattr(owner, "__name__", None)
    is_at_home = isinstance(home, str) and f"{home}.".startswith(beginnings)
    return (inspect.isclass(found) or inspect.isroutine(found)) and is_free and is_at_home


class ClassCheck:
    """Checks that the classes named in configs take the arguments that are given; imports each once."""

    def __init__(self) -> None:
        self._allowed: dict[str, list[str] | None] = {}

    def problem(self, config: Mapping[str, Any]) -> str | None:
        """Return what is wrong with the first class that cannot be made so, None if nothing is."""
        try:
            for where, tree in _trees(config, ""):
                self._check(where, tree)
        except ConfigError as error:
            return str(error)
        return None

    def _check(self, where: str, tree: Mapping[str, Any]) -> None:
        of_lightning = _CLASS_PATH in tree
        word = _CLASS_PATH if of_lightning else _TARGET
        name, inside = tree[word], _below(where, _INIT_ARGS) if of_lightning else where
        given = tree.get(_INIT_ARGS) or {} if of_lightning else tree
        if not isinstance(given, Mapping):
            raise ConfigError(f"{inside}: a mapping is needed, got {given!r:.200}")
        if not isinstance(name, str) or name not in self._allowed:
            self._allowed[name] = _allowed_arguments(_imported(name, _below(where, word)))
        allowed = self._allowed[name]
        if allowed is None:
            return
        for key in given:
            if key not in allowed and (of_lightning or key not in _WORDS_OF_HYDRA):
                meant = closest(key, allowed) if allowed else "; it takes none"
                raise ConfigError(f"{_below(inside, key)}: {name} takes no argument {key!r}{meant}")


def _trees(value: Any, where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Return the trees in a config that name a class, each with its place."""
    if isinstance(value, Mapping):
        if _describes_an_object(value):
            yield where, value
        for key, each in value.items():
            yield from _trees(each, _below(where, key))
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _trees(each, f"{where}[{number}]")


def _below(where: str, key: str) -> str:
    return format_key(where, key).removeprefix(".")


def _imported(name: Any, where: str) -> Callable[..., Any]:
    try:
        with redirect_stdout(sys.stderr):  # a module may print, and stdout holds the sweep's id alone
            return _named(name, where, None)  # type: ignore[no-any-return]
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        reason = " ".join(f"{type(error).__name__}: {text_of(error)}".split())
        raise ConfigError(f"{where}: {name} cannot be imported ({reason})") from None


def _allowed_arguments(called: Callable[..., Any]) -> list[str] | None:
    """Return the names of the arguments that a class or function takes; None if that are any, or unknown."""
    try:
        parameters = inspect.signature(called).parameters.values()
    except Exception:  # no signature, or its author's own code for one fails
        return None
    if any(each.kind is each.VAR_KEYWORD for each in parameters):
        return None
    return [each.name for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
