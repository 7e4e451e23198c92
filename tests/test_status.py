"""`dysweep_status`: what it shows people, and what it gives scripts."""

import csv
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import IPython
import pytest
import wandb
from helpers import LONGEST_WAIT

import dysweep
from dysweep import NotFoundError, cli, dysweep_run_resume

FUNCTIONS = """
import time
import wandb

def trains(config, checkpoint_dir):
    print("training with", config["lr"])
    wandb.log({"loss": config["lr"] / 2, "lr": 7.0})
    if config["lr"] == 2:
        raise ValueError("the loss is nan\\nat step 3")
    if config["lr"] == 3:
        (checkpoint_dir / "started").touch()
        time.sleep(600)
"""


@pytest.fixture
def sweep_id(own_folder):
    (own_folder / "functions.py").write_text(FUNCTIONS)
    return dysweep_run_resume(
        base_config={"model": {}},
        sweep_configuration={
            "name": "study",
            "parameters": {
                "lr": {"sweep": True, "values": [1, 2, 3, 4, 5]},
                "model": {"sweep": True, "sweep_alias": ["net"], "values": [{"width": 3}]},
            },
        },
    )


@pytest.fixture
def half_done(sweep_id, start):
    """Leave a run finished, one failed, one running and two pending."""
    work = ["--package", "functions", "--function", "trains", "--sweep_id", sweep_id]
    agent = start("dysweep_run_resume", *work)
    deadline = time.monotonic() + LONGEST_WAIT
    while not list(Path("dysweep_logs").glob("*/runs/*/checkpoint/started")):
        assert agent.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    return sweep_id, agent


def shown(capsys, *arguments):
    capsys.readouterr()
    assert cli.status(list(arguments)) == 0
    return capsys.readouterr().out


def test_a_sweep_is_shown_with_what_needs_attention_and_what_runs(half_done, capsys):
    sweep_id, agent = half_done
    lines = shown(capsys, "--sweep_id", sweep_id).splitlines()
    assert lines[0].startswith(f"sweep {sweep_id}  study  offline  ")
    assert "1/5" in lines[1] and "2 pending  1 running  1 finished  1 failed" in lines[1]
    assert [line.split("  ") for line in lines[2:]] == [
        ["needs attention:"],
        ["", f"{sweep_id}-0002", "failed", "1 attempt", lines[3].split("  ")[4]],
        ["errors:"],
        ["", "ValueError: at step 3"],
        ["", "", f"1 run: {sweep_id}-0002"],
        ["running:"],
        ["", f"{sweep_id}-0003", lines[8].split("  ")[2], lines[8].split("  ")[3], "lr=3, model=net"],
    ]
    agent.send_signal(signal.SIGKILL)
    agent.wait()
    after = shown(capsys, "--sweep_id", sweep_id, "--max_attempts", "1")
    assert "given up after 1 attempt" in after and "crashed" in after and "running:" not in after


def test_all_runs_are_listed_first_those_that_need_attention(half_done, capsys):
    sweep_id, _ = half_done
    lines = shown(capsys, "--sweep_id", sweep_id, "--runs").splitlines()
    assert lines[0].split() == ["run", "state", "attempts", "duration", "parameters", "metrics"]
    assert [line.split()[:3] for line in lines[1:4]] == [
        [f"{sweep_id}-0002", "failed", "1"],
        [f"{sweep_id}-0003", "running", "1"],
        [f"{sweep_id}-0001", "finished", "1"],
    ]
    assert lines[3].endswith("lr=1, model=net  loss=0.5, lr=7")
    assert lines[4:] == ["errors:", "  ValueError: at step 3", f"    1 run: {sweep_id}-0002"]


def test_scripts_get_json_and_csv(half_done, capsys):
    sweep_id, agent = half_done
    status = json.loads(shown(capsys, "--sweep_id", sweep_id, "--json"))
    assert (status["sweep_id"], status["mode"], status["total"]) == (sweep_id, "offline", 5)
    assert status["counts"] == {"pending": 2, "running": 1, "finished": 1, "failed": 1}
    first, second, third = status["runs"]
    assert first["metrics"] == {"loss": 0.5, "lr": 7} and first["assignment"] == {"lr": 1, "model": "net"}
    assert second["error"]["type"] == "ValueError" and second["attempts"] == 1 and second["seconds"] > 0
    assert third["state"] == "running" and third["sign_of_life"] and third["ended"] is None
    for run, outcome in [(first, "finished"), (second, "failed"), (third, "running")]:
        [attempt] = run["history"]
        assert (attempt["outcome"], attempt["pid"]) == (outcome, agent.pid)
        assert (attempt["started"], attempt["ended"]) == (run["started"], run["ended"])
    assert shown(capsys, "--sweep_id", sweep_id, "--csv", "runs.csv") == ""
    rows = list(csv.DictReader(io.StringIO(Path("runs.csv").read_text())))
    assert [row["state"] for row in rows] == ["finished", "failed", "running"]
    assert (rows[0]["lr"], rows[0]["model"], rows[0]["metric.lr"], rows[0]["loss"]) == (
        "1",
        "net",
        "7",
        "0.5",
    )
    assert rows[1]["error"] == "ValueError: the loss is nan\nat step 3"


@pytest.mark.parametrize("damage", ['"metrics": null', '"metrics": {"loss": "low"}', '"ended": "soon"'])
def test_an_end_that_makes_no_sense_is_named(sweep_id, capsys, damage):
    dysweep_run_resume(function=lambda config, checkpoint_dir: None, sweep_id=sweep_id, count=2)
    [path] = Path("dysweep_logs").glob("*/runs/*0001/attempts/0001.end.json")
    end = {**json.loads(path.read_text()), **json.loads("{" + damage + "}")}
    path.write_text(json.dumps(end))
    out = shown(capsys, "--sweep_id", sweep_id, "--runs")
    assert "0002  finished" in out
    assert f"{path.name}: damaged or unreadable" in shown(capsys, "--sweep_id", sweep_id)
    assert shown(capsys, "--sweep_id", sweep_id, "--html", "report.html") == ""


def test_texts_that_are_no_unicode_can_be_written(sweep_id, start, capsys):
    Path("bad.py").write_text("def fails(config, checkpoint_dir): raise ValueError('no file a\\udcff.txt')\n")
    work = ["--package", "bad", "--function", "fails", "--sweep_id", sweep_id, "--count", "1"]
    assert start("dysweep_run_resume", *work).wait() == 1
    for option in ("--csv", "--html"):
        assert shown(capsys, "--sweep_id", sweep_id, option, "written") == ""
        assert "a\\udcff.txt" in Path("written").read_text()


def test_the_log_of_a_run_is_printed(half_done, capsys):
    sweep_id, _ = half_done
    assert shown(capsys, "--sweep_id", sweep_id, "--log", f"{sweep_id}-0001") == "training with 1\n"
    assert "the loss is nan" in shown(capsys, "--sweep_id", sweep_id, "--log", f"{sweep_id}-0002")
    assert cli.status(["--sweep_id", sweep_id, "--log", f"{sweep_id}-0005"]) == 1
    assert "unknown run" in capsys.readouterr().err


def test_watching_ends_with_the_sweep(sweep_id, capsys):
    dysweep_run_resume(function=lambda config, checkpoint_dir: None, sweep_id=sweep_id)
    assert "5 finished" in shown(capsys, "--sweep_id", sweep_id, "--watch")


def test_all_sweeps_below_the_root_are_listed(sweep_id, capsys):
    dysweep_run_resume(function=lambda config, checkpoint_dir: None, sweep_id=sweep_id, count=2)
    other = dysweep_run_resume(
        base_config={},
        sweep_configuration={"a": {"sweep": True, "values": [1]}},
        custom_checkpoint_dir="mine",
    )
    header, *rows = [line.split() for line in shown(capsys).splitlines()]
    assert header == ["created", "sweep", "name", "finished", "others", "mode"]
    assert [row[2:] for row in rows] == [
        [sweep_id, "study", "2/5", "3", "pending", "offline"],
        [other, "0/1", "1", "pending", "offline"],
    ]
    now = datetime.now()
    for row in rows:
        assert now - timedelta(hours=1) < datetime.fromisoformat(" ".join(row[:2])) <= now


def test_a_damaged_run_is_named(sweep_id, capsys):
    dysweep_run_resume(function=lambda config, checkpoint_dir: None, sweep_id=sweep_id, count=2)
    [path] = Path("dysweep_logs").glob("*/runs/*-0001")
    (path / "attempts/0001.end.json").write_text("{")
    out = shown(capsys, "--sweep_id", sweep_id)
    assert f"{path.name}/attempts/0001.end.json: damaged or unreadable" in out
    assert "3 pending  1 finished" in out


def test_python_and_notebooks_read_a_sweep(half_done):
    sweep_id, _ = half_done
    sweep = dysweep.open_sweep(sweep_id)
    assert [run.state for run in sweep.runs] == ["finished", "failed", "running"]
    assert sweep.counts["pending"] == 2 and sweep.runs[0].metrics["loss"] == 0.5
    assert sweep.config(sweep.runs[0].run_id) == {"lr": 1, "model": {"width": 3}}
    frame = sweep.to_dataframe()
    assert frame.loc[f"{sweep_id}-0001", "metric.lr"] == 7 and list(frame["lr"]) == [1, 2, 3]
    page = IPython.core.formatters.HTMLFormatter()(sweep)
    assert f"<b>sweep {sweep_id}</b>: 2 pending, 1 running" in page
    whole = "ValueError: the loss is nan\nat step 3"
    assert f'<td title="{whole}">ValueError: the loss is nan\\nat step 3</td>' in page
    assert re.findall("<th>(.*?)</th>", page) == [
        *["run", "state", "lr", "model", "loss", "lr", "duration"],
        *["attempts", "started", "ended", "host", "error"],
    ]
    first = re.findall("<td>(.*?)</td>", page.partition("</tr>")[2].partition("</tr>")[0])
    assert first[:6] == [f"{sweep_id}-0001", "finished", "1", "net", "0.5", "7"]
    times = [datetime.fromisoformat(text) for text in (sweep.runs[0].started, sweep.runs[0].ended)]
    assert first[6].endswith(" s")
    assert first[8:10] == [f"{each.astimezone():%Y-%m-%d %H:%M}" for each in times]
    with pytest.raises(NotFoundError, match="no sweep 'nothing'"):
        dysweep.open_sweep("nothing")


def test_the_metric_comes_first_in_a_notebook_and_a_sweep_is_written_in_two_lines(own_folder):
    def train(config, checkpoint_dir):
        wandb.log({"accuracy": config["lr"], "a": 1})

    settings = {
        "base_config": {},
        "sweep_configuration": {"lr": {"sweep": True, "values": [0.25, 0.75, 0.5]}},
    }
    sweep_id = dysweep_run_resume(**settings, metric="accuracy", goal="maximize", sweep_name="study")
    folder = f"dysweep_logs/checkpoints-{sweep_id}"
    first = f"sweep {sweep_id}  study  offline  {folder}"
    assert repr(dysweep.open_sweep(sweep_id)) == f"{first}\n3 pending"
    dysweep_run_resume(sweep_id=sweep_id, function=train, count=2)
    sweep = dysweep.open_sweep(sweep_id)
    second = f"1 pending, 2 finished; best accuracy 0.75 ({sweep_id}-0002)"
    assert repr(sweep) == f"{first}\n{second}"
    page = IPython.core.formatters.HTMLFormatter()(sweep)
    assert re.findall("<th>(.*?)</th>", page)[:6] == ["run", "state", "lr", "accuracy", "duration", "a"]


def test_a_sweep_is_opened_by_its_id_its_address_its_path_and_with_others(sweep_id):
    other = dysweep_run_resume(base_config={}, sweep_configuration={"a": {"sweep": True, "values": [1]}})
    folder = Path("dysweep_logs", f"checkpoints-{other}")
    names = [sweep_id, f"team/study/{other}", folder, str(folder), f"./{folder}", str(folder.absolute())]
    assert [each.sweep.sweep_id for each in dysweep.open_sweep(names)] == [sweep_id, *[other] * 5]
    assert dysweep.open_sweep((folder,))[0].total == 1 and dysweep.open_sweep([]) == []
    assert isinstance(dysweep.open_sweep(folder), dysweep.SweepStatus)
    for name, message in [
        ("./dysweep_logs", "no sweep in dysweep_logs; there are checkpoints-"),
        (Path("nowhere"), "no sweep in nowhere; give a sweep's directory, or its id"),
        (f"team/study/{other}x", f"no sweep '{other}x' in "),
    ]:
        with pytest.raises(NotFoundError, match=message):
            dysweep.open_sweep([sweep_id, name])


def test_mistakes_are_one_line(sweep_id, capsys):
    for arguments, code, message in [
        (["--sweep_id", "nothing"], 1, f"no sweep 'nothing' in {Path.cwd()}/dysweep_logs"),
        (["--sweeep_id", "x"], 2, "did you mean '--sweep_id'?"),
        (["--runs"], 2, "--runs: of which sweep?"),
        (["--sweep_id", sweep_id, "--csv", "nowhere/runs.csv"], 2, "cannot be written (No such file"),
        (["--default_root_dir", "nowhere"], 1, "no sweep below nowhere"),
    ]:
        assert cli.status(arguments) == code
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1) and message in err
    shutil.rmtree("dysweep_logs")


def test_scripts_get_run_by_run_what_python_gets_at_once(sweep_id, capsys):
    def train(config, checkpoint_dir):
        wandb.log({"late": 1.0} if config["lr"] == 5 else {"loss": config["lr"] / 2})
        if config["lr"] == 2:
            raise ValueError("=1+1")

    dysweep_run_resume(function=train, sweep_id=sweep_id, max_failures=0)
    [damaged] = Path("dysweep_logs").glob("*/runs/*-0003")
    (damaged / "attempts/0001.end.json").write_text("{")
    sweep = dysweep.open_sweep(sweep_id)
    status = json.loads(shown(capsys, "--sweep_id", sweep_id, "--json"))
    assert status == json.loads(sweep.to_json())
    assert [run["run_id"] for run in status["runs"]] == [f"{sweep_id}-000{n}" for n in (1, 2, 4, 5)]
    assert status["counts"] == {"finished": 3, "failed": 1} and len(status["damaged"]) == 1
    text = shown(capsys, "--sweep_id", sweep_id, "--csv", "-")
    assert text == sweep.to_csv()
    rows = csv.DictReader(io.StringIO(text))
    assert [(row["loss"], row["late"]) for row in rows] == [("0.5", ""), ("1", ""), ("2", ""), ("", "1")]


@pytest.mark.parametrize("option", [["--json"], ["--csv", "-"]])
def test_what_scripts_get_takes_the_memory_of_a_few_runs(sweep_id, option):
    if not Path("/proc/self/status").exists():
        pytest.skip("no peak of the memory here")
    dysweep_run_resume(function=lambda config, checkpoint_dir: None, sweep_id=sweep_id, count=1)
    [path] = Path("dysweep_logs").glob("*/runs/*-0001/attempts/0001.end.json")
    error = {"type": "ValueError", "message": "x" * 2**19, "traceback": ""}
    path.write_text(json.dumps({**json.loads(path.read_text()), "outcome": "failed", "error": error}))
    code = (
        "import sys; from dysweep import cli; cli.status(); "
        "print([line for line in open('/proc/self/status') if 'VmHWM' in line][0], file=sys.stderr)"
    )

    def peak():
        command = [sys.executable, "-c", code, "--sweep_id", sweep_id, *option]
        shown = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
        return int(shown.stderr.split()[1]) / 1024

    few = peak()
    first = path.parents[1]
    for number in range(2, 401):
        copy = first.with_name(f"{sweep_id}-{number:04d}")
        shutil.copytree(first, copy, copy_function=os.link, symlinks=True)
    assert peak() - few < 100  # they have 200 MB
