"""`dysweep_create --dry_run`: what is shown and written, and that nothing is made."""

import json
import os
from pathlib import Path

import pytest
import yaml

from dysweep import cli
from dysweep.files import load_file

CONFIG = """
base_config: {lr: 0.1, model: {kind: linear, width: 3}, layers: [1, 2], old: true}
sweep_configuration:
  name: study
  parameters:
    lr: {sweep: true, values: [0.1, 1e-3]}
    model:
      sweep: true
      sweep_identifier: net
      sweep_alias: [same, deep]
      values: [{}, {kind: deep, depth: 5}]
    layers: [1, 7]
"""


@pytest.fixture(autouse=True)
def config(own_folder):
    (own_folder / "config.yaml").write_text(CONFIG)


def dry_run(*arguments):
    return cli.create(["-c", "config.yaml", "--dry_run", *arguments])


def test_a_dry_run_shows_the_parameters_and_where_configs_differ_and_makes_nothing(capsys, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    assert dry_run("--limit", "4", "--project", "study") == 0
    out, err = capsys.readouterr()
    assert [line.rstrip() for line in out.splitlines()] == [
        "4 runs",
        "  lr   sweep_configuration.parameters.lr     0.1, 0.001",
        "  net  sweep_configuration.parameters.model  same, deep",
        "run 1: lr=0.1, net=same",
        "  layers[1]: 2 -> 7",
        "run 2: lr=0.1, net=deep",
        '  model.kind: "linear" -> "deep"',
        "  model.depth: 5",
        "  layers[1]: 2 -> 7",
        "run 3: lr=0.001, net=same",
        "  lr: 0.1 -> 0.001",
        "  layers[1]: 2 -> 7",
        "run 4: lr=0.001, net=deep",
        "  lr: 0.1 -> 0.001",
        '  model.kind: "linear" -> "deep"',
        "  model.depth: 5",
        "  layers[1]: 2 -> 7",
    ]
    assert err == "" and sorted(os.listdir()) == ["config.yaml"]


def test_configs_are_written_as_yaml(capsys):
    assert dry_run("--dry_run_dir", "configs") == 0
    assert "4 configs in configs" in capsys.readouterr().err
    files = sorted(Path("configs").iterdir())
    assert [file.name for file in files] == ["0001.yaml", "0002.yaml", "0003.yaml", "0004.yaml"]
    assert files[3].read_text().startswith('# {"lr": 0.001, "net": "deep"}\n')
    assert yaml.safe_load(files[3].read_text())["model"] == {"kind": "deep", "width": 3, "depth": 5}
    assert dry_run("--dry_run_dir", "configs") == 2
    assert "configs is not empty" in capsys.readouterr().err
    assert dry_run("--dry_run_dir", "two", "--limit", "2") == 0 and len(os.listdir("two")) == 2


def test_random_search_shows_an_example(capsys):
    space = "{method: random, parameters: {lr: {sweep: true, min: 0.0, max: 1.0}}}"
    assert dry_run("--mode", "online", f"--sweep_configuration={space}") == 0
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "as many runs as W&B chooses" and lines[1].endswith("min 0.0 max 1.0")


def test_equal_and_impossible_configs_are_counted(capsys):
    twice = "{lr: {sweep: true, values: [1, 2]}, other: {sweep: true, sweep_alias: [a, b], values: [{}, {}]}}"
    assert cli.create(["-c", "config.yaml", f"--sweep_configuration={twice}"]) == 0
    message = "2 of 4 runs have the same config as another one, runs 1 and 2 for example"
    assert message in capsys.readouterr().err
    remove = "{sweep: true, values: [{}, {layers: {dy__list__operations: [{dy__remove: 1}]}}]}"
    space = f"--sweep_configuration={{dy__upsert: [{remove}, {remove}]}}"
    for options in ([], ["--dry_run", "--limit", "4"]):
        assert cli.create(["-c", "config.yaml", space, *options]) == 0
        out, err = capsys.readouterr()
        assert "1 of 4 runs will fail: sweep_configuration.dy__upsert[1].values[1]" in err
    assert "  will fail: sweep_configuration.dy__upsert[1].values[1]" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dry_run", "--limit", "0"], "--limit: must be at least 1, got 0"),
        (["--limit", "3"], "--limit: it needs --dry_run"),
        (["--dry_run_dir", "x"], "--dry_run_dir: it needs --dry_run"),
        (["--dry_run", "--dry_run_dir", "config.yaml/x"], "--dry_run_dir: config.yaml/x: cannot be written"),
        (
            [
                "--dry_run",
                "--dry_run_dir",
                "x",
                "--sweep_configuration.parameters.n={sweep: true, min: 0, max: 9999}",
            ],
            "the sweep has 40000 runs; say how many to write (--limit N)",
        ),
    ],
)
def test_mistakes_are_named(capsys, arguments, message):
    assert cli.create(["-c", "config.yaml", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert sorted(os.listdir()) == ["config.yaml"]


def test_configs_are_written_as_they_will_be_read(own_folder):
    tree = {"note": "1e-3", "sha": "12e4", "day": "2020-01-01", "number": 1e-3, "yes": "yes", "none": None}
    sweep = {"a": {"sweep": True, "values": [1]}}
    Path("config.json").write_text(json.dumps({"base_config": tree, "sweep_configuration": sweep}))
    assert cli.create(["-c", "config.json", "--dry_run", "--dry_run_dir", "configs"]) == 0
    assert load_file("configs/0001.yaml") == {**tree, "a": 1}


EQUAL = {
    "as in the base, and left": (
        "model: {width: {V: [3]}, kind: {V: [linear, other]}}, lr: {V: [0.1, 1]}",
        0,
    ),
    "the base's value, and nothing": ("model: {V: [{}, {width: 3}, {width: 4}]}", 1),
    "the same list in two ways": ("layers: {V: [[2], {dy__list__operations: [{dy__remove: 0}]}]}", 1),
    "the base's list": ("layers: {V: [[1, 2], [1], {}]}", 1),
    "one, and true": ("old: {V: [{x: 1}, {x: true}, {x: 1.0}]}", 0),
    "a number of another type": ("model: {V: [{}, {width: 3.0}]}", 0),
    "a key removed": ("model: {V: [{}, {dy__delete: [width]}, {width: null}]}", 0),
    "removed in two ways": ("model: {V: [{dy__delete: [width]}, {dy__replace: {kind: linear}}]}", 1),
    "lists edited again and again": ("lr: {V: [1, 2, 3]}, layers: {V: [{dy__list__operations: [E, E]}]}", 0),
    "elements": ("layers: {V: [{__IDX__0: 2}, {__IDX__0: 1}, [2, 2]]}", 1),
}


@pytest.mark.parametrize(("swept", "equal"), EQUAL.values(), ids=EQUAL.keys())
def test_equal_configs_are_found_however_they_come_about(capsys, swept, equal):
    swept = swept.replace("V:", "sweep: true, values:").replace("E", "{dy__remove: 0}")
    assert cli.create(["-c", "config.yaml", f"--sweep_configuration={{{swept}}}"]) == 0
    err = capsys.readouterr().err
    assert ("1 of " in err and "the same config as another one" in err) == bool(equal), err
    assert "will fail" not in err
