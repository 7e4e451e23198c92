"""`dy__eval`: from the text of an expression to the Python function that it names."""

from __future__ import annotations

import ast
import builtins
import importlib
import os
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dysweep.errors import LanguageError
from dysweep.language.placed import unwrap
from dysweep.language.tree import EVAL, TreePath, describe, format_path

_INLINE = re.compile(r"\s*dy__eval\((.*)\)\s*", re.DOTALL)
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def inline_expression(text: str) -> str | None:
    """Return EXPR if the whole text is `dy__eval(EXPR)`.

    Args:
        text: any text of a configuration.

    Returns:
        the expression, or None for ordinary text, also text that merely mentions `dy__eval`.
    """
    match = _INLINE.fullmatch(text) if "dy__eval" in text else None
    return match[1].strip() if match and _is_one_call(text.strip()) else None


def _is_one_call(text: str) -> bool:
    """Return whether the text is one call, and not `dy__eval(f) and dy__eval(g)`."""
    try:
        return isinstance(ast.parse(text, mode="eval").body, ast.Call)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        depth = 0
        for position, letter in enumerate(text):
            depth += {"(": 1, ")": -1}.get(letter, 0)
            if letter == ")" and depth == 0:
                return position == len(text) - 1
        return True


def checked_form(form: Any, path: TreePath) -> dict[str, Any]:
    """Return what is below `dy__eval` as a mapping: expression, function_of_interest, context.

    Raises:
        LanguageError: it is neither text nor such a mapping.
    """
    if isinstance(form, str):
        return {"expression": form}
    if not isinstance(form, dict):
        raise LanguageError(format_path(path), f"{EVAL} is text or a mapping, this is {describe(form)}")
    words: dict[str, Any] = {name: unwrap(item, path)[0] for name, item in form.items()}
    allowed = {"expression": str, "function_of_interest": str | None, "context": dict | None}
    for name, item in words.items():
        if name not in allowed or not isinstance(item, allowed[name]):
            raise LanguageError(
                format_path((*path, name)),
                f"{EVAL} takes expression and function_of_interest (text) and context (a mapping)",
            )
    if "expression" not in words:
        raise LanguageError(format_path(path), f"{EVAL} lacks its expression")
    return words


def load_function(
    expression: str, function_of_interest: str | None = None, context: Mapping[str, Any] | None = None
) -> Callable[..., Any]:
    """Turn the text of an expression into a function. This runs code.

    Args:
        expression: a dotted name that can be imported, else a Python expression, else a block of code.
        function_of_interest: the name that a block of code defines and that is wanted.
        context: names that the code can use besides its own.

    Returns:
        the function.

    Raises:
        ValueError: the text is not Python, or gives no function; the message says which.
        Exception: whatever the code raises when it is run.
    """
    text = textwrap.dedent(expression).strip()
    if function_of_interest is None and _DOTTED.fullmatch(text):
        found = import_name(text)
        if callable(found):
            return found  # type: ignore[no-any-return]
    names: dict[str, Any] = {"__builtins__": builtins, "__name__": "dy__eval", **(context or {})}
    if function_of_interest is None:
        try:
            code = compile(f"({text}\n)", "<dy__eval>", "eval")
        except SyntaxError as error:
            raise ValueError(
                f"{error.msg} in line {error.lineno}. Give an expression such as `lambda c: c['lr'] * 2`, "
                "the dotted name of a function, or a block of code together with function_of_interest"
            ) from error
        function = eval(code, names)
    else:
        try:
            code = compile(text, "<dy__eval>", "exec")
        except SyntaxError as error:
            raise ValueError(f"{error.msg} in line {error.lineno} of the code") from error
        exec(code, names)
        if function_of_interest not in names:
            raise ValueError(f"the code defines no {function_of_interest!r} (function_of_interest)")
        function = names[function_of_interest]
    if not callable(function):
        raise ValueError(f"a function is needed, this is {function!r}")
    return function  # type: ignore[no-any-return]


def import_name(dotted: str) -> Any:
    """Import what a dotted name stands for, the working directory included.

    Args:
        dotted: as in `package.module.Class.method`.

    Returns:
        the object, or None if there is no such module or attribute.

    Raises:
        Exception: whatever a module raises while it is imported, a failing import inside it included.
    """
    parts = dotted.split(".")
    with working_directory_importable():
        for length in range(len(parts), 0, -1):
            module_name = ".".join(parts[:length])
            try:
                found: Any = importlib.import_module(module_name)
            except ModuleNotFoundError as error:
                if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
                    raise
                continue
            for part in parts[length:]:
                found = getattr(found, part, None)
            return found
    return None


@contextmanager
def working_directory_importable() -> Iterator[None]:
    """Let modules of the working directory be imported, as `python -m` does."""
    here = os.getcwd()
    if here in sys.path or "" in sys.path:
        yield
        return
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)


def is_plain(value: Any) -> bool:
    """Return whether a value is a scalar without code, which can be put anywhere."""
    return not isinstance(value, (dict, list)) and not carries_code(value)


def carries_code(tree: Any) -> bool:
    """Return whether code (`dy__eval`) is anywhere in a tree."""
    if isinstance(tree, dict):
        return EVAL in tree or any(map(carries_code, tree.values()))
    if isinstance(tree, list):
        return any(map(carries_code, tree))
    return isinstance(tree, str) and inline_expression(tree) is not None
