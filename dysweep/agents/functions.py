"""The user's function: imported by its name."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
import typing
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from dysweep.agents.isolation import importing
from dysweep.errors import ConfigError, FunctionError, closest, text_of
from dysweep.language import evaluate


def function_named(package: str | None, name: str | None) -> Callable[..., Any]:
    """Import the function that executes runs.

    Args:
        package: the dotted name of its module.
        name: its name there.

    Raises:
        ConfigError: one of them is missing, or the module is given as a path.
        FunctionError: the module cannot be imported, or has no such function.
    """
    if package is None or name is None:
        missing = "--package" if package is None else "--function"
        raise ConfigError(
            f"{missing}: missing; say which function executes a run (--package path.to.module --function "
            "main), or which program (--command 'python train.py --config {config}')"
        )
    if package.endswith(".py") or os.sep in package:
        dotted = ".".join(Path(os.path.normpath(package)).with_suffix("").parts)
        raise ConfigError(f"--package: {package!r} is a path; write it as a module's name: {dotted}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # for the whole process: the function may import its neighbours later
    try:
        with importing(package):
            module = evaluate.import_name(package)
    except SystemExit as error:
        raise FunctionError(
            f"--package: {package!r} ends its process while it is imported (exit code {error.code}); "
            'put what reads its command line below `if __name__ == "__main__":`'
        ) from None
    except Exception as error:
        traceback.print_exception(error.with_traceback(_users_part(error.__traceback__)))
        raise FunctionError(
            f"--package: {package!r} cannot be imported ({type(error).__name__}: {text_of(error)})"
        ) from None
    if module is None:
        raise FunctionError(
            f"--package: there is no module {package!r}; it is looked for in the working directory "
            "and among the installed packages, and is written with dots and without .py"
        )
    function = getattr(module, name, None)
    if function is None:
        defined = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise FunctionError(f"--function: {package} has no {name!r}{closest(name, defined)}")
    if not callable(function):
        raise FunctionError(f"--function: {package}.{name} is not a function but {function!r}")
    return typing.cast("Callable[..., Any]", function)


def _users_part(frames: TracebackType | None) -> TracebackType | None:
    """Leave out the frames of dysweep and of Python's import system, down to the user's module."""
    ours = (str(Path(__file__).parents[1]), "<frozen importlib", importlib.__file__)
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(ours):
        frames = frames.tb_next
    return frames
