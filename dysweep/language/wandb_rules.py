"""What W&B's own schema of a sweep configuration decides: keys, types, and bounds, checked at creation."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

from dysweep.errors import ConfigError, LanguageError, closest
from dysweep.language.distributions import distribution_of
from dysweep.language.hyperband import Hyperband
from dysweep.language.nodes import ROOT_WORDS
from dysweep.language.parameter import Parameter
from dysweep.language.tree import describe, format_key, format_path

logger = logging.getLogger("dysweep")

# Environment variables that lead the SDK to one certain run.
OF_ONE_RUN = tuple(
    f"WANDB_{name}" for name in "SWEEP_ID RUN_ID SWEEP_PARAM_PATH RESUME FORK_FROM RESUME_FROM".split()
)
_NOT_IN_A_PROJECT = "/\\#?%:"
_LONGEST_PROJECT = 128
_METHODS = ("grid", "random", "bayes", "custom")
_GOALS = ("minimize", "maximize")
_IMPUTE = ("latest", "best", "worst")
WANDB_KEYS = frozenset(
    """name description program project entity method metric metrics parameters early_terminate command
    run_cap scheduler controller job image_uri launch kind apiVersion""".split()
)
_OF_WANDB_ONLY = ("controller", "job", "image_uri", "launch")
_HYPERBAND = ("type", "min_iter", "max_iter", "s", "eta", "strict")
_RANGE, _NORMAL, _BETA = ("min", "max"), ("mu", "sigma"), ("a", "b")
_TAKES: dict[str, tuple[str, ...]] = {
    "categorical": ("values",),
    "categorical_w_probabilities": ("values", "probabilities"),
    "constant": ("value",),
    "int_uniform": _RANGE,
    "uniform": _RANGE,
    "q_uniform": (*_RANGE, "q"),
    "log_uniform": _RANGE,
    "log_uniform_values": _RANGE,
    "inv_log_uniform": _RANGE,
    "inv_log_uniform_values": _RANGE,
    "q_log_uniform": (*_RANGE, "q"),
    "q_log_uniform_values": (*_RANGE, "q"),
    "normal": _NORMAL,
    "q_normal": (*_NORMAL, "q"),
    "log_normal": _NORMAL,
    "q_log_normal": (*_NORMAL, "q"),
    "beta": _BETA,
    "q_beta": (*_BETA, "q"),
}
_EXPONENTS = ("log_uniform", "inv_log_uniform", "q_log_uniform")


def check_configuration(described: Mapping[str, Any], mode: str) -> None:
    """Check a sweep configuration except for its parameters; warn of what has no effect.

    Args:
        described: W&B's sweep configuration.
        mode: who serves the sweep, online or offline.

    Raises:
        ConfigError: W&B would refuse it, or it cannot work.
    """
    root = "sweep_configuration"
    for key in described:
        if key not in WANDB_KEYS and key not in ROOT_WORDS:
            known = sorted({*WANDB_KEYS, *ROOT_WORDS})
            raise ConfigError(f"{format_key(root, str(key))}: unknown key{closest(key, known)}")
    method = described["method"]
    if method not in _METHODS:
        raise ConfigError(f"{root}.method: no method {method!r}{closest(str(method), _METHODS)}")
    for key in ("name", "description", "project", "entity", "program"):
        if described.get(key) is not None and not isinstance(described[key], str):
            raise ConfigError(f"{root}.{key}: {described[key]!r} is not text; write it in quotes")
    cap = described.get("run_cap")
    if cap is not None and (type(cap) is not int or cap < 1):
        raise ConfigError(f"{root}.run_cap: must be a whole number of at least 1, got {cap!r}")
    if method == "custom" and mode == "offline":
        raise ConfigError(
            f"{root}.method: 'custom' is for W&B's scheduler; without W&B choose grid, random or bayes"
        )
    _check_order(described, mode, root)
    scheduled = method == "custom" or described.get("scheduler") is not None
    if described.get("metrics") is not None and not (scheduled and mode == "online"):
        logger.warning(
            "%s.metrics: only a scheduler of W&B's uses it; name one as metric: {name: loss, goal: minimize}",
            root,
        )
    _check_metric(described, mode, root)
    if described.get("early_terminate") is not None:
        _check_early_terminate(described, root, mode)
    if mode == "offline":
        if described.get("scheduler") is not None:
            raise ConfigError(
                f"{root}.scheduler: it needs W&B to serve the sweep; leave it out, or unset WANDB_MODE"
            )
        for key in _OF_WANDB_ONLY:
            if described.get(key) is not None:
                logger.warning("%s.%s: no effect offline; only W&B can do this", root, key)
    programs = [key for key in ("program", "command") if described.get(key) is not None]
    if programs:
        logger.warning(
            "%s.%s: used by agents that are given this file (-c FILE), not by the sweep's id alone",
            root, f" and {root}.".join(programs),
        )  # fmt: skip


def _check_order(described: Mapping[str, Any], mode: str, root: str) -> None:
    """Check the words about which points there are and in which order: they are not W&B's."""
    is_grid = described["method"] == "grid"
    for word in ("sweep_shuffle", "sweep_seed"):
        if word in described and type(described[word]) is not int:
            raise ConfigError(f"{root}.{word}: a whole number is needed, got {described[word]!r}")
    if "sweep_shuffle" in described:
        if not is_grid:
            raise ConfigError(
                f"{root}.sweep_shuffle: random and bayes have no order; sweep_seed makes them repeatable"
            )
        if mode == "online":
            raise ConfigError(
                f"{root}.sweep_shuffle: W&B fixes the order of a grid; WANDB_MODE=offline shuffles it"
            )
    if "sweep_seed" in described:
        if is_grid:
            raise ConfigError(f"{root}.sweep_seed: a grid draws nothing; sweep_shuffle shuffles it")
        if mode == "online":
            raise ConfigError(
                f"{root}.sweep_seed: W&B draws by itself and takes no seed; WANDB_MODE=offline draws with it"
            )


def _check_metric(described: Mapping[str, Any], mode: str, root: str) -> None:
    metric = described.get("metric")
    if metric is None:
        if described["method"] == "bayes":
            raise ConfigError(
                f"{root}.metric: missing, and bayes needs it; add {{name: NAME, goal: minimize}}"
            )
        return
    where = f"{root}.metric"
    if not isinstance(metric, dict) or not metric:
        raise ConfigError(f"{where}: write it as {{name: loss, goal: minimize}}")
    _check_keys(metric, ("name", "goal", "target", "impute", "impute_while_running"), where)
    if not isinstance(metric.get("name"), str) or not metric["name"]:
        raise ConfigError(f"{where}.name: the metric's name is needed, as {{name: loss, goal: minimize}}")
    if "goal" in metric and metric["goal"] not in _GOALS:
        raise ConfigError(f"{where}.goal: no goal {metric['goal']!r}{closest(str(metric['goal']), _GOALS)}")
    if "target" in metric:
        _number(metric, "target", where)
    for key, allowed in (("impute", _IMPUTE), ("impute_while_running", (*_IMPUTE, "false"))):
        if key in metric and metric[key] not in allowed:
            raise ConfigError(f"{where}.{key}: {metric[key]!r} is none of {', '.join(allowed)}")
        if key in metric and mode == "offline":
            logger.warning("%s.%s: no effect offline; a failed run counts as the worst so far", where, key)


def _check_early_terminate(described: Mapping[str, Any], root: str, mode: str) -> None:
    stopping, where = described["early_terminate"], f"{root}.early_terminate"
    example = "write it as {type: hyperband, min_iter: 3}"
    if not isinstance(stopping, dict):
        raise ConfigError(f"{where}: {example}")
    _check_keys(stopping, _HYPERBAND, where)
    if stopping.get("type") != "hyperband":
        raise ConfigError(f"{where}.type: {stopping.get('type')!r} is no type; W&B has hyperband; {example}")
    for key in ("min_iter", "max_iter"):
        if key in stopping and (type(stopping[key]) is not int or stopping[key] < 1):
            raise ConfigError(f"{where}.{key}: must be a whole number of at least 1, got {stopping[key]!r}")
    for key, more_than in (("s", 0), ("eta", 1)):
        if key in stopping and _number(stopping, key, where) <= more_than:
            raise ConfigError(f"{where}.{key}: must be more than {more_than}, got {stopping[key]!r}")
    if not isinstance(stopping.get("strict", True), bool):
        raise ConfigError(f"{where}.strict: must be true or false, got {stopping['strict']!r}")
    if "min_iter" not in stopping and "s" not in stopping and "max_iter" in stopping:
        raise ConfigError(f"{where}.s: missing; max_iter needs it, how many bands there are below max_iter")
    if "min_iter" not in stopping and "max_iter" not in stopping:
        raise ConfigError(f"{where}: needs min_iter, or max_iter and s; {example}")
    if described.get("metric") is None:
        raise ConfigError(
            f"{root}.metric: missing, and early_terminate needs it; add {{name: NAME, goal: minimize}}"
        )
    rule = Hyperband.of(described) if mode == "offline" else None
    if rule is not None and not rule.bands:
        raise ConfigError(
            f"{where}.max_iter: no run would be compared; make it larger than eta, or s smaller"
        )


def check_parameter(parameter: Parameter, method: str, mode: str) -> None:
    """Check W&B's description of a swept parameter.

    Args:
        parameter: the parameter.
        method: of the sweep.
        mode: who serves the sweep, online or offline.

    Raises:
        LanguageError: W&B would refuse it, or it means nothing.
    """
    node, where = parameter.node, format_path(parameter.path)
    if "parameters" in node:
        raise LanguageError(
            f"{where}.parameters",
            "W&B's nested `parameters` is not needed; write its keys in its place, each with `sweep: true`",
        )
    if node and not {"distribution", "values", "value", "min", "max"} & node.keys():
        needs = "needs" if len(node) == 1 else "need"
        raise LanguageError(
            where, f"{' and '.join(node)} {needs} a distribution; add distribution: normal, for example"
        )
    kind = distribution_of(node)
    if not isinstance(kind, str) or kind not in _TAKES:
        raise LanguageError(
            f"{where}.distribution", f"no distribution {kind!r}{closest(str(kind), sorted(_TAKES))}"
        )
    if kind == "categorical" and "probabilities" in node:
        raise LanguageError(
            f"{where}.distribution", "'categorical' takes no probabilities; leave the distribution out"
        )
    for key in node:
        if key != "distribution" and key not in _TAKES[kind]:
            raise LanguageError(
                format_key(where, str(key)), f"{kind!r} does not take it{closest(key, _TAKES[kind])}"
            )
    for key in {"min", "max", "values", "value", "probabilities"} & set(_TAKES[kind]):
        if key not in node:
            raise LanguageError(where, f"{kind!r} needs {' and '.join(_TAKES[kind])}, and {key} is missing")
    for key in {"min", "max", "q", "mu", "sigma", "a", "b"} & node.keys():
        _number(node, key, where)
    for key in {"q", "sigma", "a", "b"} & node.keys():
        if node[key] <= 0:
            raise LanguageError(f"{where}.{key}", f"must be more than 0, got {node[key]!r}")
    if same := parameter.same_values:
        logger.warning("%s.values: %s are the same value, and get a run each", where, " and ".join(same))
    if "min" in node:
        _check_range(node, kind, where, is_drawn=mode == "online" or method != "grid")
    if "probabilities" in node:
        if method == "bayes" and mode == "offline":
            logger.warning("%s.probabilities: no effect on a search offline; every value counts alike", where)
        _check_probabilities(node["probabilities"], f"{where}.probabilities")


def _check_range(node: Mapping[str, Any], kind: str, where: str, is_drawn: bool) -> None:
    low, high = node["min"], node["max"]
    if low > high or (low == high and is_drawn):
        problem = "is larger than" if low > high else "is the same as"
        raise LanguageError(f"{where}.min", f"{low!r} {problem} max, which is {high!r}")
    if kind == "int_uniform" and (broken := [key for key in _RANGE if type(node[key]) is not int]):
        raise LanguageError(f"{where}.{broken[0]}", "'int_uniform' takes whole numbers as min and max")
    if kind.endswith("_values") and low <= 0:
        raise LanguageError(f"{where}.min", f"{kind!r} needs more than 0, got {low!r}")
    if kind in _EXPONENTS and low > 0:
        logger.warning(
            "%s: min and max of %s are exponents of e, so this draws from %s to %s; "
            "to draw from %s to %s, write distribution: %s_values",
            where, kind, *_drawn(kind, low, high), low, high, kind,
        )  # fmt: skip
    if kind.startswith("q_") and "q" not in node and not all(type(bound) is int for bound in (low, high)):
        logger.warning("%s: without q the values are whole numbers; add q: 0.1, for example", where)


def _drawn(kind: str, low: float, high: float) -> list[str]:
    signs = (-high, -low) if kind.startswith("inv_") else (low, high)
    return [f"{math.exp(bound):.4g}" if bound < 700 else "more than a number can be" for bound in signs]


def _check_probabilities(probabilities: Any, where: str) -> None:
    if not isinstance(probabilities, list):
        raise LanguageError(where, "a list is needed, one number for each value")
    for each in probabilities:
        if isinstance(each, bool) or not isinstance(each, (int, float)) or not each >= 0:
            raise LanguageError(where, f"each must be a number of at least 0, got {each!r}")
    if not math.isclose(sum(probabilities), 1, rel_tol=1e-6):
        raise LanguageError(where, f"must add up to 1, and are {sum(probabilities):.6g} together")


def _check_keys(mapping: Mapping[str, Any], known: Iterable[str], where: str) -> None:
    for key in mapping:
        if key not in known:
            raise ConfigError(f"{format_key(where, str(key))}: unknown key{closest(key, known)}")


def _number(mapping: Mapping[str, Any], key: str, where: str) -> float:
    value = mapping[key]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise LanguageError(f"{where}.{key}", f"a finite number is needed, this is {describe(value)}")
    return value


def check_project(name: str) -> None:
    """Check the name of a project, as the SDK does when a run starts.

    Raises:
        ConfigError: it is too long, or has a character that W&B does not allow there.
    """
    if found := sorted(set(name) & set(_NOT_IN_A_PROJECT)):
        raise ConfigError(
            f"project: {name!r} has {' '.join(found)}; W&B allows none of {' '.join(_NOT_IN_A_PROJECT)} "
            "there (the entity is a setting of its own)"
        )
    if len(name) > _LONGEST_PROJECT:
        raise ConfigError(f"project: has {len(name)} characters; W&B allows {_LONGEST_PROJECT}")
