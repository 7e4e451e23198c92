"""From what a user has written to a sweep that is known to be sound."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dysweep.errors import ConfigError, LanguageError, closest, misspelt
from dysweep.files import load_file
from dysweep.space import Space
from dysweep.tree import copy_tree, describe, format_path
from dysweep.upsert import carries_code

logger = logging.getLogger("dysweep")

_METHODS = ("grid", "random", "bayes")
_WANDB_KEYS = frozenset(
    """name description program project entity method metric parameters early_terminate command run_cap
    scheduler controller job image_uri launch""".split()
)


@dataclass(frozen=True)
class Definition:
    """A sweep that has not been made yet.

    Args:
        base_config: the tree that every run starts from.
        sweep_configuration: W&B's sweep configuration, with the parameters as written.
        space: the compiled space.
    """

    base_config: dict[str, Any]
    sweep_configuration: dict[str, Any]
    space: Space


def define(
    base_config: Any, sweep_configuration: Any, settings: Mapping[str, tuple[str, Any]], allow_eval: bool
) -> Definition:
    """Read and check a sweep: every declared value is upserted once.

    Args:
        base_config: a tree, or the path of a YAML or JSON file.
        sweep_configuration: the same; a W&B sweep configuration, or its bare parameters.
        settings: for keys of W&B's sweep configuration the setting that may give them too, and its value.
        allow_eval: whether code in the sweep may run.

    Raises:
        ConfigError: something is missing, contradicts itself, or cannot be done.
    """
    base = _tree(base_config, "base_config")
    described, path = _described(sweep_configuration, settings)
    space = Space.compile(described["parameters"], path)
    if not space.swept:
        raise LanguageError(
            format_path(path), "nothing is swept; mark at least one setting with `sweep: true`"
        )
    _check_alternatives(space, base, allow_eval)
    return Definition(base, described, space)


def _tree(value: Any, name: str) -> dict[str, Any]:
    try:
        tree = load_file(value) if isinstance(value, str) else value
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None
    if tree is None:
        raise ConfigError(
            f"{name}: missing; give a mapping, or the path of a YAML or JSON file "
            "(as a rule in the file of settings, -c FILE)"
        )
    copied = copy_tree(tree, (name,))
    if not isinstance(copied, dict):
        raise ConfigError(f"{name}: a mapping is needed, this is {describe(copied)}")
    return copied


def _described(
    sweep_configuration: Any, settings: Mapping[str, tuple[str, Any]]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Give W&B's sweep configuration with its defaults, and where its parameters stand."""
    given = _tree(sweep_configuration, "sweep_configuration")
    path: tuple[str, ...] = ("sweep_configuration",)
    if isinstance(given.get("parameters"), dict):
        described = given
        path = (*path, "parameters")
        for key in described:
            if key not in _WANDB_KEYS and difflib.get_close_matches(key, _WANDB_KEYS, n=1):
                raise ConfigError(f"sweep_configuration.{key}: no such key{closest(key, _WANDB_KEYS)}")
    else:
        if given.get("method") in _METHODS:
            instead = [key for key in given if misspelt(key, ["parameters"])]
            hint = f"; did you mean it by {instead[0]!r}?" if instead else ", which holds what is swept"
            raise ConfigError(f"sweep_configuration: `method` stands here without `parameters`{hint}")
        described = {"parameters": given}
    for key, (setting, value) in settings.items():
        if value is not None and described.setdefault(key, value) != value:
            raise ConfigError(
                f"{setting}: {value!r} contradicts sweep_configuration.{key}, which is {described[key]!r}; "
                "give it once"
            )
    method = described.setdefault("method", "grid")
    if method not in _METHODS and (meant := misspelt(str(method), _METHODS)):
        raise ConfigError(f"sweep_configuration.method: no method {method!r}; did you mean {meant!r}?")
    if not isinstance(described.get("metric") or {}, dict):
        raise ConfigError("sweep_configuration.metric: write it as {name: loss, goal: minimize}")
    return described, path


def _check_alternatives(space: Space, base_config: Mapping[str, Any], allow_eval: bool) -> None:
    """Upsert every declared value once, so that a broken one is found before any machine works."""
    if carries_code(space.tree) and not allow_eval:
        logger.warning(
            "the sweep carries code (dy__eval): its agents need --allow_eval True, and it was not checked"
        )
        return
    first = {p.name: p.encode(0) if p.values else p.node.get("min", p.node.get("mu", 1)) for p in space.swept}
    space.resolve(base_config, first, allow_eval)
    for parameter in space.swept:
        for index in range(1, len(parameter.values)):
            space.resolve(base_config, {**first, parameter.name: parameter.encode(index)}, allow_eval)
