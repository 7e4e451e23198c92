"""Checks with W&B's own `sweeps` package: it takes the compiled parameters, and its choices are decoded.

`sweeps` needs numpy < 2, so `.ci/run` executes this file in an environment of its own, without wandb.
"""

import json
import logging
import random
import sys
import warnings
from pathlib import Path

warnings.simplefilter("ignore")  # sweeps is older than the pydantic that it gets

from sweeps import SweepConfig, SweepRun, next_run, schema_violations_from_proposed_config  # noqa: E402

from dysweep import LanguageError, Space  # noqa: E402
from dysweep.language.wandb_rules import _TAKES, check_parameter  # noqa: E402

DATA = Path(__file__).parent / "data"
POINTS = 5
NAME_RULE = "does not match '^^[A-Za-z_][A-Za-z0-9_.-]*$'"  # dysweep warns of other names and keeps them
EXAMPLES = [
    (
        "a distribution",
        {"lr": {"sweep": True, "distribution": "log_uniform_values", "min": 1e-4, "max": 1.0}},
    ),
    ("a range", {"n": {"sweep": True, "min": 1, "max": 9}, "x": {"sweep": True, "min": 0.0, "max": 1.0}}),
    ("trees without aliases", {"a": {"sweep": True, "values": [{"b": {}}, [1, {"c": None}], 3, "text"]}}),
    ("aliases", {"a": {"sweep": True, "sweep_alias": ["on", 1], "values": [{"b": 1}, None]}}),
    ("probabilities", {"a": {"sweep": True, "values": [1, 2], "probabilities": [0.3, 0.7]}}),
]


def golden_sweeps():
    """Give (name, parameters) of all golden data that compiles."""
    for file in ("vectors.jsonl", "cases.jsonl"):
        for line in (DATA / file).read_text(encoding="utf-8").splitlines():
            case = json.loads(line)
            if isinstance(case.get("sweep_parameters"), dict):
                yield case["id"], case["sweep_parameters"]


def grid_of(case):
    """Return the space of a golden grid, and its number of points; None if it is another one."""
    configuration = case.get("sweep_configuration", {"method": "grid"})
    mine = {"run_cap", "sweep_shuffle"} & configuration.keys()
    if "count" not in case or configuration["method"] != "grid" or case.get("bare") or mine:
        return None
    exclude = configuration.get("sweep_exclude", ())
    return Space.compile(case["sweep_parameters"], exclude=exclude), case["count"]


def check_counts():
    """Let the package hand out every golden grid to its end; give their number."""
    grids = 0
    for line in (DATA / "spaces.jsonl").read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        if (found := grid_of(case)) is None:
            continue
        space, count = found
        config = {"method": "grid", "parameters": space.parameters}
        violations = schema_violations_from_proposed_config(config)
        if any(NAME_RULE in violation for violation in violations):
            continue
        assert violations == [], f"{case['id']}: {violations}"
        runs = []
        while (chosen := next_run(SweepConfig(config), runs)) is not None and len(runs) <= count:
            runs.append(SweepRun(name=f"run{len(runs)}", config=chosen.config, state="finished"))
        assert len(runs) == count, f"{case['id']}: {len(runs)} runs, not {count}"
        grids += 1
    return grids


def check(name, parameters):
    """Let the package validate a space and choose points of it; give the number of points."""
    try:
        space = Space.compile(parameters)
    except LanguageError:
        return 0
    if not space.swept:
        return 0
    grid = all(parameter.values and "probabilities" not in parameter.node for parameter in space.swept)
    config = {"method": "grid" if grid else "random", "parameters": space.parameters}
    violations = schema_violations_from_proposed_config(config)
    if any(NAME_RULE in violation for violation in violations):
        return 0
    assert violations == [], f"{name}: {violations}"
    runs = []
    for _ in range(POINTS):
        chosen = next_run(SweepConfig(config), runs)
        if chosen is None:
            break
        runs.append(SweepRun(name=f"run{len(runs)}", config=chosen.config, state="finished"))
        for parameter in space.swept:
            sent = chosen.config[parameter.name]["value"]
            assert not parameter.values or parameter.index_of(sent) is not None, name
    return len(runs)


KINDS = [*_TAKES, "gauss"]
NUMBERS = [0, 1, 2, 3, 0.5, 1.5, -1, -0.5, 1.0, True, "a"]


def random_node(draw):
    """Give a random description of a parameter, right or wrong."""
    node = {"distribution": draw.choice(KINDS)} if draw.random() < 0.6 else {}
    keys = draw.sample(["min", "max", "q", "mu", "sigma", "a", "b"], draw.choice([0, 1, 2, 2, 3]))
    node.update({key: draw.choice(NUMBERS) for key in keys})
    if draw.random() < 0.3:
        node = {**node, "values": [1, 2]} if draw.random() < 0.2 else {"values": [1, 2]}
    if draw.random() < 0.2:
        node["probabilities"] = draw.choice([[0.5, 0.5], [0.5, 0.6], [1.5, -0.5]])
    return node or {"value": 1}


def compare_verdicts(number):
    """Let dysweep and the package judge random parameters; give how many they both refuse."""
    draw, both = random.Random(0), 0
    for _ in range(number):
        node = random_node(draw)
        theirs = schema_violations_from_proposed_config({"method": "random", "parameters": {"p": node}})
        if any("base-e exponents" in violation for violation in theirs):
            continue  # dysweep only warns
        try:
            [parameter] = Space.compile({"p": {"sweep": True, **node}}).swept
            check_parameter(parameter, "random", "online")
            refused = False
        except LanguageError:
            refused = True
        beyond = 0 in (node.get("sigma"), node.get("a"), node.get("b"))  # taken by the package, draws NaN
        assert refused == bool(theirs) or (beyond and refused), f"{node}: {theirs}"
        both += refused
    return both


def main():
    """Check everything and say how much it was."""
    logging.disable()
    print(f"{compare_verdicts(5000)} of 5000 random parameters refused, as W&B refuses them")
    points = [check(name, parameters) for name, parameters in [*golden_sweeps(), *EXAMPLES]]
    assert all(points[-len(EXAMPLES) :])
    print(f"{sum(map(bool, points))} sweeps valid, {sum(points)} points decoded")
    print(f"{check_counts()} grids handed out to their end")


if __name__ == "__main__":
    sys.exit(main())
