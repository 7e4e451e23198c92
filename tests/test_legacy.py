"""Sweeps of dysweep 0.1.

`data/dysweep_0_1` was written by dysweep 0.1.6 itself, with W&B's agent replaced by a loop over four points.
"""

import contextlib
import json
import multiprocessing
import os
import re
import shutil
from pathlib import Path

import pytest
import wandb

import dysweep
from dysweep import ConfigError, DirectoryError, cli
from dysweep.directory.address import SweepAddress
from dysweep.directory.legacy import OldSweep, sweep_of_metadata
from dysweep.directory.sweep import SweepDirectory

DATA = Path(__file__).parent / "data"
OLD = DATA / "dysweep_0_1"
METADATA = [json.loads(line) for line in (OLD / "metadata.jsonl").read_text().splitlines()]
VECTORS = {each["id"]: each for each in map(json.loads, (DATA / "vectors.jsonl").read_text().splitlines())}
FUNCTIONS = """
import json, wandb

def goes_on(config, checkpoint_dir):
    saved = checkpoint_dir / "state.json"
    wandb.log({"begun_at": json.loads(saved.read_text())["epoch"] if saved.exists() else 0})
    with open("executed", "a") as file:
        file.write(json.dumps(config) + "\\n")
"""


@pytest.fixture
def old_directory(own_folder):
    (own_folder / "functions.py").write_text(FUNCTIONS)
    return shutil.copytree(OLD / "checkpoints-a1b2c3d4", own_folder / "dysweep_logs/checkpoints-a1b2c3d4")


def files(folder):
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_directory_is_read_and_not_changed(old_directory, capsys):
    before = files(old_directory)
    assert cli.status([]) == 0
    header, line = capsys.readouterr().out.splitlines()
    assert header.split() == ["created", "sweep", "finished", "others", "mode"]
    assert re.split("  +", line)[1:] == ["a1b2c3d4", "2", "1 failed, 1 crashed", "dysweep 0.1"]
    assert cli.status(["--sweep_id", "a1b2c3d4"]) == 0
    out = capsys.readouterr().out
    assert "2 finished  1 failed  1 crashed" in out and "x7p2qz4m  failed " in out
    assert cli.status(["--sweep_id", "a1b2c3d4", "--log", "x7p2qz4m"]) == 0
    assert capsys.readouterr().out.startswith("training with 0.1\nException while running")
    assert cli.status(["--sweep_id", "a1b2c3d4", "--csv", "runs.csv"]) == 0
    sweep = dysweep.open_sweep("a1b2c3d4")
    assert {run.run_id: run.state for run in sweep.runs} == {
        "3k1f9a0b": "finished", "q9w3e7r2": "finished", "x7p2qz4m": "failed", "m0n8c5d1": "crashed"
    }  # fmt: skip
    [failed] = [run for run in sweep.runs if run.error]
    assert (failed.error["type"], failed.error["message"]) == ("ValueError", "the loss is nan\nat step 3")
    assert sweep.config("q9w3e7r2")["model"] == {"class_path": "Big", "init_args": {"width": 9}}
    assert files(old_directory) == before


def test_where_its_sweep_is_has_to_be_said(old_directory, capsys, monkeypatch):
    before = files(old_directory)
    work = ["--package", "functions", "--function", "goes_on", "--sweep_id", "a1b2c3d4", "--resume"]
    assert cli.run_resume(work) == 1
    assert "was made by dysweep 0.1, with a sweep that W&B serves" in capsys.readouterr().err
    assert files(old_directory) == before


@pytest.mark.parametrize("kept", METADATA, ids=[each["id"] for each in METADATA])
def test_what_was_kept_in_wandb_gives_the_same_configs(kept):
    configuration = {"method": "grid", "parameters": kept["parameters"]}
    sweep = sweep_of_metadata(SweepAddress("team", "study", "abc"), kept["metadata"], configuration)
    assert sweep.compiled.parameters.keys() == kept["parameters"].keys()
    for point in VECTORS[kept["id"]]["assignments"]:
        old_names = [name if name in kept["parameters"] else None for name in point["flat"]]
        if None in old_names:  # dysweep 0.1 named elements of lists otherwise
            old_names = list(kept["parameters"])
        assignment = dict(zip(old_names, point["flat"].values(), strict=True))
        assert sweep.compiled.resolve(sweep.base_config, assignment, allow_eval=True) == point["config"]


def test_it_goes_on_with_its_lost_runs_and_with_new_ones(old_directory, server, capsys, monkeypatch):
    monkeypatch.delenv("WANDB_MODE")
    kept = json.loads((OLD / "metadata.json").read_text())
    sweep_id = wandb.sweep(kept["sweep"], project="study")
    wandb.init(project="study", name=f"HIERARCHICAL_SWEEP_{sweep_id}", config=kept["metadata"]).finish()
    for run_id in ("3k1f9a0b", "q9w3e7r2", "x7p2qz4m", "m0n8c5d1"):
        run = wandb.init(project="study", id=run_id)
        run.log({"loss": 1.0})
        run.finish()
        server.backend.run(run_id).sweep = sweep_id
    for name in ("WANDB_SWEEP_ID", "WANDB_PROJECT", "WANDB_ENTITY"):
        os.environ.pop(name, None)  # wandb.sweep leaves them
    old_directory.rename(old_directory.with_name(f"checkpoints-{sweep_id}"))
    work = ["--package", "functions", "--function", "goes_on", "--sweep_id", f"researcher/study/{sweep_id}"]

    assert cli.run_resume([*work, "--resume"]) == 0
    err = capsys.readouterr().err
    assert "4 runs of dysweep 0.1 are continued in" in err and "2 runs finished" in err
    executed = [json.loads(line) for line in Path("executed").read_text().splitlines()]
    assert [config["model"].get("class_path") for config in executed] == ["Net", "Big"]
    for run_id in ("m0n8c5d1", "x7p2qz4m"):
        tracked = server.backend.run(run_id)
        assert [line["_step"] for line in tracked.history] == [0, 1]
        assert (tracked.history[1]["begun_at"], tracked.state, tracked.sweep) == (1, "finished", sweep_id)
    assert dysweep.open_sweep(sweep_id).counts == {"pending": 4, "finished": 4}

    assert cli.run_resume([*work, "--count", "1"]) == 0
    config = json.loads(Path("executed").read_text().splitlines()[-1])
    assert config["layers"] == [{"n": 1}, {"n": 5}] and config["epochs"] == 3
    assert config["model"] == {"class_path": "Net", "init_args": {"width": 2}}
    assert dysweep.open_sweep(sweep_id).counts == {"pending": 3, "finished": 5}
    assert cli.run_resume([*work, "--resume"]) == 0
    assert "no run to resume" in capsys.readouterr().err


def kept_sweep():
    kept = json.loads((OLD / "metadata.json").read_text())
    return sweep_of_metadata(SweepAddress("team", "study", "a1b2c3d4"), kept["metadata"], kept["sweep"])


def takes_over(folder):
    """Do what an agent does before it begins: in a process of its own."""
    directory = SweepDirectory(folder)
    if left := OldSweep.at(directory):
        left.adopt()
    with contextlib.suppress(ConfigError):  # another one was faster
        directory.create(kept_sweep())


@pytest.mark.processes
def test_processes_that_take_it_over_at_once_leave_each_run_once(old_directory):
    for number in range(40):
        folder = old_directory / f"{number + 10}_-_-_-_run{number}"
        shutil.copytree(old_directory / "2_-_-_-_m0n8c5d1", folder)
    agents = [multiprocessing.Process(target=takes_over, args=(old_directory,)) for _ in range(4)]
    for agent in agents:
        agent.start()
    for agent in agents:
        agent.join()
    assert [agent.exitcode for agent in agents] == [0, 0, 0, 0]
    counts = dysweep.open_sweep("a1b2c3d4").counts
    assert (counts["finished"], counts["failed"], counts["crashed"]) == (2, 1, 41)
    for number in range(40):
        assert (old_directory / f"runs/run{number}/checkpoint/state.json").exists()
    assert not list(old_directory.glob("*_-_-_-_*")) and not list(old_directory.glob("runs/.*"))


@pytest.mark.processes
def test_a_process_that_is_killed_while_it_takes_over_loses_nothing(old_directory):
    for number in range(40):
        folder = old_directory / f"{number + 10}_-_-_-_run{number}"
        shutil.copytree(old_directory / "2_-_-_-_m0n8c5d1", folder)
    for _ in range(20):
        agent = multiprocessing.Process(target=takes_over, args=(old_directory,))
        agent.start()
        moved = len(list(old_directory.glob("runs/*/checkpoint")))
        while agent.is_alive() and len(list(old_directory.glob("runs/*/checkpoint"))) <= moved + 1:
            pass
        agent.kill()
        agent.join()
        status = dysweep.open_sweep("a1b2c3d4")
        assert sum(status.counts.values()) - status.counts.get("pending", 0) == 44
    takes_over(old_directory)
    assert len(list(old_directory.glob("runs/*/checkpoint/state.json"))) == 42


def test_of_a_run_that_died_while_it_was_resumed_the_whole_folder_is_taken(old_directory):
    whole = old_directory / "2_-_-_-_m0n8c5d1"
    (whole / "weights").write_text("of epoch 90")
    copied = shutil.copytree(whole, old_directory / "7_-_-_-_m0n8c5d1")
    (copied / "weights").unlink()
    (old_directory / "x7p2qz4m-config.json").write_text('{"cut')  # it had returned, and died while it moved
    takes_over(old_directory)
    assert (old_directory / "runs/m0n8c5d1/checkpoint/weights").read_text() == "of epoch 90"
    assert (old_directory / "runs/m0n8c5d1/checkpoint.0001/state.json").exists()
    assert dysweep.open_sweep("a1b2c3d4").counts == {"pending": 4, "finished": 3, "crashed": 1}


def test_a_damaged_run_is_named_and_the_others_are_taken_over(old_directory, caplog):
    (old_directory / "2_-_-_-_m0n8c5d1/run_config.json").write_text("")
    takes_over(old_directory)
    assert "2_-_-_-_m0n8c5d1/run_config.json: damaged or unreadable" in caplog.text
    assert dysweep.open_sweep("a1b2c3d4").counts == {"pending": 5, "finished": 2, "failed": 1}
    assert (old_directory / "2_-_-_-_m0n8c5d1/state.json").exists()


def test_only_directories_of_its_sweeps_are_taken_over(old_directory, capsys):
    Path("config.yaml").write_text("base_config: {}\nsweep_configuration: {a: {sweep: true, values: [1, 2]}}")
    assert cli.create(["-c", "config.yaml", "--custom_checkpoint_dir", old_directory.name]) == 2
    assert "holds a sweep of dysweep 0.1 already" in capsys.readouterr().err
    assert cli.create(["-c", "config.yaml", "--custom_checkpoint_dir", "mine"]) == 0
    sweep_id = capsys.readouterr().out.strip()
    Path("dysweep_logs/mine/tokenizer-config.json").write_text("[1]")
    own = ["--custom_checkpoint_dir", "mine", "--sweep_id", sweep_id]
    assert cli.run_resume(["--package", "functions", "--function", "goes_on", *own]) == 0
    assert cli.status(own) == 0 and "2/2" in capsys.readouterr().out


def test_a_text_that_was_an_alias_too_is_refused(old_directory):
    kept = json.loads((OLD / "metadata.json").read_text())
    kept["sweep"]["parameters"]["lr"] = {"values": ["small", "medium", 3]}
    with pytest.raises(DirectoryError, match="'small' is in two parameters, lr and model"):
        sweep_of_metadata(SweepAddress("team", "study", "a1b2c3d4"), kept["metadata"], kept["sweep"])
