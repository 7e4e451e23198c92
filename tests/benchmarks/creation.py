"""Creating sweeps with much in them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

from tests.benchmarks import baseline
from tests.benchmarks.ruler import Plan, Row, dysweep, middle, program, run


def sweeps(plan: Plan) -> dict[str, str]:
    """Return the YAML of each sweep, in block style as people write it."""
    parameters, leaves, values = plan.size(500, 5), plan.size(2_000, 20), plan.size(10_000, 10)
    wide = {f"block{block}": {f"leaf{leaf}": leaf for leaf in range(10)} for block in range(leaves // 10)}
    trees = [{"name": f"model{place}", "depth": place, "dropout": 0.5} for place in range(values)]
    three = {f"p{place}": {"sweep": True, "values": [1, 2, 3]} for place in range(parameters)}
    return {
        f"{parameters:,} parameters": _text({f"p{place}": 0 for place in range(parameters)}, three),
        f"a base of {leaves:,} leaves": _text(
            {**wide, "a": 0, "b": 0, "c": 0},
            {name: {"sweep": True, "values": list(range(10))} for name in "abc"},
        ),
        f"{values:,} values": _text(
            {"model": {}},
            {"model": {"sweep": True, "sweep_alias": [tree["name"] for tree in trees], "values": trees}},
        ),
    }


def _text(base: dict[str, Any], parameters: dict[str, Any]) -> str:
    import yaml

    tree = {"project": "speed", "base_config": base, "sweep_configuration": {"parameters": parameters}}
    return str(yaml.dump(tree, sort_keys=False, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper)))


def measure(plan: Plan) -> Iterator[Row]:
    """Compare `dysweep_create` with a program that loads the same file and writes it as JSON."""
    for title, text in sweeps(plan).items():
        folder = plan.new_folder("creation")
        (folder / "config.yaml").write_text(text)
        found = plan.in_turn(
            {
                "ours": partial(run, dysweep("create", "-c", "config.yaml"), folder=folder),
                "floor": partial(run, program("load_and_write", "config.yaml"), folder=folder),
            }
        )
        cpu = middle(found["ours"])
        assert cpu is not None
        yield Row(
            f"create, {title}: CPU", "s", cpu, floor=middle(found["floor"]),
            baseline=plan.baseline(baseline.CREATE_CPU.get(title, 0)), goal=plan.goal(10, "floor"),
        )  # fmt: skip
