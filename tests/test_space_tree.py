"""`--dry_run` of spaces with conditions: a tree, and how many runs each branch has."""

import json
import re
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from helpers import SCRIPTS

from dysweep import cli
from dysweep.language.branches import Branches
from dysweep.language.definition import define
from dysweep.language.points import Grid

LINES = (Path(__file__).parent / "data/spaces.jsonl").read_text(encoding="utf-8").splitlines()
GRIDS = [vector for vector in map(json.loads, LINES) if 1 < vector.get("count", 0) <= 1000]
OPTIMIZER = """
    optimizer:
      sweep: true
      sweep_alias: [sgd, adam]
      values:
        - {class_path: SGD, init_args: {lr: {sweep: true, values: [0.1, 0.01]}}}
        - class_path: Adam
          init_args:
            lr: {sweep: true, values: [0.001]}
            betas: {sweep: true, sweep_alias: [usual, long], values: [[0.9, 0.999], [0.9, 0.9999]]}
    weight_decay: {sweep: true, values: [0, {sweep: true, values: [0.01, 0.1]}]}"""


def shown(capsys, parameters, *more, mode="offline"):
    """Return what a dry run shows before the first run."""
    words = "".join(f"\n  {word}" for word in more)
    text = f"base_config: {{}}\nsweep_configuration:\n  name: study{words}\n  parameters:{parameters}\n"
    Path("config.yaml").write_text(text)
    assert cli.create(["-c", "config.yaml", "--dry_run", "--mode", mode]) == 0
    before = re.split("\n(?:run 1|for example): ", capsys.readouterr().out)[0]
    lines = [line.rstrip() for line in before.splitlines()]
    assert all(len(line) <= 80 for line in lines[1:])
    return lines


def test_a_branch_has_its_parameters_and_its_number_of_runs(capsys):
    assert shown(capsys, OPTIMIZER) == [
        "12 runs",
        "  optimizer",
        "    sgd         6 runs",
        "      lr        0.1 | 0.01",
        "    adam        6 runs",
        "      lr        0.001",
        "      betas     usual | long",
        "  weight_decay  0 | 0.01 | 0.1",
    ]


def test_exclusions_change_the_numbers(capsys):
    exclude = "sweep_exclude: [{optimizer: adam, weight_decay: 0.1}, {sgd.lr: 0.1}]"
    assert shown(capsys, OPTIMIZER, exclude) == [
        "7 runs, 5 excluded",
        "  optimizer",
        "    sgd         3 runs",
        "      lr        0.1 (0) | 0.01 (3)",
        "    adam        4 runs",
        "      lr        0.001",
        "      betas     usual | long",
        "  weight_decay  0 (3) | 0.01 (3) | 0.1 (1)",
    ]
    lines = shown(capsys, OPTIMIZER, "sweep_exclude: [{optimizer: sgd}]")
    assert lines[:4] == [
        "6 runs, 6 excluded",
        "  optimizer",
        "    sgd         0 runs",
        "    adam        6 runs",
    ]


def test_a_cap_leaves_the_first_runs(capsys):
    assert shown(capsys, OPTIMIZER, "run_cap: 8") == [
        "8 of 12 runs (run_cap)",
        "  optimizer",
        "    sgd         6 runs",
        "      lr        0.1 | 0.01",
        "    adam        2 runs",
        "      lr        0.001",
        "      betas     usual (2) | long (0)",
        "  weight_decay  0 (3) | 0.01 (3) | 0.1 (2)",
    ]


@pytest.mark.parametrize(
    ("more", "mode"),
    [(["run_cap: 8"], "online"), (["run_cap: 20000", "sweep_shuffle: 3"], "offline")],
    ids=["W&B's order", "a large choice at random"],
)
def test_where_it_is_not_known_what_a_cap_leaves_this_is_said(capsys, more, mode):
    parameters = (
        OPTIMIZER if mode == "online" else f"{OPTIMIZER}\n    n: {{sweep: true, min: 1, max: 10000000}}"
    )
    lines = shown(capsys, parameters, *more, mode=mode)
    whole, cap = (12, 8) if mode == "online" else (120_000_000, 20_000)
    assert lines[0] == f"{cap} of {whole} runs (run_cap); the numbers below are those of all {whole}"
    assert lines[2].split() == ["sgd", str(whole // 2), "runs"]


def test_a_zip_is_shown_with_its_members(capsys):
    zipped = """
    width: {sweep: true, sweep_zip: size, sweep_alias: [small, large], values: [64, 512]}
    depth: {sweep: true, sweep_zip: size, values: [2, 8]}
    a: {sweep: true, sweep_zip: pair, values: [1, 2, 3]}
    b: {sweep: true, sweep_zip: pair, values: [true, null, {k: [x]}]}
    c: {sweep: true, sweep_zip: deep, values: [1, 2]}
    d:
      sweep: true
      sweep_zip: deep
      sweep_alias: [one, two]
      values: [{}, {e: {sweep: true, values: [1, 2]}}]"""
    assert shown(capsys, zipped) == [
        "18 runs",
        "  size     small | large",
        "    width  64 | 512",
        "    depth  2 | 8",
        "  pair     3 values together",
        "    a      1 | 2 | 3",
        "    b      true | null | {k: [x]}",
        "  deep     c, d together",
        "    one    6 runs",
        "    two    12 runs",
        "      e    1 | 2",
    ]
    lines = shown(capsys, zipped, "sweep_exclude: [{a: 2, width: 64}]")
    assert "  size     small (6) | large (9)" in lines
    assert "  pair     a=1, b=true (6) | a=2, b=null (3) | a=3, b=k: [x] (6)" in lines


def test_a_value_of_a_zip_may_be_a_node_itself(capsys):
    zipped = """
    a: {sweep: true, sweep_zip: odd, values: [0, {sweep: true, values: [1, 2]}]}
    b: {sweep: true, sweep_zip: odd, values: [3, 4]}"""
    assert shown(capsys, zipped) == [
        "3 runs",
        "  odd                      a, b together",
        "    a=0, b=3               1 run",
        "    a=values: [1, 2], b=4  2 runs",
        "      value                1 | 2",
    ]


def test_repeats_are_repeats(capsys):
    parameters = "\n    seed: {sweep: true, sweep_repeats: [7, 11]}\n    lr: {sweep: true, values: [1, 2, 3]}"
    assert shown(capsys, parameters) == ["6 runs", "  lr    1 | 2 | 3", "  seed  2 repeats: 7 | 11"]


def test_what_is_drawn_has_a_tree_without_numbers(capsys):
    parameters = OPTIMIZER.replace("values: [0.001]", "min: 0.001, max: 0.1")
    assert shown(capsys, parameters, "method: random", mode="online") == [
        "as many runs as W&B chooses",
        "  optimizer",
        "    sgd",
        "      lr        0.1 | 0.01",
        "    adam",
        "      lr        min 0.001 max 0.1",
        "      betas     usual | long",
        "  weight_decay  0 | 0.01 | 0.1",
    ]


def test_conditions_in_conditions_without_names(capsys):
    parameters = """
    a: {sweep: true, sweep_alias: [none, some], values: [null, {sweep: true, values: [1, 2]}]}
    b:
      sweep: true
      values:
        - [{sweep: true, min: 1, max: 3}]
        - {sweep: true, values: [0, {x: {sweep: true, values: [5, 6]}}]}
    many: {sweep: true, min: 1, max: 100}"""
    assert shown(capsys, parameters) == [
        "1800 runs",
        "  a",
        "    none     600 runs",
        "    some     1200 runs",
        "      value  1 | 2",
        "  b",
        "    [*]      900 runs",
        "      [0]    1 | 2 | 3",
        "    0        300 runs",
        "    x: *     600 runs",
        "      x      5 | 6",
        "  many       min 1 max 100",
    ]


def test_long_lists_are_shortened(capsys):
    values = ", ".join(
        f"{{k{n}: {{sweep: true, values: [{', '.join(map(str, range(90)))}]}}}}" for n in range(30)
    )
    lines = shown(capsys, f"\n    a: {{sweep: true, values: [{values}]}}")
    assert lines[0] == "2700 runs" and len(lines) == 43 and lines[-1].split() == ["...", "30", "values"]
    assert lines[3].startswith("      k0    0 | 1 | ") and lines[3].endswith(" | ... (90 values)")


@pytest.mark.parametrize("vector", GRIDS, ids=[vector["id"] for vector in GRIDS])
@pytest.mark.parametrize(
    "more", [{}, {"run_cap": 1}, {"run_cap": 5}, {"sweep_shuffle": 4, "run_cap": 5}], ids=str
)
def test_the_numbers_are_those_of_all_runs_counted_one_by_one(vector, more):
    described = vector.get("sweep_configuration", {"method": "grid"})
    written = vector["sweep_parameters"] if vector.get("bare") else None
    written = written or {**described, "parameters": vector["sweep_parameters"]}
    settings = {key: (key, None) for key in ("name", "method", "metric.name", "metric.goal")}
    definition = define(vector["base_config"], written, settings, False, "offline")
    space = definition.space
    grid = Grid.of(space, {**definition.sweep_configuration, "run_cap": None, **more})
    branches = Branches(space, grid)
    names = {parameter.name: place for place, parameter in enumerate(space.flat)}
    counts, first = Counter(), {}
    for index in range(grid.size):
        for name, value in space.settings(grid.assignment(index)).items():
            here = names[name], space.flat[names[name]].index_of(value)
            if here[1] is not None:  # values of a range have none
                counts[here] += 1
                first.setdefault(here, index)
    values = [(place, index) for place, each in enumerate(space.flat) for index in range(len(each.values))]
    assert counts and {value: branches.runs(value) for value in values} == {v: counts[v] for v in values}
    assert {value: branches.first(value) for value in values} == {v: first.get(v) for v in values}


def test_nothing_is_enumerated(own_folder):
    large = "\n".join(f"    n{place}: {{sweep: true, min: 1, max: 1000000}}" for place in range(20))
    text = f"base_config: {{}}\nsweep_configuration:\n  sweep_shuffle: 1\n  parameters:{OPTIMIZER}\n{large}\n"
    Path("config.yaml").write_text(text)
    command = [SCRIPTS / "dysweep_create", "-c", "config.yaml", "--dry_run", "--mode", "offline"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and "    sgd         6.0e120 runs" in done.stdout
