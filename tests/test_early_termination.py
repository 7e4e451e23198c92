"""`early_terminate` without W&B: which runs are stopped, when, and what says so."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
from helpers import create, directory, run, run_of, states, wait_for

import dysweep
from dysweep import ConfigError, cli
from dysweep.language.hyperband import Hyperband, Logged

GOLDEN = [
    json.loads(line) for line in (Path(__file__).parent / "data/hyperband.jsonl").read_text().splitlines()
]
NUMBERS = {"NaN": float("nan"), "inf": float("inf")}

CONFIG = """
base_config: {lr: 0}
sweep_configuration:
  metric: {name: val.loss, goal: minimize}
  early_terminate: {type: hyperband, min_iter: 2}
  parameters: {lr: {sweep: true, values: [1, 3, 2]}}
"""
FUNCTIONS = """
import os, signal, sys, threading, time
from pathlib import Path
import numpy as np
import wandb
from wandb import init

def _rows(log, lr, many=5):
    for _ in range(many):
        log({"val.loss": lr})

def with_wandb_log(config):
    _rows(wandb.log, config["lr"])

def with_the_log_of_a_run(config):
    _rows(wandb.init().log, config["lr"])

def with_an_imported_init(config):
    _rows(init().log, config["lr"])

def in_a_with_block(config):
    with wandb.init() as run:
        _rows(run.log, config["lr"])

def after_a_second_init(config):
    with wandb.init() as run:
        _rows(run.log, config["lr"], 1)
    _rows(wandb.init().log, config["lr"])

def in_a_thread(config):
    ended = threading.Event()

    def work():
        try:
            _rows(wandb.log, config["lr"])
        finally:
            ended.set()

    try:
        threading.Thread(target=work).start()
        ended.wait()
    finally:
        ended.wait()  # or it would log to a run that has ended; a second join() would not wait (Python 3.11)

def nested(config):
    for _ in range(5):
        wandb.log({"val": {"loss": config["lr"], "acc": 0}})

def without_commit(config):
    for _ in range(5):
        wandb.log({"val.loss": config["lr"]}, commit=False)
        wandb.log({"other": 1})

def twice_in_a_step(config):
    for step in range(5):
        wandb.log({"val.loss": config["lr"]}, step=step)
        wandb.log({"val.loss": config["lr"]}, step=step)

def back_in_steps(config):
    for step in range(10, 15):
        wandb.log({"val.loss": config["lr"]}, step=step)
        wandb.log({"val.loss": config["lr"]}, step=step - 5)

def as_numbers_of_numpy(config):
    for _ in range(5):
        wandb.log({"val.loss": np.float32(config["lr"])})

def as_arrays(config):
    for _ in range(5):
        wandb.log({"val.loss": np.array(config["lr"])})

def between_what_does_not_count(config):
    for value in (float("nan"), None, "3", True, float("inf"), np.float64("nan")):
        wandb.log({"val.loss": value, "other": 1}, step=0)
    _rows(wandb.log, config["lr"])

def another_metric(config):
    for _ in range(5):
        wandb.log({"loss": config["lr"], "val": {"acc": 1}, "val.loss.x": 2})

def in_two_attempts(config, checkpoint_dir):
    resumed = (checkpoint_dir / "begun").exists()
    (checkpoint_dir / "begun").touch()
    _rows(wandb.log, config["lr"], 3 if resumed or config["lr"] == 1 else 1)
    if config["lr"] == 3 and not resumed:
        how = os.environ["ENDS_BY"]
        if how == "raising":
            raise ValueError
        os.kill(os.getpid(), getattr(signal, how))
        time.sleep(600)

def recovers(config):
    for loss in ([1] * 5 if config["lr"] == 1 else [0, 3, 3, 3]):
        wandb.log({"val.loss": loss})

def is_best_before_it_fails(config, checkpoint_dir):
    resumed = (checkpoint_dir / "begun").exists()
    (checkpoint_dir / "begun").touch()
    if config["lr"] == 3 and not resumed:
        wandb.log({"val.loss": 0})
        raise ValueError
    _rows(wandb.log, config["lr"])

def until_it_is_stopped(config):
    (Path.cwd() / f"started-{config['lr']}").touch()
    if config["lr"] == 3:
        while True:
            wandb.log({"val.loss": 3})
            (Path.cwd() / "logged").touch()
            time.sleep(0.05)
    while not (Path.cwd() / "logged").exists():
        time.sleep(0.05)
    with_wandb_log(config)

def swallows_it(config):
    try:
        _rows(wandb.log, config["lr"])
        time.sleep(60 if config["lr"] == 3 else 0)
    except BaseException:
        pass
"""


@pytest.fixture(autouse=True)
def files(own_folder):
    (own_folder / "config.yaml").write_text(CONFIG)
    (own_folder / "functions.py").write_text(FUNCTIONS)


def configured(old, new):
    Path("config.yaml").write_text(CONFIG.replace(old, new))


def early(sweep_id, number=2):
    end = run_of(sweep_id, number).last_attempt().end()
    return end.stopped_early and (end.stopped_early.band, end.stopped_early.step)


def logged_of(rule, history):
    logged = Logged()
    for value in history:
        logged = rule.add(logged, NUMBERS.get(value, value) if isinstance(value, str) else value)
    return logged


@pytest.mark.parametrize("case", [each for each in GOLDEN if "runs" in each], ids=lambda each: each["id"])
def test_the_bands_the_thresholds_and_who_is_stopped(case):
    rule = Hyperband.of(case)
    runs = {each["id"]: logged_of(rule, each["history"]) for each in case["runs"]}
    running = {each["id"] for each in case["runs"] if each["state"] == "running"}
    expected = case["expect"]
    bands = [band for band in rule.bands if any(band in each.at_bands for each in runs.values())]
    assert bands == expected["bands"]
    values = [[each.at_bands[band] for each in runs.values() if band in each.at_bands] for band in bands]
    assert [rule.threshold(each) for each in values] == expected["thresholds"]
    assert [name for name in runs if name in running and judged(rule, runs, name)] == expected["stop"]


def judged(rule, runs, name):
    band = rule.band_of(runs[name].count)
    others = [each.at_bands[band] for other, each in runs.items() if other != name and band in each.at_bands]
    return rule.judge(runs[name], others, step=0)


@pytest.mark.parametrize("case", [each for each in GOLDEN if "events" in each], ids=lambda each: each["id"])
def test_a_run_is_stopped_when_it_logs(case):
    rule = Hyperband.of(case)
    runs, stopped = {}, {}
    for place, (name, value) in enumerate(case["events"]):
        if name not in stopped:
            runs[name] = rule.add(runs.get(name, Logged()), value)
            if judged(rule, runs, name):
                stopped[name] = place
    assert stopped == case["expect"]["stopped_at"]


def test_bands_without_end_end():
    for described in ({"min_iter": 10**400, "eta": 1.5}, {"min_iter": 1, "eta": 1 + 1e-15}):
        assert len(Hyperband.of({"metric": {"name": "a"}, "early_terminate": described}).bands) == 1
    far = Hyperband.of({"metric": {"name": "a"}, "early_terminate": {"min_iter": 1, "eta": 1e300}})
    assert far.bands == (1,) and far.add(Logged(), 10**400).count == 1


@pytest.mark.parametrize("case", [each for each in GOLDEN if "error" in each], ids=lambda each: each["id"])
def test_what_makes_no_sense_is_an_error_at_creation(case):
    described = {key: case[key] for key in ("early_terminate", "metric") if case[key] is not None}
    parameters = {"lr": {"sweep": True, "values": [1, 2]}}
    with pytest.raises(ConfigError) as raised:
        dysweep.dysweep_run_resume(
            base_config={"lr": 0}, sweep_configuration={**described, "parameters": parameters}
        )
    where = str(raised.value).partition(": ")[0]
    assert where.endswith(f".{case['error']['path_ends'] or 'early_terminate'}")
    assert not Path("dysweep_logs").exists()


@pytest.mark.parametrize("described", ["scheduler: {engine: optuna}", "method: custom"])
def test_what_only_wandb_can_serve_is_an_error(described, capsys):
    configured("  metric:", f"  {described}\n  metric:")
    assert cli.create(["-c", "config.yaml"]) == 2
    key = described.partition(":")[0]
    assert f"sweep_configuration.{key}: " in capsys.readouterr().err


def test_it_is_said_everywhere_and_resume_leaves_it_alone(capsys):
    sweep_id = create(capsys)
    assert run("with_wandb_log", "--sweep_id", sweep_id) == 0
    err = capsys.readouterr().err
    assert "no effect" not in err and "2 runs finished, 1 stopped early; results in" in err
    assert "killed" in err and "val.loss 3  stopped early at step 1 (band 2)  lr=3" in err
    assert states(sweep_id) == ["finished", "killed", "finished"]

    end = json.loads(run_of(sweep_id, 2).last_attempt().end_path.read_text())
    assert end["stopped_early"] == {"band": 2, "value": 3, "threshold": 1, "step": 1}
    assert end["metrics"] == {"val.loss": 3}
    assert "stopped_early" not in json.loads(run_of(sweep_id, 1).last_attempt().end_path.read_text())

    assert cli.status(["--sweep_id", sweep_id, "--runs"]) == 0
    header, stopped, *others = capsys.readouterr().out.splitlines()
    assert re.split("  +", header)[4:] == ["val.loss", "parameters", "stopped early"]
    assert re.split("  +", stopped)[4:] == ["3", "lr=3", "stopped early at step 1 (band 2)"]
    assert len(others) == 2 and "early" not in "".join(others)
    assert cli.status(["--sweep_id", sweep_id, "--json"]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [each["stopped_early"] for each in runs][:2] == [None, end["stopped_early"]]
    assert cli.status(["--sweep_id", sweep_id, "--csv", "-"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["stopped_early"] for row in rows][:2] == ["", "stopped early at step 1 (band 2)"]
    assert cli.status(["--sweep_id", sweep_id, "--html", "page.html"]) == 0
    assert '"killed, stopped early at step 1 (band 2)"' in Path("page.html").read_text()

    capsys.readouterr()
    assert run("with_wandb_log", "--sweep_id", sweep_id, "--resume") == 0
    assert "no run to resume" in capsys.readouterr().err


WAYS = """with_wandb_log with_the_log_of_a_run with_an_imported_init in_a_with_block after_a_second_init
in_a_thread nested without_commit twice_in_a_step as_numbers_of_numpy as_arrays""".split()


@pytest.mark.parametrize("way", WAYS)
def test_all_ways_to_log_are_seen_once(way, capsys):
    sweep_id = create(capsys)
    assert run(way, "--sweep_id", sweep_id, "--count", "2") == 0
    assert states(sweep_id) == ["finished", "killed"]
    assert early(sweep_id) == (2, 1)


def test_a_step_that_wandb_drops_does_not_count(capsys):
    sweep_id = create(capsys)
    assert run("back_in_steps", "--sweep_id", sweep_id, "--count", "2") == 0
    assert early(sweep_id) == (2, 11)


def test_what_is_no_finite_number_does_not_count(capsys):
    sweep_id = create(capsys)
    assert run("between_what_does_not_count", "--sweep_id", sweep_id, "--count", "2") == 0
    assert early(sweep_id) == (2, 1)


def test_a_metric_that_is_never_logged_stops_nothing(capsys):
    sweep_id = create(capsys)
    assert run("another_metric", "--sweep_id", sweep_id) == 0
    assert states(sweep_id) == ["finished"] * 3
    assert "metric 'val.loss' was never logged" in capsys.readouterr().err


def test_a_function_in_a_process_of_its_own_is_stopped_too(capsys):
    sweep_id = create(capsys)
    assert run("with_wandb_log", "--sweep_id", sweep_id, "--isolate", "True", "--count", "2") == 0
    assert states(sweep_id) == ["finished", "killed"]
    assert early(sweep_id) == (2, 1)


@pytest.mark.parametrize("way", ["raising", "SIGTERM", "SIGKILL"])
def test_the_values_of_earlier_attempts_count(way, capsys, start, monkeypatch):
    monkeypatch.setenv("ENDS_BY", way)
    sweep_id = create(capsys)
    work = ["--package", "functions", "--function", "in_two_attempts", "--sweep_id", sweep_id]
    start("dysweep_run_resume", *work, "--count", "2").communicate()
    interrupted = {"raising": "failed", "SIGTERM": "preempted", "SIGKILL": "crashed"}[way]
    assert states(sweep_id) == ["finished", interrupted]
    assert run("in_two_attempts", "--sweep_id", sweep_id, "--resume", "--count", "1") == 0
    assert states(sweep_id) == ["finished", "killed"]
    assert early(sweep_id) == (2, 1)


def test_a_run_from_scratch_is_judged_anew(capsys):
    sweep_id = create(capsys)
    assert run("with_wandb_log", "--sweep_id", sweep_id, "--count", "2") == 0
    assert run("with_wandb_log", "--sweep_id", sweep_id, "--rerun_id", f"{sweep_id}-0002") == 0
    assert run_of(sweep_id, 2).last_attempt().number == 2 and early(sweep_id) == (2, 1)

    assert run("another_metric", "--sweep_id", sweep_id, "--rerun_id", f"{sweep_id}-0001") == 0
    assert run("with_wandb_log", "--sweep_id", sweep_id, "--rerun_id", f"{sweep_id}-0002") == 0
    assert run_of(sweep_id, 2).state() == "finished"


@pytest.mark.parametrize(("strict", "state"), [("true", "killed"), ("false", "finished")])
def test_strict_compares_the_value_at_the_band(strict, state, capsys):
    configured("min_iter: 2", f"min_iter: 2, strict: {strict}")
    sweep_id = create(capsys)
    assert run("recovers", "--sweep_id", sweep_id, "--count", "2") == 0
    assert states(sweep_id) == ["finished", state]


def test_the_best_value_of_an_earlier_attempt_is_kept(capsys):
    configured("min_iter: 2", "min_iter: 2, strict: false")
    sweep_id = create(capsys)
    assert run("is_best_before_it_fails", "--sweep_id", sweep_id, "--count", "2") == 1
    assert run("is_best_before_it_fails", "--sweep_id", sweep_id, "--resume") == 0
    assert states(sweep_id) == ["finished", "finished"]


def test_an_agent_sees_what_another_one_logs_meanwhile(capsys, start):
    configured(
        "min_iter: 2}\n  parameters: {lr: {sweep: true, values: [1, 3, 2]",
        "min_iter: 2, eta: 100000}\n  parameters: {lr: {sweep: true, values: [3, 1]",
    )
    sweep_id = create(capsys)
    work = ["--package", "functions", "--function", "until_it_is_stopped", "--sweep_id", sweep_id]
    first = start("dysweep_run_resume", *work, "--count", "1")
    wait_for(Path("logged").exists)
    second = start("dysweep_run_resume", *work)
    second.communicate()
    first.communicate()
    assert (first.returncode, second.returncode) == (0, 0)
    assert states(sweep_id) == ["killed", "finished"]
    assert early(sweep_id, 1)[0] == 2


def test_a_function_that_swallows_the_stop_has_finished(capsys):
    sweep_id = create(capsys)
    assert run("swallows_it", "--sweep_id", sweep_id, "--count", "2") == 0
    assert states(sweep_id) == ["finished", "finished"] and early(sweep_id) is None


def test_without_early_terminate_nothing_is_written(capsys):
    configured("  early_terminate: {type: hyperband, min_iter: 2}\n", "")
    sweep_id = create(capsys)
    assert run("with_wandb_log", "--sweep_id", sweep_id) == 0
    assert states(sweep_id) == ["finished"] * 3
    names = {path.name for path in directory(sweep_id).runs_path.glob("*/attempts/*")}
    assert names == {"0001.json", "0001.end.json", "0001.heartbeat", "0001.log"}


def test_the_bands_are_those_of_the_documentation(capsys):
    page = (Path(__file__).parents[1] / "tutorials/docs/search.md").read_text(encoding="utf-8")
    section = page.partition("\n## Early termination\n")[2]
    example = section.partition("```yaml\n")[2].partition("```")[0]
    Path("config.yaml").write_text(f"base_config: {{lr: 1}}\n{example}")
    described = directory(create(capsys)).sweep.sweep_configuration
    assert "3, 9, 27, ... times" in section and Hyperband.of(described).bands[:3] == (3, 9, 27)
    downwards = {**described, "early_terminate": {"max_iter": 27, "s": 2}}
    assert "`max_iter: 27, s: 2` counts downwards instead: bands 9 and 3" in section
    assert Hyperband.of(downwards).bands == (3, 9)


def test_programs_are_not_stopped_and_that_is_said(capsys):
    sweep_id = create(capsys)
    assert cli.run_resume(["--sweep_id", sweep_id, "--command", "true"]) == 0
    said = "sweep_configuration.early_terminate: no effect on programs offline, only on functions"
    assert capsys.readouterr().err.count(said) == 1


def test_files_that_others_have_damaged_stop_nothing(capsys):
    sweep_id = create(capsys)
    assert run("with_wandb_log", "--sweep_id", sweep_id, "--count", "1") == 0
    for path in run_of(sweep_id, 1).attempts_path.glob("*.band.*"):
        path.write_text("{")
    assert run("with_wandb_log", "--sweep_id", sweep_id, "--count", "1") == 0
    assert states(sweep_id) == ["finished", "finished"]
    (run_of(sweep_id, 2).attempts_path / "0001.logged").write_text('{"count": Infinity}')
    (run_of(sweep_id, 2).attempts_path / "0001.band.0006.json").write_text('{"value": true}')
    assert run("with_wandb_log", "--sweep_id", sweep_id, "--rerun_id", f"{sweep_id}-0001") == 0
    assert states(sweep_id) == ["finished", "finished"]


def test_an_attempt_whose_files_are_damaged_counts_from_its_last_band(capsys, monkeypatch):
    monkeypatch.setenv("ENDS_BY", "raising")
    sweep_id = create(capsys)
    assert run("in_two_attempts", "--sweep_id", sweep_id, "--count", "2") == 1
    (run_of(sweep_id, 2).attempts_path / "0001.logged").write_text('{"count": Infinity}')
    assert run("in_two_attempts", "--sweep_id", sweep_id, "--resume") == 0
    band, _ = early(sweep_id)  # the step is the SDK's own before 0.31, which counts on from the last attempt
    assert band == 2


@pytest.mark.parametrize("stored", [{"band": "3"}, {"band": 3, "value": "x", "threshold": 1, "step": 3}, [1]])
def test_a_damaged_reason_is_named(stored, capsys):
    sweep_id = create(capsys)
    assert run("with_wandb_log", "--sweep_id", sweep_id, "--count", "1") == 0
    end = run_of(sweep_id, 1).last_attempt().end_path
    end.write_text(json.dumps({**json.loads(end.read_text()), "stopped_early": stored}))
    assert cli.status(["--sweep_id", sweep_id]) == 0
    assert "0001.end.json: damaged or unreadable" in capsys.readouterr().out
