"""A value that does not fit the base is found at creation, also if it only breaks what comes after it."""

from pathlib import Path

import pytest

from dysweep import cli

BASE = """
base_config:
  model: {layers: [1, 2], head: {dim: 8}}
  data: {name: mnist}
sweep_configuration:
"""
EDIT = "{dy__list__operations: [{dy__remove: 4}]}"

BROKEN = {
    "beside others": (
        f"""
  data: {{name: {{sweep: true, values: [mnist, cifar]}}}}
  model:
    head: {{sweep: true, sweep_alias: [as_is, wide], values: [{{}}, {{dim: 16}}]}}
    layers: {{sweep: true, sweep_alias: [as_is, fewer], values: [{{}}, {EDIT}]}}""",
        "sweep_configuration.model.layers.values[1].dy__list__operations[0].dy__remove: index 4 is out of "
        "range for a list of 2",
    ),
    "in the second place of a zip": (
        f"""
  model:
    head: {{dim: {{sweep: true, sweep_zip: size, values: [8, 16]}}}}
    layers: {{sweep: true, sweep_zip: size, values: [{{}}, {EDIT}]}}""",
        "sweep_configuration.model.layers.values[1].dy__list__operations[0].dy__remove: index 4",
    ),
    "in a branch that is not the first": (
        f"""
  model:
    sweep: true
    sweep_alias: [as_is, changed]
    values:
      - {{}}
      - layers: {{sweep: true, sweep_alias: [as_is, fewer], values: [{{}}, {EDIT}]}}
        head: {{dim: {{sweep: true, values: [8, 16]}}}}""",
        "sweep_configuration.model.values[1].layers.values[1].dy__list__operations[0].dy__remove: index 4",
    ),
    "in an element of a list": (
        f"""
  model: {{layers: [{{}}, {{sweep: true, sweep_alias: [as_is, fewer], values: [{{}}, {EDIT}]}}]}}""",
        "sweep_configuration.model.layers[1].values[1].dy__list__operations: dy__list__operations needs "
        "a list",
    ),
    "for what comes after it": (
        """
  model: {layers: {sweep: true, sweep_alias: [as_is, one], values: [{}, [1]]}}
  dy__upsert: [{model: {layers: {__IDX__1: 5}}}]""",
        "sweep_configuration.dy__upsert[0].model.layers.__IDX__1: index 1 is out of range for a list of 1",
    ),
}


@pytest.mark.parametrize(("swept", "message"), BROKEN.values(), ids=BROKEN.keys())
def test_a_value_that_does_not_fit_is_found_at_creation(capsys, swept, message):
    Path("config.yaml").write_text(f"{BASE}{swept}\n")
    assert cli.create(["-c", "config.yaml", "--mode", "offline"]) == 2
    assert f"dysweep_create: {message}" in capsys.readouterr().err


@pytest.mark.parametrize(("limit", "code"), [(1500, 0), (900, 2)])
def test_a_value_that_makes_the_config_too_large_is_found_at_creation(capsys, monkeypatch, limit, code):
    sixty = [1] * 60
    Path("base.yaml").write_text(f"a: {sixty}\n")
    Path("sweep.yaml").write_text(f"b: {{sweep: true, values: [{{}}, {sixty}]}}\n")
    monkeypatch.setenv("DYSWEEP_MAX_BYTES", str(limit))
    files = ["--base_config", "base.yaml", "--sweep_configuration", "sweep.yaml"]
    assert cli.create([*files, "--mode", "offline"]) == code
    assert ("the config: larger than 900 bytes" in capsys.readouterr().err) == (code == 2)
