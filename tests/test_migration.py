"""From other tools to dysweep: `dysweep_create --from_wandb`, and the page about it."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from helpers import states

from dysweep import Space, cli, open_sweep
from dysweep.arguments import parse, parse_launch, parse_results, parse_status

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "tutorials/docs/migration.md").read_text(encoding="utf-8")
NEEDS_HYDRA = pytest.mark.skipif(find_spec("hydra") is None, reason="Hydra is not installed")
# What the file says, and what W&B gets in the end.
SWEEPS = {
    "a grid": (
        "method: grid\nparameters: {lr: {values: [0.1, 0.01]}, epochs: {value: 5}, n: {values: [a, null]}}",
        {"lr": {"values": [0.1, 0.01]}, "epochs": {"value": 5}, "n": {"values": ["a", None]}},
    ),
    "distributions": (
        "method: bayes\nmetric: {name: loss, goal: minimize}\nrun_cap: 9\nparameters:\n"
        "  lr: {distribution: log_uniform_values, min: 0.0001, max: 0.1}\n  depth: {min: 1, max: 8}\n"
        "  noise: {distribution: normal, mu: 0, sigma: 1}\n"
        "  q: {distribution: q_uniform, min: 0, max: 1, q: 0.25}",
        {
            "lr": {"distribution": "log_uniform_values", "min": 0.0001, "max": 0.1},
            "depth": {"min": 1, "max": 8},
            "noise": {"distribution": "normal", "mu": 0, "sigma": 1},
            "q": {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25},
        },
    ),
    "probabilities": (
        "method: random\nrun_cap: 9\nparameters: {batch: {values: [8, 16], probabilities: [0.25, 0.75]}}",
        {"batch": {"values": [8, 16], "probabilities": [0.25, 0.75]}},
    ),
    "nested": (
        "method: grid\nparameters:\n  lr: {values: [1, 2]}\n"
        "  optimizer: {parameters: {lr: {values: [3, 4]}, sgd: {parameters: {momentum: {value: 0.9}}}}}",
        {
            "lr": {"values": [1, 2]},
            "optimizer.lr": {"values": [3, 4]},
            "optimizer.sgd.momentum": {"value": 0.9},
        },
    ),
    "dots": ("method: grid\nparameters: {data.size: {values: [1, 2]}}", {"data.size": {"values": [1, 2]}}),
}


def migrate(capsys, text, *arguments):
    """Write a sweep file of W&B, and return the exit code, the settings and the lines on stderr."""
    Path("sweep.yaml").write_text(text)
    code = cli.create(["--from_wandb", "sweep.yaml", *arguments])
    out, err = capsys.readouterr()
    Path("config.yaml").write_text(out)
    return code, yaml.safe_load(out), err.splitlines()


def swept(settings):
    """Return the parameters that W&B gets."""
    return Space.compile(settings["sweep_configuration"]["parameters"]).parameters


@pytest.mark.parametrize(("text", "expected"), SWEEPS.values(), ids=SWEEPS)
def test_the_parameters_are_those_of_the_sweep_file(capsys, text, expected):
    code, settings, _ = migrate(capsys, text)
    assert code == 0
    method = settings["sweep_configuration"]["method"]
    found = Space.compile(settings["sweep_configuration"]["parameters"], method=method).parameters
    assert found == expected and list(found) == list(expected)
    others = {key: value for key, value in yaml.safe_load(text).items() if key != "parameters"}
    assert {**settings["sweep_configuration"], "parameters": None} == {**others, "parameters": None}
    assert cli.create(["-c", "config.yaml"]) == 0


def test_constants_and_first_values_are_the_base_config(capsys):
    text = (
        "method: random\nrun_cap: 2\nparameters: {epochs: {value: 5}, lr: {min: 0.5, max: 1.0}, "
        "net: {parameters: {depth: {values: [2, 4]}, act: {value: relu}}}}"
    )
    code, settings, _ = migrate(capsys, text)
    assert code == 0
    assert settings["base_config"] == {"epochs": 5, "lr": 0.5, "net": {"depth": 2, "act": "relu"}}


TRAIN = """
import json, os, sys, wandb
run = wandb.init()
config = {key: value for key, value in dict(wandb.config).items() if key not in ("dy_config", "_wandb")}
with open("seen.jsonl", "a") as file:
    file.write(json.dumps([sys.argv[1:], config]) + "\\n")
run.log({"loss": 1.0})
"""


def test_a_program_gets_the_config_and_the_arguments_that_wandb_gives_it(capsys):
    Path("train.py").write_text(TRAIN)
    code, _, err = migrate(
        capsys,
        "program: train.py\nmethod: grid\ncommand: [python, '${program}', '${args}']\nparameters:\n"
        "  lr: {values: [0.1, 0.2]}\n  epochs: {value: 5}\n  betas: {values: [[0.9, 0.99]]}\n"
        "  net: {parameters: {depth: {value: 2}}}\n  tags: {value: [x]}\n  opt: {values: [{a: 1}]}\n",
    )
    assert code == 0
    assert "to create the sweep, save this as config.yaml, and: dysweep_create -c config.yaml" in err
    assert "then: dysweep_run_resume -c config.yaml --sweep_id ID" in err
    assert "net.depth: W&B gives the program --net={...}, dysweep --net.depth=VALUE" in err
    assert "tags: the program's arguments have nothing; wandb.config has the values" in err
    assert any(
        line.startswith("betas: W&B gets a text for each of these values, as betas_label") for line in err
    )
    assert cli.create(["-c", "config.yaml"]) == 0
    sweep_id = capsys.readouterr().out.strip()
    assert cli.run_resume(["-c", "config.yaml", "--sweep_id", sweep_id]) == 0
    seen = [json.loads(line) for line in Path("seen.jsonl").read_text().splitlines()]
    for (arguments, config), lr in zip(seen, (0.1, 0.2), strict=True):
        # W&B's own agent: {"lr": lr, "epochs": 5, "betas": [0.9, 0.99], "net": {"depth": 2}, ...}
        of_wandb = {name: config[name] for name in ("lr", "epochs", "betas", "net", "tags", "opt")}
        assert of_wandb == {
            "lr": lr, "epochs": 5, "betas": [0.9, 0.99], "net": {"depth": 2}, "tags": ["x"], "opt": {"a": 1}
        }  # fmt: skip
        assert config.keys() - of_wandb.keys() == {"betas_label", "net.depth", "opt_label"}
        assert arguments[:2] == [f"--lr={lr}", "--epochs=5"] and "--net.depth=2" in arguments


@pytest.mark.parametrize(
    ("macro", "words"),
    [
        ("args", ["--lr=0.1", "--flag=True"]),
        ("args_no_hyphens", ["lr=0.1", "flag=True"]),
        ("args_no_equals", ["--lr", "0.1", "--flag", "True"]),
        ("args_no_boolean_flags", ["--lr=0.1", "--flag"]),
        ("args_append_hydra", ["+lr=0.1", "+flag=True"]),
        ("args_override_hydra", ["++lr=0.1", "++flag=True"]),
        ("args_json", ['{"lr": 0.1, "flag": true}']),
    ],
)
def test_the_macros_of_wandb_give_the_words_that_its_agent_gives(capsys, macro, words):
    from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

    of_wandb = create_sweep_command_args({"args": {"lr": {"value": 0.1}, "flag": {"value": True}}})
    assert of_wandb[macro] == words
    Path("train.py").write_text(TRAIN)
    command = ["python", "${program}", f"${{{macro}}}"]
    code, _, _ = migrate(
        capsys,
        f"program: train.py\nmethod: grid\ncommand: {json.dumps(command)}\n"
        "parameters: {lr: {values: [0.1]}, flag: {value: true}}\n",
    )
    assert code == 0
    assert cli.run_resume(["-c", "config.yaml"]) == 0
    assert json.loads(Path("seen.jsonl").read_text())[0] == words


def test_with_a_base_config_names_with_dots_are_its_places(capsys):
    Path("base.yaml").write_text("optimizer: {lr: 1.0, betas: {a: 1}}\nepochs: 7\nodd.key: 1\n")
    code, settings, err = migrate(
        capsys,
        "method: grid\nparameters: {optimizer.lr: {values: [0.1, 0.2]}, odd.key: {values: [1]}, "
        "new.key: {values: [3]}, optimizer.betas: {values: [{b: 2}]}}",
        "--base_config", "base.yaml",
    )  # fmt: skip
    assert code == 0 and settings["base_config"] == "base.yaml"
    assert "new.key" in next(line for line in err if "not in base_config" in line)
    parameters = settings["sweep_configuration"]["parameters"]
    assert swept(settings) == {
        "optimizer.lr": {"values": [0.1, 0.2]},
        "optimizer.betas_label": {"values": ["{b: 2}"]},
        "odd.key": {"values": [1]},
        "new.key": {"values": [3]},
    }
    first = Space.compile(parameters).resolve(
        yaml.safe_load(Path("base.yaml").read_text()), {**Space.compile(parameters).example}
    )
    assert first == {"optimizer": {"lr": 0.1, "betas": {"b": 2}}, "epochs": 7, "odd.key": 1, "new.key": 3}


def test_a_function_runs_with_the_tree(capsys):
    Path("base.yaml").write_text("net: {depth: 1, width: 8}\n")
    Path("functions.py").write_text(
        "def main(config):\n    with open('seen', 'a') as file:\n        print(config, file=file)\n"
    )
    code, _, err = migrate(
        capsys,
        "method: grid\nproject: study\nparameters: {net: {parameters: {depth: {values: [2, 4]}}}}",
        "--base_config", "base.yaml",
    )  # fmt: skip
    assert code == 0
    assert "then: dysweep_run_resume -c config.yaml --package MODULE --function FUNCTION --sweep_id ID" in err
    assert cli.run_resume(["-c", "config.yaml", "--package", "functions", "--function", "main"]) == 0
    assert Path("seen").read_text().splitlines() == [
        "{'net': {'depth': 2, 'width': 8}}",
        "{'net': {'depth': 4, 'width': 8}}",
    ]


def test_what_pyyaml_reads_as_something_else_is_named(capsys):
    code, settings, err = migrate(capsys, "method: grid\nparameters: {lr: {values: [1e-3, 0.1]}}")
    assert code == 0 and settings["base_config"] == {"lr": 0.001}
    assert "parameters.lr.values[0]: W&B reads '1e-3' here, dysweep 0.001" in err


def test_a_macro_without_an_equivalent_is_named(capsys):
    code, _, err = migrate(
        capsys,
        "program: train.py\nmethod: grid\ncommand: [python, '${program}', '${args_json_file}']\n"
        "parameters: {lr: {values: [1]}}",
    )
    expected = "unknown placeholder ${args_json_file}; {config} is the path of a JSON file with the config"
    assert code == 0 and any(expected in line for line in err)


WRONG = {
    "no mapping": ("- 1", "sweep.yaml: not a sweep file of W&B"),
    "of dysweep": ("base_config: {}", "has base_config, so it is a file of dysweep already"),
    "a misspelt key": (
        "method: grid\nparamters: {}",
        "paramters: not a key of W&B's sweep files; did you mean",
    ),
    "no method": ("parameters: {a: {value: 1}}", "method: missing"),
    "no parameters": ("method: grid", "parameters: missing"),
    "empty": ("method: grid\nparameters: {}", "parameters: a mapping of parameters is needed"),
    "a bare value": ("method: grid\nparameters: {a: 1}", "parameters.a: a constant is written as {value: 1}"),
    "swept": (
        "method: grid\nparameters: {a: {sweep: true, values: [1]}}",
        "parameters.a.sweep: is of dysweep; such a file goes below `sweep_configuration:`",
    ),
    "a misspelt word": (
        "method: grid\nparameters: {a: {vales: [1]}}",
        "parameters.a.vales: W&B does not know it; did you mean 'values'?",
    ),
    "deep": (
        "method: grid\nparameters: {a: {parameters: {b: {vales: [1]}}}}",
        "parameters.a.parameters.b.vales: W&B does not know it",
    ),
    "both": (
        "method: grid\nparameters: {a: {value: 1, parameters: {b: {value: 1}}}}",
        "parameters.a.parameters: W&B does not know it beside other keys",
    ),
    "a word": ("method: grid\nparameters: {sweep: {values: [1]}}", "'sweep' is a word of dysweep's language"),
    "twice": (
        "method: grid\nparameters: {a.b: {values: [1]}, a: {parameters: {b: {values: [2]}}}}",
        "parameters.a.b: another parameter has, or is in, the same place",
    ),
    "a distribution": (
        "method: random\nparameters: {a: {distribution: unifrom, min: 1, max: 2}}",
        "no distribution 'unifrom'; did you mean 'uniform'?",
    ),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG)
def test_what_is_no_sweep_file_is_refused_with_the_place(capsys, text, message):
    Path("base.yaml").write_text("a: {b: 0}\n")
    more = ["--base_config", "base.yaml"] if text.endswith("values: [2]}}}}") else []
    code, settings, err = migrate(capsys, text, *more)
    assert (code, settings) == (2, None) and message in err[-1], err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--from_wandb", "no.yaml"], "no.yaml: cannot be read"),
        (["--from_wandb", "sweep.yaml", "--base_config", "no.yaml"], "no.yaml: cannot be read"),
        (["--from_wandb", "sweep.yaml", "--dry_run"], "--dry_run: not with --from_wandb"),
        (["--from_wandb", "sweep.yaml", "--sweep_configuration", "sweep.yaml"], "leave the other one out"),
    ],
)
def test_wrong_usage_is_named(capsys, arguments, message):
    Path("sweep.yaml").write_text("method: grid\nparameters: {a: {values: [1]}}\n")
    assert cli.create(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and message in err


def blocks(section, language):
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def shell(lines, **variables):
    """Run a block's commands in bash, with the environment's Python and scripts first on the path."""
    environment = {"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin", "WANDB_MODE": "offline"}
    environment |= {"HOME": str(Path.cwd()), "PYTHONPATH": str(ROOT), **variables}
    done = subprocess.run(
        ["bash", "-euc", lines], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def test_the_page_takes_a_sweep_file_of_wandb(capsys):
    sweep, config = blocks("From W&B sweeps", "yaml")
    Path("sweep.yaml").write_text(sweep)
    Path("train.py").write_text(blocks("From W&B sweeps", "python")[0])
    create, work = blocks("From W&B sweeps", "bash")
    done = shell(create)
    assert Path("config.yaml").read_text() == config
    sweep_id = done.stdout.strip()
    shell(work.replace("ID", sweep_id))
    assert states(sweep_id) == ["finished"] * 4
    sweep = open_sweep(sweep_id)
    runs = [(run.assignment, sweep.config(run.run_id)) for run in sweep.runs]
    assert [(assignment["lr"], config["net"]) for assignment, config in runs] == [
        (0.1, {"depth": 2}), (0.1, {"depth": 4}), (0.01, {"depth": 2}), (0.01, {"depth": 4})
    ]  # fmt: skip


@NEEDS_HYDRA
def test_the_page_takes_a_multirun_of_hydra():
    app, *_ = blocks("From Hydra's multirun", "python")
    main, small, large, config = blocks("From Hydra's multirun", "yaml")
    Path("conf/model").mkdir(parents=True)
    for path, text in {"config": main, "model/small": small, "model/large": large}.items():
        Path(f"conf/{path}.yaml").write_text(text)
    Path("app.py").write_text(app)
    Path("config.yaml").write_text(config)
    before, after = blocks("From Hydra's multirun", "bash")
    marker = "runs: "
    by_hydra = [line for line in shell(before).stdout.splitlines() if line.startswith(marker)]
    shell(after)
    logs = [path.read_text() for path in Path("dysweep_logs").glob("*/runs/*/attempts/0001.log")]
    by_dysweep = [line for log in logs for line in log.splitlines() if line.startswith(marker)]
    assert len(set(by_hydra)) == 4 and sorted(by_dysweep) == sorted(by_hydra)


def test_the_answers_about_deleting_a_run_and_changed_code_are_true(capsys):
    settings = "base_config: {a: 0}\nsweep_configuration: {a: {sweep: true, values: [1, 2]}}\n"
    Path("config.yaml").write_text(settings)
    Path("train.py").write_text("import wandb\nwandb.init().log({'version': 1})\n")
    assert cli.create(["-c", "config.yaml"]) == 0
    sweep_id = capsys.readouterr().out.strip()
    work = ["--sweep_id", sweep_id, "--command", f"{sys.executable} train.py"]
    assert cli.run_resume(work) == 0
    shutil.rmtree(f"dysweep_logs/checkpoints-{sweep_id}/runs/{sweep_id}-0001")
    Path("train.py").write_text("import wandb\nwandb.init().log({'version': 2})\n")
    assert cli.run_resume(work) == 0
    runs = [(run.run_id[-4:], run.assignment, run.metrics) for run in open_sweep(sweep_id).runs]
    assert runs == [("0001", {"a": 1}, {"version": 2}), ("0002", {"a": 2}, {"version": 1})]


def test_the_commands_of_the_questions_are_understood():
    text = (ROOT / "tutorials/docs/faq.md").read_text(encoding="utf-8")
    commands = re.findall(r"`(dysweep_\w+ --?[^`]+)`", text)
    assert len(commands) >= 7
    parsers = {"dysweep_launch": parse_launch, "dysweep_results": parse_results}
    parsers["dysweep_status"] = parse_status
    Path("config.yaml").write_text("base_config: {a: 0}\n")
    for command in commands:
        script, *arguments = shlex.split(command)
        parsers.get(script, parse)(script, arguments)
