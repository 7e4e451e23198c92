"""The mistakes that a new user makes first: each gives one line that says what, where, and how to mend it."""

import os
from pathlib import Path

import pytest
import wandb
from helpers import own_lines

from dysweep import cli

FUNCTIONS = """
def record(config, checkpoint_dir):
    pass

def more(config, checkpoint_dir, epochs, device="cpu"):
    pass

def other_parameters(settings):
    pass
"""
CONFIG = """
base_config: {lr: 0.1, model: {class_path: Net, init_args: {width: 3, beta1: 0.9}}}
sweep_configuration:
  lr: {sweep: true, values: [1e-3, 0.5]}
"""


@pytest.fixture(autouse=True)
def files(own_folder):
    (own_folder / "functions.py").write_text(FUNCTIONS)
    (own_folder / "config.yaml").write_text(CONFIG)


BAD_CONFIGS = {
    "an unknown key": ("bas_config: {}", "bas_config: unknown setting; did you mean 'base_config'?"),
    "a tab": ("base_config:\n\tlr: 1", "config.yaml, line 2, column 1: a tab character"),
    "a key twice": ("project: a\nproject: b", "line 2, column 1: duplicate key 'project'"),
    "a wrong type": ("count: many", "config.yaml: count: 'many' is not a whole number"),
    "a number as project": ("project: 3", "project: 3 is not text; write it in quotes"),
    "no mapping": ("- 1", "a mapping of settings is needed"),
    "an empty file": ("", "config.yaml: is empty; dysweep_create --print_config prints what can be in it"),
    "a misspelt identifier": (
        "base_config: {}\nsweep_configuration: {lr: {sweep: true, values: [1], sweep_identifer: x}}",
        "lr.sweep_identifer: unknown key of a sweep node; did you mean 'sweep_identifier'?",
    ),
    "a misspelt method": (
        "base_config: {}\nmethod: grid\nsweep_configuration:\n"
        "  {method: gird, parameters: {a: {sweep: true, values: [1]}}}",
        "method: 'grid' contradicts sweep_configuration.method, which is 'gird'",
    ),
    "another misspelt method": (
        "base_config: {}\nsweep_configuration: {method: gird, parameters: {a: {sweep: true, values: [1]}}}",
        "sweep_configuration.method: no method 'gird'; did you mean 'grid'?",
    ),
    "a metric without its goal": (
        "base_config: {}\nsweep_configuration: {metric: loss, parameters: {a: {sweep: true, values: [1]}}}",
        "sweep_configuration.metric: write it as {name: loss, goal: minimize}",
    ),
    "a missing file of the base": ("base_config: nowhere.yaml", "base_config: nowhere.yaml: cannot be read"),
    "no base": ("sweep_configuration: {a: {sweep: true, values: [1]}}", "base_config: missing"),
    "no space": ("base_config: {}", "sweep_configuration: missing"),
    "a missing file": ("base_config: nowhere.yaml", "nowhere.yaml: cannot be read"),
    "an empty space": ("base_config: {a: 1}\nsweep_configuration: {a: 2}", "nothing is swept"),
    "a misspelled W&B key": (
        "base_config: {}\nsweep_configuration: {metod: grid, parameters: {a: {sweep: true, values: [1]}}}",
        "sweep_configuration.metod: unknown key; did you mean 'method'?",
    ),
    "a value that does not fit": (
        "base_config: {}\nsweep_configuration: {a: {sweep: true, values: [1, {dy__list__operations: []}]}}",
        "sweep_configuration.a.values[1].dy__list__operations: dy__list__operations needs a list",
    ),
    "a scheduler of W&B's": (
        "base_config: {}\nsweep_configuration: {method: custom, parameters: {a: {sweep: true, values: [1]}}}",
        "sweep_configuration.method: 'custom' is for W&B's scheduler",
    ),
    "a distribution in a grid": (
        "base_config: {}\nsweep_configuration: {a: {sweep: true, min: 0.0, max: 1.0}}",
        "sweep_configuration.a: a grid needs finitely many values",
    ),
    "probabilities in a grid": (
        "base_config: {}\nsweep_configuration: {a: {sweep: true, values: [1, 2], probabilities: [0.1, 0.9]}}",
        "sweep_configuration.a.probabilities: a grid takes every value once",
    ),
    "a run name of no parameter": (
        "base_config: {}\nrun_name: '{lrr}'\nsweep_configuration: {lr: {sweep: true, values: [1]}}",
        "run_name: 'lrr' is not a parameter; did you mean 'lr'?",
    ),
    "a run name with half a parameter": (
        "base_config: {}\nrun_name: 'a-{lr'\nsweep_configuration: {lr: {sweep: true, values: [1]}}",
        "run_name: '{' alone; a parameter stands between two braces, as {lr}",
    ),
    "a file without -c": ("project: study", "did you mean -c config.yaml?"),
    "values without sweep": (
        "base_config: {}\nsweep_configuration: {lr: {values: [1, 2]}}",
        "sweep_configuration.lr: this looks like a swept parameter and is a constant; to sweep it, add "
        "`sweep: true`",
    ),
    "sweep without values": (
        "base_config: {}\nsweep_configuration: {lr: {sweep: true}}",
        "sweep_configuration.lr: a sweep node needs `values`, or `min` and `max`, or a `distribution`",
    ),
    "a misspelt word of a sweep": (
        "base_config: {}\nsweep_configuration: {lr: {sweep: true, vals: [1]}}",
        "sweep_configuration.lr.vals: unknown key of a sweep node; did you mean 'values'?",
    ),
    "values that are no list": (
        "base_config: {}\nsweep_configuration: {lr: {sweep: true, values: 3}}",
        "sweep_configuration.lr.values: a list is needed, as `[3]`",
    ),
    "too few aliases": (
        "base_config: {}\nsweep_configuration: {lr: {sweep: true, values: [1, 2], sweep_alias: [a]}}",
        "sweep_configuration.lr.sweep_alias: sweep_alias and values differ in length: 1 aliases, 2 values",
    ),
    "an identifier twice": (
        "base_config: {}\nsweep_configuration:\n"
        "  a: {sweep: true, values: [1], sweep_identifier: x}\n"
        "  b: {sweep: true, values: [1], sweep_identifier: x}",
        "sweep_configuration.b.sweep_identifier: sweep_identifier 'x' is used twice; give each parameter",
    ),
    "a sweep in the base": (
        "base_config: {lr: {sweep: true, values: [1]}}\nsweep_configuration: {a: {sweep: true, values: [1]}}",
        "base_config.lr.sweep: 'sweep' is a word of the sweep language and cannot be a key of the config",
    ),
    "misspelt list operations": (
        "base_config: {a: [1, 2]}\nsweep_configuration:\n"
        "  a: {sweep: true, values: [{dy__list_operations: [{dy__remove: 0}]}]}",
        "it belongs in the list of a 'dy__list__operations'",
    ),
    "an index beyond the list": (
        "base_config: {a: [1, 2]}\nsweep_configuration:\n"
        "  a: {sweep: true, values: [{dy__list__operations: [{dy__remove: 9}]}]}",
        "index 9 is out of range for a list of 2 (valid: -2 to 1)",
    ),
    "misspelt parameters": (
        "base_config: {}\nsweep_configuration: {method: grid, paramters: {a: {sweep: true, values: [1]}}}",
        "sweep_configuration: `method` is set without `parameters`; did you mean it by 'paramters'?",
    ),
    "a colon in a value": ("base_config: {a: b: c}", "config.yaml, line 1, column 19: expected ',' or '}'"),
    "wrong indentation": (
        "base_config:\n  lr: 1\n   b: 2",
        "config.yaml, line 3, column 5: mapping values are not",
    ),
    "a date": (
        "base_config: {a: !!timestamp 2020-01-01}",
        "base_config.a: a date cannot be in a config; write it as text",
    ),
}


@pytest.mark.parametrize("text, message", BAD_CONFIGS.values(), ids=BAD_CONFIGS)
def test_a_bad_config_gives_one_line_and_leaves_nothing(capsys, text, message):
    if "!!timestamp" in text:
        text += "\nsweep_configuration: {lr: {sweep: true, values: [1]}}"
    Path("config.yaml").write_text(text)
    before = sorted(os.listdir())
    code = cli.create(["config.yaml"] if "-c" in message else ["-c", "config.yaml"])
    out, err = capsys.readouterr()
    assert (code, out) == (2, "") and message in err
    assert err.splitlines()[-1].startswith("dysweep_create: ") and "Traceback" not in err
    assert err.count("\n") == (2 if "nothing is swept" in err and "constant" in err else 1)
    assert sorted(os.listdir()) == before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--package", "functions"], 2, "--function: missing"),
        (["--function", "record"], 2, "--package: missing"),
        (["--package", "nowhere.at.all", "--function", "f"], 2, "there is no module 'nowhere.at.all'"),
        (
            ["--package", "functions.py", "--function", "f"],
            2,
            "a path; write it as a module's name: functions",
        ),
        (["--package", "./my/functions", "--function", "f"], 2, "write it as a module's name: my.functions"),
        (["--package", "functions", "--function", "record", "--sweep", "x"], 2, "did you mean '--sweep_id'?"),
        (["--package", "functions", "--function", "record", "abcd"], 2, "did you mean --sweep_id abcd?"),
        (["--package", "functions", "--function", "record", "-x"], 2, "unrecognized arguments: -x\n"),
        (["--package", "functions", "--function", "recrod"], 2, "did you mean 'record'?"),
        (
            ["--package", "functions", "--function", "other_parameters"],
            2,
            "def other_parameters(config, checkpoint_dir)",
        ),
        (["--package", "functions", "--function", "more"], 2, "missing a required argument: 'epochs'"),
        (
            ["--package", "functions", "--function", "record", "--run_additional_args", "x"],
            2,
            "is not key:value",
        ),
        (["--package", "functions", "--function", "record", "--sweep_id", "abcd"], 1, "no sweep 'abcd'"),
        (["--package", "functions", "--function", "record", "--sweep_id", "../abcd"], 2, "'..' is not an id"),
        (["--package", "functions", "--function", "record", "--sweep_id", "a/b/c/d"], 2, "is not an id"),
        (["--package", "functions", "--function", "record", "--resume"], 2, "sweep_id: missing"),
        (["--package", "functions", "--function", "record", "--sweep_id"], 2, "expected one argument"),
        (["--package", "functions", "--function", "record", "--cuont", "3"], 2, "did you mean '--count'?"),
        (
            ["--package", "functions", "--function", "record", "--lease", "-3"],
            2,
            "lease: must be a number of more than 0",
        ),
        (["--package", "functions", "--function", "__name__"], 2, "functions.__name__ is not a function but"),
        (["--package", "functions", "--function", "record", "--count", "x"], 2, "'x' is not a whole number"),
        (
            ["--package", "functions", "--function", "record", "--mode", "on"],
            2,
            "'on' is not online or offline",
        ),
        (["--package", "functions", "--function", "record", "--base_config.a"], 2, "a value is missing"),
    ],
)
def test_wrong_usage_gives_one_line_and_leaves_nothing(capsys, arguments, code, message):
    before = sorted(os.listdir())
    assert cli.run_resume(["-c", "config.yaml", *arguments]) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert message in err
    assert [name for name in sorted(os.listdir()) if name != "__pycache__"] == before


DOUBTS = {
    "a parameter that the base lacks": (
        "lrr: {sweep: true, values: [1, 2]}",
        "lrr: the sweep adds this key to the config; did you mean 'lr'?",
    ),
    "a misspelt key inside a patch": (
        "dy__upsert: [{sweep: true, values: [{model: {init_args: {widht: 1}}}, {}]}]",
        "model.init_args.widht: the sweep adds this key to the config; did you mean 'width'?",
    ),
    "a misspelt word of the language": (
        "dy_upsert: [{sweep: true, values: [{lr: 1}, {lr: 2}]}]",
        "dy_upsert: the sweep adds this key to the config; did you mean 'dy__upsert'?",
    ),
    "one value that is a list": ("lr: {sweep: true, value: [1, 2]}", "to choose from it, write `values`"),
    "values of which one is no sweep": (
        "{lr: {values: [1, 2]}, model: {sweep: true, values: [{}, {class_path: Other}]}}",
        "sweep_configuration.lr: this looks like a swept parameter and is a constant",
    ),
    "the same config twice": (
        "lr: {sweep: true, values: [{a: 1}, {a: 1}], sweep_alias: [x, y]}",
        "1 of 2 runs have the same config as another one, runs 1 and 2 for example",
    ),
}


@pytest.mark.parametrize("space, message", DOUBTS.values(), ids=DOUBTS)
def test_what_is_hardly_meant_is_named_once_and_made(capsys, space, message):
    Path("config.yaml").write_text(CONFIG.replace("lr: {sweep: true, values: [1e-3, 0.5]}", space))
    assert cli.create(["-c", "config.yaml"]) == 0
    assert capsys.readouterr().err.count(message) == 1


def test_keys_that_are_new_indeed_are_not_doubted(capsys):
    space = "model: {init_args: {beta2: {sweep: true, values: [1, 2]}, depth: 2}}"
    Path("config.yaml").write_text(CONFIG.replace("lr: {sweep: true, values: [1e-3, 0.5]}", space))
    assert cli.create(["-c", "config.yaml", "--base_config.epochs", "3"]) == 0
    assert "did you mean" not in capsys.readouterr().err
    assert cli.create(["-c", "config.yaml", "--base_config.model.init_args.widht", "3"]) == 0
    assert "--base_config.model.init_args.widht: a new key; did you mean 'width'?" in capsys.readouterr().err


def test_a_key_that_is_no_text_is_named_also_when_its_tree_is_changed(capsys):
    Path("config.yaml").write_text(CONFIG.replace("lr: 0.1", "1: a"))
    for change in [], ["--base_config.model.depth", "3"], ["--base_config.three", "3"]:
        assert cli.create(["-c", "config.yaml", *change]) == 2
        assert "base_config" in (err := capsys.readouterr().err) and err.count("\n") == 1


def test_a_metric_may_be_left_empty():
    settings = "metric: null, parameters: {lr: {sweep: true, values: [1]}}"
    Path("config.yaml").write_text(f"base_config: {{lr: 1}}\nsweep_configuration: {{{settings}}}")
    assert cli.create(["-c", "config.yaml"]) == 0


def test_numbers_with_an_exponent_are_numbers(capsys):
    """YAML 1.1 takes 1e-3 for text."""
    assert cli.create(["-c", "config.yaml", "--dry_run"]) == 0
    assert "lr: 0.1 -> 0.001" in capsys.readouterr().out


def test_a_sweep_or_run_that_is_not_there_is_answered_with_those_that_are(capsys):
    assert cli.create(["-c", "config.yaml"]) == 0
    sweep_id = capsys.readouterr().out.strip()
    work = ["--package", "functions", "--function", "record", "--sweep_id"]
    for wrong, message in [
        (f"checkpoints-{sweep_id}", f"is a directory; give the sweep's id, {sweep_id}"),
        ("nothing", f"no sweep 'nothing' in {Path.cwd()}/dysweep_logs"),
        ("nothing", f"there are {sweep_id} (default_root_dir says where to look)"),
    ]:
        assert cli.run_resume([*work, wrong]) == 1
        assert message in capsys.readouterr().err
    assert cli.run_resume([*work, sweep_id, "--rerun_id", f"{sweep_id}-0001"]) == 1
    assert "none was started" in capsys.readouterr().err
    assert cli.run_resume([*work, sweep_id]) == 0
    assert cli.run_resume([*work, sweep_id, "--rerun_id", "nope"]) == 1
    assert f"nope: unknown run in {Path.cwd()}" in (err := capsys.readouterr().err)
    assert f"there are {sweep_id}-0001, {sweep_id}-0002" in err


def test_an_agent_without_a_sweep_is_told_what_it_lacks(capsys):
    assert cli.run_resume(["--package", "functions", "--function", "record"]) == 2
    assert "sweep_id: missing; say which sweep to work on (--sweep_id ID)" in capsys.readouterr().err
    assert cli.status(["4f1c"]) == 2
    assert "did you mean --sweep_id 4f1c?" in capsys.readouterr().err


def test_a_sweep_in_a_directory_of_another_name_is_named(capsys):
    assert cli.create(["-c", "config.yaml", "--custom_checkpoint_dir", "mine"]) == 0
    sweep_id = capsys.readouterr().out.strip()
    assert cli.status(["--sweep_id", sweep_id]) == 1
    assert "say so (--custom_checkpoint_dir mine)" in capsys.readouterr().err


def test_a_directory_that_holds_another_sweep_is_named(capsys):
    assert cli.create(["-c", "config.yaml", "--custom_checkpoint_dir", "mine"]) == 0
    sweep_id = capsys.readouterr().out.strip()
    assert cli.status(["--sweep_id", "other", "--custom_checkpoint_dir", "mine"]) == 1
    assert f"mine holds the sweep {sweep_id!r}, not 'other'" in capsys.readouterr().err


def test_completion_for_an_unknown_shell_names_the_known_ones(start):
    process = start("dysweep", "--print_completion", "fish")
    assert process.communicate()[1] == "dysweep: --print_completion: must be bash or zsh, got 'fish'\n"
    assert process.returncode == 2


def test_a_misspelt_mode_in_the_environment_is_named(capsys, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "ofline")
    assert cli.create(["-c", "config.yaml"]) == 2
    assert "WANDB_MODE: no mode 'ofline'; did you mean 'offline'?" in capsys.readouterr().err


def test_with_wandb_a_project_and_a_login_are_needed(capsys, monkeypatch, tmp_path):
    assert wandb.setup(wandb.Settings(mode="offline"))  # as after work without W&B in the same notebook
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cli.create(["-c", "config.yaml"]) == 1
    err = capsys.readouterr().err
    assert "project: missing, and W&B needs it" in err and "WANDB_MODE=offline" in err
    assert cli.create(["-c", "config.yaml", "--project", "study"]) == 1
    err = capsys.readouterr().err
    assert "wandb login" in err and "WANDB_MODE=offline" in err and len(own_lines(err)) == 1
    assert not Path("dysweep_logs").exists()
