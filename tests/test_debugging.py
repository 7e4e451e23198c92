"""One configuration, executed without a record and without W&B."""

import ast
import os
import pty
import re
import shlex
import sys
from pathlib import Path

import pytest
import wandb
from helpers import SCRIPTS, Process, create, run

from dysweep import cli, open_sweep
from dysweep.tracking.versions import DISABLED_TAKES_PARAMETERS

CONFIG = """
base_config: {lr: 0.1, name: mlp}
sweep_configuration: {lr: {sweep: true, values: [1, 2]}}
"""
FUNCTIONS = """
import dysweep, wandb

def trains(config, checkpoint_dir):
    with wandb.init() as run:
        run.log({"loss": 1})
    print(config, checkpoint_dir.is_dir(), dysweep.current_run().config == config)
    (checkpoint_dir / "saved").touch()

def logs_at_once(config, checkpoint_dir):
    wandb.log({"loss": 1})
    print(wandb.config.lr, wandb.config["dy_config"]["name"])

def train():
    with wandb.init(config={"own": 3, "name": "none"}) as run:
        print(run.config.lr, run.config.name, run.config.own, run is wandb.run)

def fails(config, checkpoint_dir):
    wrong = config["lr"] * 100
    raise ValueError("no")
"""
WORK = ["--package", "functions", "--function"]


@pytest.fixture(autouse=True)
def files(own_folder):
    (own_folder / "config.yaml").write_text(CONFIG)
    (own_folder / "functions.py").write_text(FUNCTIONS)


def test_a_point_is_executed_before_the_sweep_exists(capsys):
    assert cli.run_resume(["-c", "config.yaml", *WORK, "trains", "--debug", "2"]) == 0
    out, err = capsys.readouterr()
    assert out == "{'lr': 2, 'name': 'mlp'} True True\n" and err.startswith("2: lr=2")
    assert not Path("dysweep_logs").exists() and not Path("wandb").exists()


def test_wandb_is_as_in_a_run_but_disabled(capsys):
    for function in ("logs_at_once", "train"):
        assert cli.run_resume(["-c", "config.yaml", *WORK, function, "--debug", "2"]) == 0
    assert capsys.readouterr().out == "2 mlp\n2 mlp 3 True\n"
    assert wandb.run is None and not Path("wandb").exists()


def test_a_run_or_a_point_of_a_sweep_leaves_no_record(capsys):
    sweep_id = create(capsys)
    assert run("fails", "--sweep_id", sweep_id, "--count", "1") == 1
    before = open_sweep(sweep_id).to_json()
    capsys.readouterr()
    for which in (f"{sweep_id}-0001", "2"):
        words = ["--sweep_id", sweep_id, *WORK, "trains", "--debug", which, "--checkpoint_dir", "kept"]
        assert cli.run_resume(words) == 0
    assert capsys.readouterr().out.splitlines() == [
        "{'lr': 1, 'name': 'mlp'} True True", "{'lr': 2, 'name': 'mlp'} True True",
    ]  # fmt: skip
    assert Path("kept/saved").exists() and open_sweep(sweep_id).to_json() == before


def test_a_program_is_debugged_too(capfd):
    Path("config.yaml").write_text(
        "base_config: {lr: 1, net: {depth: 0}}\n"
        "sweep_configuration:\n"
        "  lr: {sweep: true, values: [1]}\n"
        "  net: {depth: {sweep: true, sweep_identifier: size, sweep_alias: [big], values: [3]}}\n"
    )
    command = shlex.join(
        [sys.executable, "-c", "import sys; print(sys.argv[1:]); sys.exit(7)", "{args}", "{params}"]
    )
    assert cli.run_resume(["-c", "config.yaml", "--command", command, "--debug", "1"]) == 7
    assert capfd.readouterr().out == "['--lr=1', '--net.depth=3', '--lr=1', '--net.depth=3']\n"


@pytest.mark.skipif(not DISABLED_TAKES_PARAMETERS, reason="this SDK refuses a sweep's values where disabled")
def test_a_debugged_program_finds_in_wandb_config_what_it_finds_in_a_run(capfd, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "left-by-another-run")
    Path("script.py").write_text(
        "import wandb\n"
        "run = wandb.init(project='mine', config={'lr': 0, 'own': 3})\n"
        "run.log({'loss': 1})\n"
        "print({name: value for name, value in dict(wandb.config).items() if name != '_wandb'})\n"
    )
    work = ["--command", shlex.join([sys.executable, "script.py"]), "--debug", "2"]

    def seen(*more):
        assert cli.run_resume([*work, *more]) == 0
        return ast.literal_eval(capfd.readouterr().out)

    shown = {"lr": 2, "own": 3, "dy_config": {"lr": 2, "name": "mlp"}}
    assert seen("-c", "config.yaml") == shown
    for option in (["--wandb_config", "tree"], ["--wandb_keys", "name"]):
        assert seen("-c", "config.yaml", *option) == {**shown, "name": "mlp"}
    assert not Path("wandb").exists() and not Path("dysweep_logs").exists()
    sweep_id = create(capfd, "--wandb_keys", "name")
    assert seen("--sweep_id", sweep_id) == {**shown, "name": "mlp"}


def test_an_exception_is_shown_with_its_traceback_alone(capsys):
    assert cli.run_resume(["-c", "config.yaml", *WORK, "fails", "--debug", "1"]) == 1
    err = capsys.readouterr().err
    assert "ValueError: no" in err and "function_job.py" not in err and "functions.py" in err


@pytest.mark.processes
def test_on_a_terminal_an_exception_ends_in_the_debugger():
    ours, theirs = pty.openpty()
    words = ["-c", "config.yaml", *WORK, "fails", "--debug", "2"]
    process = Process([SCRIPTS / "dysweep_run_resume", *words], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.write(ours, b"p wrong\nq\n")
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # the other end is closed
        pass
    assert process.wait() == 1
    os.close(ours)
    assert re.search(rb"\(Pdb\) (p wrong\s+)?200", shown), shown


WRONG = {
    "out of range": (
        ["-c", "config.yaml", "--debug", "3"],
        "3 is out of range; the sweep has the points 1 to 2",
    ),
    "no place": (["-c", "config.yaml", "--debug", "x"], "'x': without a sweep, give the place of a point"),
    "a folder alone": (["-c", "config.yaml", "--checkpoint_dir", "d"], "--checkpoint_dir: it needs --debug"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_usage_is_one_line(capsys, case):
    words, message = WRONG[case]
    assert cli.run_resume([*words, *WORK, "trains"]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and not Path("dysweep_logs").exists()
