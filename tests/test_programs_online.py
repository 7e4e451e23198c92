"""Programs that execute runs of a sweep that W&B serves: unchanged scripts, ended in every way."""

import signal
from collections import Counter
from pathlib import Path

import pytest
from helpers import create, run_of, wait_for
from test_programs import PROGRAMS, is_alive, python, work

from dysweep import cli, open_sweep

CONFIG = """
project: study
run_name: "named {lr}"
base_config: {lr: 0.1, model: {depth: 2}}
sweep_configuration:
  metric: {name: loss, goal: minimize}
  parameters:
    lr: {sweep: true, values: [1.0, 2.0, 3.0]}
    model: {sweep: true, sweep_alias: [deep], values: [{depth: 9}]}
"""


@pytest.fixture(autouse=True)
def programs(own_folder):
    (own_folder / "config.yaml").write_text(CONFIG)
    for name, text in PROGRAMS.items():
        (own_folder / name).write_text(text)


def runs(server, sweep_id):
    found = [run for run in server.backend.runs.values() if run.job_type != "dysweep-metadata"]
    assert all(run.sweep == sweep_id and run.project == "study" for run in found)  # no stray one
    return sorted(found, key=lambda run: (run.values["lr"], run.values["model"]))


def test_an_unchanged_script_joins_the_run_that_wandb_hands_out(server, capfd):
    sweep_id = create(capfd)
    assert work(sweep_id, python("plain.py") + " {args}") == 0
    found = runs(server, sweep_id)
    assert [(run.values["lr"], run.values["model"]) for run in found] == [
        (1.0, "deep"), (2.0, "deep"), (3.0, "deep"),
    ]  # fmt: skip
    for run in found:
        assert (run.state, run.exit_code, run.steps) == ("finished", 0, [0, 1, 2])
        assert run.display_name == f"named {float(run.values['lr'])}" and run.values["batch"] == 32
        assert run.values["dy_config"] == {
            "lr": run.values["lr"], "model": {"depth": 9},
        }  # fmt: skip
    assert sorted(run.metrics["loss"] for run in open_sweep(sweep_id).runs) == [2.0, 4.0, 6.0]


def test_a_program_without_wandb_gets_a_run_with_its_metrics_and_its_state(server, capfd):
    sweep_id = create(capfd)
    assert work(sweep_id, python("asks.py") + " {config}", "--count", "2") == 0
    assert work(sweep_id, python("ends.py", "4")) == 1
    found = runs(server, sweep_id)
    assert Counter((run.state, run.summary.get("attempt")) for run in found) == {
        ("finished", 1): 2, ("failed", None): 1,
    }  # fmt: skip
    assert all("dy_config" in run.values for run in found)


def test_a_preempted_program_that_saves_is_resumed_in_the_same_run(server, start, capfd):
    sweep_id = create(capfd)
    command = ["--sweep_id", sweep_id, "--command", python("waits.py", "saves")]
    agent = start("dysweep_run_resume", *command)
    pid = wait_for(lambda: Path("pid").exists() and Path("pid").read_text())
    agent.send_signal(signal.SIGTERM)
    _, err = agent.communicate()
    assert agent.returncode == 128 + signal.SIGTERM, err
    [run] = runs(server, sweep_id)
    assert run.state == "preempted" and not is_alive(pid)
    Path("enough").touch()
    assert cli.run_resume([*command, "--recover"]) == 0
    found = runs(server, sweep_id)
    assert Counter(run.state for run in found) == {"finished": 3}
    assert run.starts >= 2 and all(run.steps == [0, 1, 2, 3, 4] for run in found)


def test_offline_runs_of_programs_are_synced_with_the_names_and_the_group_of_the_sweep(
    server, capfd, monkeypatch
):
    monkeypatch.setenv("WANDB_MODE", "offline")
    sweep_id = create(capfd)
    script = "import wandb\nrun = wandb.init(project='mine', name='x', group='y')\nrun.log({'loss': 1})\n"
    Path("grouped.py").write_text(script)
    assert work(sweep_id, python("grouped.py"), "--count", "2") == 0
    assert work(sweep_id, python("asks.py") + " {config}") == 0
    assert cli.sync(["--sweep_id", sweep_id]) == 0
    [sweep] = server.backend.sweeps.values()
    found = server.backend.runs_of(sweep.name)
    assert len(found) == 3 and {run.state for run in found} == {"finished"}
    assert {run.display_name for run in found} == {"named 1.0", "named 2.0", "named 3.0"}
    assert {run.group for run in found} == {sweep_id}
    assert run_of(sweep_id).run_id in {run.name for run in found}
