"""The names of runs: a template over the parameters, and a function that may change it."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any

from dysweep import evaluate
from dysweep.errors import ConfigError, closest
from dysweep.offline import NameOf
from dysweep.space import Space


def check_template(template: str | None, space: Space) -> None:
    """Make sure that a run name's template fits the parameters.

    Raises:
        ConfigError: it names no parameter, or its format does not fit.
    """
    if template is not None:
        named_after(template, {p.name: p.encode(0) if p.values else 1.0 for p in space.swept})


def named_after(template: str, assignment: Mapping[str, Any]) -> str:
    """Fill a run name's template.

    Args:
        template: text with parameters' names in braces; `{lr:.0e}` formats a number.
        assignment: what the sweep chose.

    Raises:
        ConfigError: the template names no parameter, or its format does not fit.
    """

    def fill(match: re.Match[str]) -> str:
        name, _, form = (match[1], "", "") if match[1] in assignment else match[1].rpartition(":")
        if name not in assignment:
            raise ConfigError(f"run_name: {match[1]!r} is no parameter{closest(match[1], assignment)}")
        try:
            return format(assignment[name], form)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"run_name: {match[0]} does not fit {assignment[name]!r} ({error})") from None

    return re.sub(r"\{([^{}]+)\}", fill, template)


def naming(template: str | None, changer_text: str | None, space: Space, allow_eval: bool) -> NameOf:
    """Give the function (assignment, config) -> the run's name, None where W&B shall choose it.

    Args:
        template: see `named_after`; None for no template.
        changer_text: dotted name or code of a function (config, run_name) -> name; None for none.
        space: the space of the sweep.
        allow_eval: whether the changer may be code.

    Raises:
        ConfigError: the template names no parameter, or the changer is no function or is code.
    """
    check_template(template, space)
    changer = None if changer_text is None else _load_changer(changer_text, allow_eval)

    def name_of(assignment: dict[str, Any], tree: dict[str, Any] | None) -> str | None:
        name = None if template is None else named_after(template, assignment)
        if changer is None or tree is None:
            return name
        try:
            return str(changer(copy.deepcopy(tree), name))
        except Exception as error:
            raise ConfigError(f"run_name_changer: it failed with {type(error).__name__}: {error}") from error

    return name_of


def _load_changer(text: str, allow_eval: bool) -> Callable[..., Any]:
    dotted = re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", text.strip())
    if not dotted and not allow_eval:
        raise ConfigError("run_name_changer: this is code, and code runs only with allow_eval: true")
    try:
        return evaluate.load_function(text)
    except Exception as error:
        raise ConfigError(f"run_name_changer: {text!r} gives no function ({error})") from None
