"""Machines that share no directory: what was interrupted on one is resumed on another, by W&B alone."""

import signal
from importlib.metadata import version
from pathlib import Path

import pytest
from helpers import create, wait_for

from dysweep import cli, open_sweep

pytestmark = pytest.mark.skipif(
    tuple(map(int, version("wandb").split(".")[:2])) < (0, 31),
    reason="the test server knows the artifacts of later SDKs only",
)
FUNCTIONS = """
import os, time, wandb
from pathlib import Path

def main(config, checkpoint_dir):
    trace = checkpoint_dir / "steps"
    for step in range(len(trace.read_text()) // 2 if trace.exists() else 0, 6):
        wandb.log({"loss": config["lr"] * (step + 1)}, step=step + 1)
        with open(trace, "a") as file:
            file.write(f"{Path.cwd().name}{step + 1}")
        Path("../reached").write_text(str(step + 1))
        while step == 2 and not Path("../enough").exists():
            time.sleep(0.05)
"""
WORK = [
    "--package",
    "functions",
    "--function",
    "main",
    "--checkpoint_artifacts",
    "--checkpoint_minutes",
    "0.01",
]


@pytest.fixture
def machines(own_folder, monkeypatch):
    """Give a function that goes to the folder of a machine."""
    for name in ("a", "b", "c"):
        (own_folder / name).mkdir()
        (own_folder / name / "functions.py").write_text(FUNCTIONS)
    (own_folder / "a/config.yaml").write_text(
        "project: study\nbase_config: {lr: 1}\nsweep_configuration: {lr: {sweep: true, values: [2, 3]}}\n"
    )
    return lambda name: monkeypatch.chdir(own_folder / name)


def steps(sweep_id, run_id):
    return Path(f"dysweep_logs/checkpoints-{sweep_id}/runs/{run_id}/checkpoint/steps").read_text()


@pytest.mark.parametrize(("how", "word"), [(signal.SIGKILL, "--resume"), (signal.SIGTERM, "--recover")])
def test_a_run_is_resumed_elsewhere_from_its_checkpoint_in_wandb(servers, start, capfd, machines, how, word):
    server = servers()
    machines("a")
    sweep_id = create(capfd)
    agent = start("dysweep_run_resume", *WORK, "--sweep_id", sweep_id, "--count", "1")
    wait_for(lambda: Path("../reached").exists() and Path("../reached").read_text() == "3")
    [run] = server.backend.runs_of(sweep_id)
    artifact = f"dysweep-checkpoint-{run.name}"
    wait_for(
        lambda: any(each.files.get("steps") == b"a1a2a3" for each in server.backend.artifacts.named(artifact))
    )
    agent.send_signal(how)
    agent.communicate()
    if how == signal.SIGKILL:
        server.backend.silence = 0.0  # W&B has not heard of the run for five minutes
        server.backend.judge(run)
        server.backend.silence = 300.0
    Path("../enough").touch()
    machines("b")
    address = ["--sweep_id", f"researcher/study/{sweep_id}"]
    assert cli.run_resume([*WORK, *address, word, "--from_wandb"]) == 0, capfd.readouterr().err
    assert run.state == "finished" and run.steps == sorted(set(run.steps)) and run.steps[-1] == 6
    assert steps(sweep_id, run.name) == "a1a2a3b4b5b6"
    assert cli.run_resume([*WORK, *address, "--recover", "--from_wandb"]) == 0
    assert [each.state for each in server.backend.runs_of(sweep_id)] == ["finished", "finished"]
    assert open_sweep(sweep_id).counts["finished"] == 2
    assert len(server.backend.artifacts.named(artifact)) == 1  # older versions are deleted


def test_of_two_machines_one_resumes_a_run(servers, start, capfd, machines):
    server = servers()
    machines("a")
    sweep_id = create(capfd)
    agent = start("dysweep_run_resume", *WORK, "--sweep_id", sweep_id, "--count", "1")
    wait_for(lambda: Path("../reached").exists() and Path("../reached").read_text() == "3")
    agent.kill()
    agent.communicate()
    [run] = server.backend.runs_of(sweep_id)
    run.state = "crashed"
    Path("../enough").touch()
    words = [*WORK, "--sweep_id", f"researcher/study/{sweep_id}", "--resume", "--from_wandb"]
    agents = []
    for name in ("b", "c"):
        machines(name)
        agents.append(start("dysweep_run_resume", *words))
    said = [agent.communicate()[1] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], said
    assert sorted("no run to resume" in text for text in said) == [False, True]
    assert run.state == "finished" and run.starts == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--from_wandb"], "from_wandb: it needs resume or recover"),
        (["--from_wandb", "--resume"], "from_wandb: the sweep {} is served by its directory, without W&B"),
        (["--checkpoint_artifacts"], "checkpoint_artifacts: the sweep {} is served by its directory"),
        (["--checkpoint_artifacts", "--isolate"], "it needs the function in the agent's own process"),
        (["--from_wandb", "--resume", "--rerun", "failed"], "from_wandb: it is not for rerun"),
        (["--checkpoint_minutes", "0"], "--checkpoint_minutes: must be a number of more than 0"),
    ],
)
def test_what_cannot_be_is_said(words, message, machines, capfd):
    machines("a")
    sweep_id = create(capfd)
    job = ["--package", "functions", "--function", "main", "--sweep_id", sweep_id]
    assert cli.run_resume([*job, *words]) == 2
    assert message.format(sweep_id) in capfd.readouterr().err
