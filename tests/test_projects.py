"""Five projects as users have them: each runs alone, and gives the same numbers as a sweep of dysweep.

What makes a script a project of dysweep is its function `main(config, checkpoint_dir)` (or `sweep.py`) and
its `sweep.yaml`; the rest is as it was written before. Each is run as its user would: by the installed
command, or as a script of Python.
"""

import math
import shutil
import sys
from pathlib import Path

import pytest
import yaml
from helpers import Process

from dysweep import cli, open_sweep

PROJECTS = Path(__file__).parent / "projects"


@pytest.fixture
def project(own_folder):
    """Give a function that puts a project into the test's folder."""

    def project(name):
        shutil.copytree(PROJECTS / name, own_folder, dirs_exist_ok=True)

    return project


def plain(*arguments):
    """Run the script alone, as before dysweep, and give the numbers on the last line that it prints."""
    command = [sys.executable, "train.py", *map(str, arguments)]
    process = Process(command, stdout=-1, stderr=-1, text=True)
    out, err = process.communicate()
    assert process.returncode == 0, err
    [line] = [line for line in out.splitlines() if line.startswith(("loss", "accuracy", "score"))]
    return [float(word) for word in line.split() if word[-1].isdigit()]


def script(name="sweep.py"):
    process = Process([sys.executable, name], stdout=-1, stderr=-1, text=True)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return err


def sweep_by_command(start):
    arguments = ["-c", "sweep.yaml", "--package", "train", "--function", "main"]
    process = start("dysweep_run_resume", *arguments)
    _, err = process.communicate()
    assert process.returncode == 0, err
    return err


def finished_runs():
    """Give the only sweep below the working directory, all runs of which have finished at once."""
    [folder] = Path("dysweep_logs").iterdir()
    sweep = open_sweep(folder.name.removeprefix("checkpoints-"))
    assert sweep.counts == {"finished": sweep.total}
    assert {run.attempts for run in sweep.runs} == {1}
    return sweep, sweep.runs


@pytest.mark.parametrize("mode", ["online", "offline"])
def test_an_argparse_script_with_its_own_wandb_init(project, server, start, monkeypatch, capsys, mode):
    project("argparse_script")
    with monkeypatch.context() as alone:
        alone.setenv("WANDB_MODE", "disabled")
        expected = {
            (lr, steps): plain("--lr", lr, "--steps", steps) for lr in (0.5, 0.25) for steps in (2, 5)
        }
    assert expected == {(lr, n): [(4 * (1 - lr) ** n) ** 2 / 2] for lr, n in expected}

    monkeypatch.setenv("WANDB_MODE", mode)
    err = sweep_by_command(start)
    assert "unrecognized arguments" not in err and "Traceback" not in err
    assert len([line for line in err.splitlines() if "quadratic" in line]) == 1  # the sweep's project stays
    sweep, runs = finished_runs()
    assert {
        (run.assignment["lr"], run.assignment["steps"]): [run.metrics["loss"]] for run in runs
    } == expected

    if mode == "offline":
        monkeypatch.setenv("WANDB_MODE", "online")
        assert cli.sync(["--sweep_id", sweep.sweep.sweep_id]) == 0
        sweep_id = capsys.readouterr().out.strip().rpartition("/")[2]
    else:
        sweep_id = sweep.sweep.sweep_id
    in_wandb = server.backend.runs_of(sweep_id)
    assert {run.name for run in in_wandb} == {run.run_id for run in runs}
    assert {run.project for run in server.backend.runs.values()} == {"study"}
    for run in in_wandb:
        lr, steps = run.values["lr"], run.values["steps"]
        assert run.state == "finished" and run.values["start"] == 4.0
        assert run.values["dy_config"] == {"start": 4.0, "lr": lr, "steps": steps}
        assert [line["loss"] for line in run.history] == [
            (4 * (1 - lr) ** n) ** 2 / 2 for n in range(1, steps + 1)
        ]
        assert (run.display_name, run.tags, run.job_type) == ("descent", ["baseline"], "train")
        assert run.notes == "a first try"


def test_a_tree_of_classes(project, start):
    project("class_path_tree")
    base = yaml.safe_load(Path("config.yaml").read_text())
    neighbours = base["model"]["class_path"]
    models = {
        "knn": {"class_path": neighbours},
        "knn1": {"class_path": neighbours, "init_args": {"n_neighbors": 1}},
        "forest": {
            "class_path": "sklearn.ensemble.RandomForestClassifier",
            "init_args": {"n_estimators": 5, "random_state": 0},
        },
    }
    steps = {"both": base["steps"], "unscaled": base["steps"][1:]}
    sweep_by_command(start)
    sweep, runs = finished_runs()
    assert len(runs) == 6
    for run in runs:
        chosen = run.assignment
        tree = {**base, "model": models[chosen["model"]], "steps": steps[chosen["steps"]]}
        assert sweep.config(run.run_id) == tree
        Path("alone.yaml").write_text(yaml.safe_dump(tree))
        assert [run.metrics["accuracy"]] == plain("alone.yaml")
    correct = {tuple(run.assignment.values()): round(60 * run.metrics["accuracy"]) for run in runs}
    assert correct["knn", "both"] == 51 and correct["knn1", "unscaled"] == 59  # of 60 flowers


@pytest.mark.filterwarnings("ignore")  # Lightning, torch and wandb warn of each other
def test_a_project_of_lightning_cli(project, start, monkeypatch):
    project("lightning_cli")
    err = sweep_by_command(start)
    assert "sys.argv" not in err  # Lightning warns where a command line is there beside its `args`
    _, runs = finished_runs()
    losses = {(run.assignment["lr"], run.assignment["max_epochs"]): run.metrics["loss"] for run in runs}
    assert losses == {
        (lr, epochs): pytest.approx((2 * (1 - lr) ** (epochs - 1)) ** 2 / 2)
        for lr in (0.5, 0.25)
        for epochs in (2, 4)
    }
    assert {run.metrics["epoch"] + 1 for run in runs} == {2, 4}
    options = ["--config", "config.yaml", "--model.lr", 0.25, "--trainer.max_epochs", 4]
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert plain(*options) == [losses[0.25, 4], pytest.approx(2 * (1 - 0.75**4))]


@pytest.mark.parametrize("way", ["script", "command"])
def test_a_project_of_hydra_that_changes_the_directory(project, start, way):
    project("hydra_compose")
    if way == "script":
        script()
    else:
        compose = [sys.executable, "train.py", "--cfg", "job", "--resolve"]
        with Path("base.yaml").open("w") as file:
            assert Process(compose, stdout=file).wait() == 0
        err = sweep_by_command(start)
        [folder] = Path("dysweep_logs").iterdir()
        assert f"4 runs finished; results in {folder}" in err.splitlines()
    sweep, runs = finished_runs()
    losses = {(run.assignment["model"], run.assignment["lr"]): run.metrics["loss"] for run in runs}
    expected = {
        (model, lr): plain(f"model={model}", f"optimizer.lr={lr}")[0]
        for model in ("square", "fourth")
        for lr in (0.125, 0.0625)
    }
    assert losses == expected
    assert losses["square", 0.125] == 0.75**6 * 2
    for run in runs:
        config = sweep.config(run.run_id)
        power = {"square": 2, "fourth": 4}[run.assignment["model"]]
        assert config == {
            "model": {"power": power, "start": 1.0 if power == 2 else 0.5},
            "optimizer": {"lr": run.assignment["lr"]},
            "steps": 3,
            "size": 2,
            "scale": 2,  # an interpolation, resolved
        }
        weights = sweep.directory / "runs" / run.run_id / "checkpoint/weights.txt"
        assert float(weights.read_text()) ** power * 2 == run.metrics["loss"]


@pytest.mark.parametrize("base", ["asdict(Settings(epochs=3))", "Settings(epochs=3)"])
def test_settings_in_nested_dataclasses(project, base):
    project("dataclass_settings")
    code = Path("sweep.py").read_text()
    assert "asdict(Settings(epochs=3))" in code
    Path("sweep.py").write_text(code.replace("asdict(Settings(epochs=3))", base))
    script()
    sweep, runs = finished_runs()
    scores = {(run.assignment["model"], run.assignment["lr"]): run.metrics["score"] for run in runs}
    assert scores == {
        (model, lr): 4 * size * (1 - lr) ** 3 + 0.9
        for model, size in (("small", 3), ("deep", 6))
        for lr in (0.5, 0.25)
    }
    assert math.isclose(plain()[0], 4 * 3 * 0.9**2 + 0.9)
    first = sweep.config(runs[0].run_id)
    assert first == {
        "model": {"width": 4, "layers": [1, 2], "extra": {}},
        "optimizer": {"lr": 0.5, "betas": [0.9, 0.999]},
        "epochs": 3,
        "data": None,
    }
