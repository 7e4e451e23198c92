"""What runs have logged over their steps, read from W&B's files beside them."""

import logging
import math
import re
import shutil
from pathlib import Path

import pytest
import wandb
from helpers import LONGEST_WAIT, wait_for

from dysweep import ConfigError, dysweep_run_resume, dysweep_sync, open_sweep
from dysweep.tracking.histories import RunHistory

FUNCTIONS = """
import time
from pathlib import Path
import wandb

def main(config, checkpoint_dir):
    for step in range(1000):
        wandb.log({"loss": 0.25, "epoch": step})
    while not Path("go").exists():
        time.sleep(0.05)
"""


def swept(values=(1,), **more):
    metric = {"name": "accuracy", "goal": "maximize"}
    return dysweep_run_resume(
        base_config={"lr": 0},
        sweep_configuration={
            "metric": metric,
            "parameters": {"lr": {"sweep": True, "values": list(values)}},
            **more,
        },
    )


def executed(function, **more):
    sweep_id = swept(**more)
    dysweep_run_resume(sweep_id=sweep_id, function=function, raise_errors=False)
    return sweep_id


def points(sweep_id, *metric):
    frame = open_sweep(sweep_id).history(*metric)
    assert list(frame.columns) == ["run_id", "step", "value"]
    return [(run_id[-4:], step, value) for run_id, step, value in frame.itertuples(index=False)]


def said_by(caplog):
    return [
        each.getMessage()
        for each in caplog.records
        if (each.name, each.levelno) == ("dysweep", logging.WARNING)
    ]


def files():
    return sorted(Path("dysweep_logs").glob("*/runs/*/wandb/offline-run-*/*.wandb"))


def trains(config, checkpoint_dir):
    """Train for four epochs, and fail after the second one at the first attempt."""
    saved = checkpoint_dir / "epoch"
    first = int(saved.read_text()) if saved.exists() else 0
    for epoch in range(first, 4):
        wandb.log({"accuracy": epoch / 10, "val": {"loss": -epoch}})
        saved.write_text(str(epoch + 1))
        if epoch == 1 and first == 0:
            raise ValueError("interrupted")


def logs(config, checkpoint_dir):
    for step in range(3):
        wandb.log({"accuracy": config["lr"] + step})


def test_the_curve_of_a_resumed_run_has_no_gap_and_no_step_twice():
    sweep_id = executed(trains)
    assert points(sweep_id) == [("0001", 0, 0.0), ("0001", 1, 0.1)]
    dysweep_run_resume(sweep_id=sweep_id, function=trains, resume=True)
    assert points(sweep_id) == [("0001", 0, 0.0), ("0001", 1, 0.1), ("0001", 2, 0.2), ("0001", 3, 0.3)]
    assert points(sweep_id, "val.loss") == [("0001", step, -step) for step in range(4)]


def test_a_rerun_from_scratch_replaces_what_was_logged_before():
    sweep_id = executed(trains)
    dysweep_run_resume(sweep_id=sweep_id, function=logs, rerun="all")
    assert points(sweep_id) == [("0001", 0, 1), ("0001", 1, 2), ("0001", 2, 3)]


def test_nan_and_infinity_are_values_and_other_kinds_are_none():
    def diverges(config, checkpoint_dir):
        for value in (1.0, math.nan, math.inf, -math.inf, "text", True, None, 5):
            wandb.log({"accuracy": value})

    values = [(step, value) for _, step, value in points(executed(diverges))]
    assert repr(values) == "[(0, 1.0), (1, nan), (2, inf), (3, -inf), (7, 5.0)]"


def test_a_metric_that_is_kept_as_its_maximum_has_a_history():
    def keeps(config, checkpoint_dir):
        wandb.define_metric("accuracy", summary="max")
        for value in (1, 3, 2):
            wandb.log({"accuracy": value})

    assert points(executed(keeps), "accuracy.max") == [("0001", 0, 1), ("0001", 1, 3), ("0001", 2, 2)]


def test_a_run_beside_the_sweeps_run_has_no_part_in_its_history():
    def begins_another(config, checkpoint_dir):
        wandb.log({"accuracy": 1})
        with wandb.init(reinit="create_new", mode="offline") as other:
            other.log({"accuracy": 99})

    assert points(executed(begins_another)) == [("0001", 0, 1)]


@pytest.mark.parametrize(
    ("damage", "said", "left"),
    [
        (lambda content: b"X" + content[1:], "it does not begin as W&B's files do", 0),
        (
            lambda content: content[:-9],
            "its end is missing (killed, or cut off); what came before is shown",
            3,
        ),
        (lambda content: content + bytes(64), "damaged at byte {size}", 3),
    ],
    ids=["header", "cut", "zeros"],
)
def test_a_damaged_file_is_named_and_the_others_are_shown(damage, said, left, caplog):
    sweep_id = executed(logs, values=(1, 10))
    wandb.teardown()
    first, _ = files()
    content = first.read_bytes()
    first.write_bytes(damage(content))
    shown = points(sweep_id)
    assert shown == [("0001", step, 1 + step) for step in range(left)] + [
        ("0002", step, 10 + step) for step in range(3)
    ]
    [message] = said_by(caplog)
    assert message == f"{first.absolute()}: {said.format(size=len(content))}"


def test_a_changed_byte_is_found_wherever_it_is(caplog):
    executed(logs)
    wandb.teardown()
    [file] = files()
    content = file.read_bytes()
    run = file.parents[2]
    whole = RunHistory(run)
    whole.read()
    for place in range(7, len(content), 97):
        file.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        history = RunHistory(run)
        history.read()
        assert history.problems or history.cut_off, place
        assert history.rows == whole.rows[: len(history.rows)]


def test_a_file_that_grows_is_read_on_where_it_has_ended():
    executed(logs)
    wandb.teardown()
    [file] = files()
    content = file.read_bytes()
    whole = RunHistory(file.parents[2])
    whole.read()
    assert [row for row, _ in whole.rows] == [0, 1, 2]
    for cut in range(0, len(content), 61):
        file.write_bytes(content[:cut])
        history = RunHistory(file.parents[2])
        history.read()
        file.write_bytes(content)
        history.read()
        history.read()
        assert (history.rows, history.last, history.problems) == (whole.rows, whole.last, [])


def test_runs_without_files_are_named(caplog):
    sweep_id = executed(logs, values=(1, 2))
    shutil.rmtree(files()[0].parents[1])
    assert [run for run, *_ in points(sweep_id)] == ["0002"] * 3
    assert said_by(caplog) == [f"{sweep_id}-0001: no W&B files in wandb/ beside it here, so no steps to show"]


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (["acuracy"], "history: no run has logged 'acuracy'; did you mean 'accuracy'?"),
        ([], 'history: of which metric? The sweep declares none; as history("loss")'),
    ],
)
def test_a_metric_that_nobody_logged(metric, message):
    sweep_id = executed(logs, metric=None)
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}"):
        open_sweep(sweep_id).history(*metric)


def test_a_sweep_that_has_logged_nothing():
    with pytest.raises(
        ConfigError, match="^history: no run has logged 'accuracy'; none has logged a number$"
    ):
        open_sweep(swept()).history()


@pytest.mark.parametrize(
    "steps", [[[None] * 3, [None, 10, None]], [[0, 1, 2], [2, 3, 4]], [[0, 5], [3, 20, 21]]]
)
def test_the_steps_are_those_that_the_run_has_in_wandb(server, monkeypatch, steps):
    monkeypatch.setenv("WANDB_MODE", "offline")

    def log(config, checkpoint_dir):
        mark = checkpoint_dir / "mark"
        attempt = int(mark.exists())
        mark.touch()
        for step in steps[attempt]:
            wandb.log({"accuracy": 1}, step=step)
        if attempt == 0:
            raise ValueError("interrupted")

    sweep_id = executed(log)
    dysweep_run_resume(sweep_id=sweep_id, function=log, resume=True)
    shown = [step for _, step, _ in points(sweep_id)]
    wandb.teardown()
    dysweep_sync(sweep_id=sweep_id, project="study")
    [run] = [run for run in server.backend.runs.values() if run.name == f"{sweep_id}-0001"]
    # Of 0.22 there is a step with nothing in it between two attempts.
    assert shown == [row["_step"] for row in run.history if "accuracy" in row]


def test_the_runs_of_a_sweep_that_wandb_serves_have_local_files_too(server, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    sweep_id = dysweep_run_resume(
        base_config={},
        project="study",
        sweep_configuration={"lr": {"sweep": True, "values": [1]}},
    )
    dysweep_run_resume(sweep_id=sweep_id, function=trains, raise_errors=False)
    dysweep_run_resume(sweep_id=sweep_id, function=trains, resume=True)
    history = open_sweep(sweep_id).history("accuracy")
    assert list(zip(history.step, history.value, strict=True)) == [(0, 0), (1, 0.1), (2, 0.2), (3, 0.3)]


def test_watching_shows_the_last_step_and_value_of_a_running_run(start, own_folder):
    (own_folder / "functions.py").write_text(FUNCTIONS)
    sweep_id = swept(metric={"name": "loss", "goal": "minimize"})
    agent = start(
        "dysweep_run_resume", "--package", "functions", "--function", "main", "--sweep_id", sweep_id
    )
    # The SDK writes a file in parts.
    wait_for(lambda: any(file.stat().st_size > 1 << 15 for file in files()))
    watching = start("dysweep_status", "--sweep_id", sweep_id, "--watch")
    line = wait_for(
        lambda: next((line for line in watching.stdout if sweep_id in line and "since" in line), None)
    )
    (own_folder / "go").touch()
    assert re.search(r"since .*, step \d+, loss 0\.25  ", line)
    assert watching.wait() == agent.wait(LONGEST_WAIT) == 0
