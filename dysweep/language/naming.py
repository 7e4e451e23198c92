"""The names of runs: a template over the parameters, and a function that may change it."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import re
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from dysweep.errors import ConfigError, closest, text_of
from dysweep.language import evaluate
from dysweep.language.flat import TAKEN_BY_WANDB
from dysweep.language.space import Space
from dysweep.text import short_value

logger = logging.getLogger("dysweep")

_LONGEST_NAME = 256
_FORMAT = re.compile(r"\+?0?[0-9]{0,2}(\.[0-9]{1,2})?[deEfgG%]?")
NameOf = Callable[[dict[str, Any], "dict[str, Any] | None"], "str | None"]

_ADJECTIVES = """
    amber bold brave bright brisk calm clear cool crisp deep eager early fair fine fresh gentle glad
    golden grand green happy kind late light lively lucky mild misty noble polar proud quick quiet rapid
    rosy royal silent silver smooth snowy soft solar steady still sunny swift vivid warm wild wise young
""".split()
_NOUNS = """
    bird bloom brook cloud comet coral creek dawn dew dune eagle field fire flower forest fox frost
    garden glade grove harbor hill island lake leaf meadow mist moon moss mountain night oak ocean pine
    planet pond rain reef river rose sea shadow sky snow sound spring star stone storm sun sunset tree
    valley water wave wind wood
""".split()


def check_template(template: str | None, space: Space) -> None:
    """Check that a run name's template fits the parameters.

    Raises:
        ConfigError: it names no parameter, or its format does not fit.
    """
    if template is not None:
        named_after(template, space.example)


def paths_of(keys: Sequence[str] | None) -> list[str]:
    """Return the paths of a list of them, or of a text with commas between them."""
    parts = keys.split(",") if isinstance(keys, str) else keys or ()
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def short_keys(paths: Collection[str], base_config: Mapping[str, Any], space: Space) -> dict[str, str]:
    """Give settings that are deep in the tree short keys, for W&B's filters.

    Args:
        paths: the settings, each as `model.init_args.encoder.depth`.
        base_config: the tree that every run starts from.
        space: the space, whose parameters have keys of their own.

    Returns:
        the paths by key: the last part of a path, or as many parts as make it unlike the others.

    Raises:
        ConfigError: a path has no key of its own.
    """
    keys: dict[str, str] = {}
    for path in paths:
        parts = path.split(".")
        ends = (".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1))
        key = next((end for end in ends if end not in keys and end not in space.parameters), None)
        if key is None or key in TAKEN_BY_WANDB:
            raise ConfigError(f"wandb_keys: {path!r} has a key in W&B already; leave it out")
        if value_at(base_config, path) is None:
            logger.warning("wandb_keys: base_config has no %r; only runs whose config has it show it", path)
        keys[key] = path
    return keys


def value_at(tree: Any, path: str) -> Any:
    """Return what is at a path as `layers.0.width` of a tree; None if there is nothing."""
    for part in path.split("."):
        if isinstance(tree, Mapping):
            tree = tree.get(part)
        elif isinstance(tree, list) and part.isdecimal() and int(part) < len(tree):
            tree = tree[int(part)]
        else:
            return None
    return tree


def named_after(template: str, assignment: Mapping[str, Any], inactive: Collection[str] = ()) -> str:
    """Fill a run name's template.

    Args:
        template: text with parameters' names in braces; `{lr:.0e}` formats a number.
        assignment: what the sweep chose.
        inactive: further parameters, which this run does not use: each becomes `-`.

    Returns:
        the name, shortened to 256 characters.

    Raises:
        ConfigError: the template names no parameter, or its format does not fit.
    """

    def fill(match: re.Match[str]) -> str:
        known = {*assignment, *inactive}
        name, _, form = (match[1], "", "") if match[1] in known else match[1].rpartition(":")
        if name not in known:
            raise ConfigError(f"run_name: {match[1]!r} is not a parameter{closest(match[1], assignment)}")
        # Not Python's whole language of formats: `{z:3000000000}` asks for as many bytes.
        if not _FORMAT.fullmatch(form):
            raise ConfigError(f"run_name: {match[0]}: {form!r} is not a format; use one as .0e, .3f or 04d")
        if name not in assignment:
            return "-"
        try:
            return format(assignment[name], form)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"run_name: {match[0]} does not fit {assignment[name]!r} ({error})") from None

    field = re.compile(r"\{([^{}]+)\}")
    if brace := re.search("[{}]", field.sub("", template)):
        raise ConfigError(f"run_name: {brace[0]!r} alone; a parameter stands between two braces, as {{lr}}")
    return short_value(field.sub(fill, template), _LONGEST_NAME)


def naming(
    template: str | None, changer: str | Mapping[str, Any] | None, space: Space, allow_eval: bool
) -> NameOf:
    """Return the function (assignment, config) -> the run's name, None where W&B shall choose it.

    Args:
        template: see `named_after`; None for no template.
        changer: dotted name or code of a function (config, run_name) -> name, or a mapping of 0.1:
            `function_descriptor`, or `expression` and `function_of_interest`; None for none.
        space: the space of the sweep.
        allow_eval: whether the changer may be code.

    Raises:
        ConfigError: the template names no parameter, or the changer is not a function or is code.
    """
    check_template(template, space)
    change = None if changer is None else _load_changer(changer, allow_eval)

    def name_of(assignment: dict[str, Any], tree: dict[str, Any] | None) -> str | None:
        name = None if template is None else named_after(template, assignment, space.parameters)
        if change is None or tree is None:
            return name
        try:
            changed = change(copy.deepcopy(tree), name or _readable(assignment))
        except Exception as error:
            problem = f"{type(error).__name__}: {text_of(error)}"
            raise ConfigError(f"run_name_changer: it failed with {problem}") from error
        if not isinstance(changed, str):
            raise ConfigError(f"run_name_changer: it returned {type(changed).__name__}, and a name is text")
        return changed

    return name_of


def _load_changer(changer: str | Mapping[str, Any], allow_eval: bool) -> Callable[..., Any]:
    text, function_of_interest = _code_of(changer)
    dotted = re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", text.strip())
    if not dotted and not allow_eval:
        raise ConfigError(
            "run_name_changer: this is code, and code runs only with allow_eval: true (--allow_eval True)"
        )
    try:
        return evaluate.load_function(text, function_of_interest)
    except Exception as error:
        raise ConfigError(f"run_name_changer: {text!r} gives no function ({text_of(error)})") from None


def _code_of(changer: str | Mapping[str, Any]) -> tuple[str, str | None]:
    """Find the text in a changer, and the name of the function that it defines."""
    if isinstance(changer, str):
        return changer, None
    words = ("function_descriptor", "expression", "function_of_interest")
    for key, value in changer.items():
        if key not in words or not isinstance(value, (str, type(None))):
            raise ConfigError(f"run_name_changer.{key}: text is needed, below {' or '.join(words)}")
    text = changer.get("function_descriptor") or changer.get("expression")
    if not text:
        raise ConfigError("run_name_changer: missing; give an expression, or a function_descriptor")
    name = changer.get("function_of_interest")
    if name is None and (defined := re.findall(r"^def\s+(\w+)", textwrap.dedent(text), flags=re.MULTILINE)):
        name = defined[-1]
    return text, name


def _readable(assignment: Mapping[str, Any]) -> str:
    """Build a readable name, the same for the same assignment: `calm-river-417`."""
    digest = int.from_bytes(hashlib.sha256(json.dumps(assignment, default=str).encode()).digest(), "big")
    digest, number = divmod(digest, 1000)
    digest, first = divmod(digest, len(_ADJECTIVES))
    return f"{_ADJECTIVES[first]}-{_NOUNS[digest % len(_NOUNS)]}-{number}"
