"""From what a user has written to a sweep that is known to be sound."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dysweep.errors import ConfigError, LanguageError, closest, misspelt
from dysweep.files import load_file
from dysweep.language.base_fit import check_fit
from dysweep.language.nodes import ROOT_WORDS
from dysweep.language.parameter import check_alternatives
from dysweep.language.space import Space
from dysweep.language.tree import GROUP, copy_tree, describe, format_key, format_path
from dysweep.language.value_checks import check_values
from dysweep.language.wandb_rules import check_configuration, check_parameter
from dysweep.limits import check_size

logger = logging.getLogger("dysweep")

_METHODS = ("grid", "random", "bayes", "custom")
_LARGER_IS_BETTER = re.compile(
    r"(^|[^a-z])(acc|accuracy|auc|auroc|f1|score|reward|return|bleu|iou|miou|dice|psnr|ssim|recall|precision)"
    r"([^a-z]|$)",
    re.IGNORECASE,
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
    base_config: Any,
    sweep_configuration: Any,
    settings: Mapping[str, tuple[str, Any]],
    allow_eval: bool,
    mode: str,
) -> Definition:
    """Read and check a sweep: every declared value is upserted once.

    Args:
        base_config: a tree, or the path of a YAML or JSON file.
        sweep_configuration: the same; a W&B sweep configuration, or its bare parameters.
        settings: for keys of W&B's sweep configuration (`metric.name` for one of the metric's) the setting
            that may give them too, and its value.
        allow_eval: whether code in the sweep may run.
        mode: who serves the sweep, online or offline.

    Raises:
        ConfigError: something is missing, contradicts itself, or cannot be done.
    """
    base = _tree(base_config, "base_config")
    described, path = _described(sweep_configuration, settings, base)
    check_configuration(described, mode)
    method, exclude = described["method"], described.get("sweep_exclude", ())
    space = Space.compile(described["parameters"], path, method, exclude)
    for parameter in space.flat:
        check_parameter(parameter, method, mode)
        if parameter.in_full and mode == "online":
            check_alternatives(parameter.size, parameter.path)
        if parameter.is_repeat and method != "grid" and mode == "online":
            raise LanguageError(
                f"{format_path(parameter.path)}.sweep_repeats",
                "W&B cannot repeat what it draws; choose method: grid, or mode: offline",
            )
    if not space.swept:
        raise LanguageError(
            format_path(path), "nothing is swept; mark at least one setting with `sweep: true`"
        )
    check_values(space, base, allow_eval)
    check_fit(space, base, base_config)
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
    check_size(tree, name)
    copied = copy_tree(tree, (name,))
    if not isinstance(copied, dict):
        raise ConfigError(f"{name}: a mapping is needed, this is {describe(copied)}")
    return copied


def _described(
    sweep_configuration: Any, settings: Mapping[str, tuple[str, Any]], base: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return W&B's sweep configuration with its defaults, and where its parameters are."""
    given = _tree(sweep_configuration, "sweep_configuration")
    path: tuple[str, ...] = ("sweep_configuration",)
    if isinstance(given.get("parameters"), dict):
        described = given
        path = (*path, "parameters")
    else:
        if given.get("method") in _METHODS and "method" not in base:
            instead = [key for key in given if misspelt(key, ["parameters"])]
            hint = f"; did you mean it by {instead[0]!r}?" if instead else ", which holds what is swept"
            raise ConfigError(f"sweep_configuration: `method` is set without `parameters`{hint}")
        words = {key: given.pop(key) for key in ROOT_WORDS if key in given}
        for key in given:
            if key.startswith("sweep_") and not key.startswith(GROUP) and key not in base:
                raise ConfigError(f"{format_key(path[0], key)}: unknown word{closest(key, ROOT_WORDS)}")
        described = {"parameters": given, **words}
    if isinstance(described.get("metric"), str):
        raise ConfigError("sweep_configuration.metric: write it as {name: loss, goal: minimize}")
    for key, (setting, value) in settings.items():
        if value is not None:
            _complete(described, key, setting, value)
    described.setdefault("method", "grid")
    metric = described.get("metric")
    if isinstance(metric, dict):
        if "name" not in metric and "goal" in metric and settings["metric.goal"][1] == metric["goal"]:
            raise ConfigError("goal: no effect without a metric; add its name (metric: NAME)")
        if "goal" not in metric and _LARGER_IS_BETTER.search(str(metric.get("name"))):
            logger.warning(
                "sweep_configuration.metric: %s has no goal, so it is minimized; add `goal`",
                metric["name"],
            )
    return described, path


def _complete(described: dict[str, Any], key: str, setting: str, value: Any) -> None:
    """Put in a setting that is given beside the sweep configuration."""
    place = described
    *parents, last = key.split(".")
    for parent in parents:
        if place.get(parent) is None:
            place[parent] = {}
        place = place[parent]
    if place.setdefault(last, value) != value:
        raise ConfigError(
            f"{setting}: {value!r} contradicts sweep_configuration.{key}, which is {place[last]!r}; "
            "give it once"
        )
