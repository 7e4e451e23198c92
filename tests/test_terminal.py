"""What is drawn fits a terminal, and is whole in files and pipes."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios

import pytest
import wandb
from helpers import LONGEST_WAIT, SCRIPTS, Process
from rich.cells import cell_len

from dysweep import cli, dysweep_run_resume

pytestmark = pytest.mark.processes

NAME = "\u7814\u7a76" * 30 + "-a-name-of-120-columns-and-a-few-more"
MODEL = "/data/very/long/path/to/a/model/checkpoint/" + "weights" * 12


def trains(config, checkpoint_dir):
    wandb.log({"accuracy": 1 / config["lr"], "epoch": 20, "accuracy_on_the_training_data": 0.99})
    if config["lr"] % 4 == 1:
        raise RuntimeError("CUDA out of memory. " + "Tried to allocate 20.00 MiB. " * 6)
    if config["lr"] == 3:
        raise FileNotFoundError("no file /data/" + "x" * 150 + "/train.txt")


@pytest.fixture
def sweep_id(own_folder):
    space = {"lr": {"sweep": True, "values": [1, 2]}, "model": {"sweep": True, "values": [MODEL]}}
    (own_folder / "config.yaml").write_text(json.dumps(space))
    sweep_id = dysweep_run_resume(
        base_config={"lr": 0, "model": ""},
        sweep_name=NAME,
        metric="accuracy",
        goal="maximize",
        sweep_configuration={
            "lr": {"sweep": True, "values": [*range(1, 11)]},
            "model": {"sweep": True, "values": [MODEL]},
        },
    )
    dysweep_run_resume(sweep_id=sweep_id, function=trains, count=9, max_failures=0)
    return sweep_id


def on_a_terminal(width, *command):
    """Return what a command draws on a terminal of this width, with its colours."""
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color"}
    drawn = b""
    with Process(
        [SCRIPTS / command[0], *command[1:]], stdout=writer, stderr=subprocess.PIPE, env=environment
    ) as process:
        os.close(writer)
        try:
            while part := os.read(reader, 65536):
                drawn += part
        except OSError:  # so Linux tells that the other end is closed
            pass
        assert process.wait(LONGEST_WAIT) == 0
    os.close(reader)
    return drawn.decode().replace("\r\n", "\n")


def piped(*command):
    with Process([SCRIPTS / command[0], *command[1:]], stdout=subprocess.PIPE, text=True) as process:
        out, _ = process.communicate()
    assert process.returncode == 0
    return out


def without_colours(drawn):
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", drawn)


SCREENS = {
    "all sweeps": ["dysweep_status"],
    "a sweep": ["dysweep_status", "--sweep_id", "ID"],
    "its runs": ["dysweep_status", "--sweep_id", "ID", "--runs"],
    "a file system": ["dysweep_status", "--check", "."],
    "a dry run": [
        "dysweep_create",
        "--sweep_configuration",
        "config.yaml",
        "--base_config={lr: 0, model: ''}",
        "--dry_run",
    ],
}


@pytest.mark.parametrize("screen", SCREENS)
def test_a_terminal_gets_lines_that_fit_and_whole_words_and_a_pipe_gets_everything(sweep_id, screen):
    command = [sweep_id if word == "ID" else word for word in SCREENS[screen]]
    whole = piped(*command)
    assert "…" not in whole and re.findall(r" $", whole, re.MULTILINE) == []
    if screen in ("all sweeps", "a sweep"):
        assert NAME in whole
    for width in (80, 120):
        drawn = without_colours(on_a_terminal(width, *command))
        assert max(map(cell_len, drawn.splitlines())) <= width
        words = {word for word in drawn.split() if not re.search("[…━╸╺]", word)}
        changing = r"\d+"  # free files, milliseconds
        known = {re.sub(changing, "", word) for word in whole.split()}
        assert {re.sub(changing, "", word) for word in words} - known == set()


def test_long_names_lose_their_middle_and_other_columns_their_end(sweep_id):
    lines = without_colours(
        on_a_terminal(80, "dysweep_status", "--sweep_id", sweep_id, "--runs")
    ).splitlines()
    assert lines[0].split() == ["run", "state", "attempts", "duration", "accuracy", "parameters", "…"]
    assert [line.split()[:2] for line in lines[1:10]] == [
        [f"{sweep_id}-{number:04d}", state]
        for state, numbers in [("failed", [1, 3, 5, 9]), ("finished", [2, 4, 6, 7, 8])]
        for number in numbers
    ]
    assert "lr=1, model=/data/ve" in lines[1] and lines[1].rstrip().endswith("…")
    title = without_colours(on_a_terminal(80, "dysweep_status", "--sweep_id", sweep_id)).splitlines()[0]
    both_ends = (
        rf"sweep {sweep_id}  (\u7814\u7a76)+\u7814?…\S*-few-more +offline  dysweep_logs\S*…\S*{sweep_id}"
    )
    assert re.fullmatch(both_ends, title.rstrip())


@pytest.mark.parametrize("more", [[], ["--runs"]])
def test_equal_errors_are_shown_once_with_their_runs(sweep_id, more):
    lines = piped("dysweep_status", "--sweep_id", sweep_id, *more).splitlines()
    assert [line.rstrip() for line in lines[lines.index("errors:") + 1 :]] == [
        "  RuntimeError: CUDA out of memory. " + ("Tried to allocate 20.00 MiB. " * 6).rstrip(),
        f"    3 runs: {sweep_id}-0001, {sweep_id}-0005, {sweep_id}-0009",
        "  FileNotFoundError: no file /data/" + "x" * 150 + "/train.txt",
        f"    1 run: {sweep_id}-0003",
    ]
    narrow = without_colours(on_a_terminal(54, "dysweep_status", "--sweep_id", sweep_id, *more))
    assert f"    3 runs: {sweep_id}-0001, {sweep_id}-0005 and 1 more\n" in re.sub(" +\n", "\n", narrow)


def test_states_have_colours_on_a_terminal_and_none_in_a_pipe(sweep_id):
    command = ["dysweep_status", "--sweep_id", sweep_id, "--runs"]
    drawn = on_a_terminal(80, *command)
    assert "\x1b[31mfailed" in drawn and "\x1b[32mfinished" in drawn
    assert "\x1b" not in piped(*command)


def test_the_list_of_sweeps_shows_date_name_counts_and_the_best(sweep_id):
    header, line = piped("dysweep_status").splitlines()
    assert header.split() == ["created", "sweep", "name", "finished", "others", "best", "mode"]
    assert re.fullmatch(
        rf"\d{{4}}-\d\d-\d\d \d\d:\d\d  {sweep_id}  {NAME}  5/10 +1 pending, 4 failed  accuracy 0.5 +offline",
        line,
    )


def test_a_pipe_gets_the_lines_of_a_terminal_without_its_colours(own_folder, capsys, monkeypatch):
    models = ["学習", "e\u0301", "net"]  # two columns a character; two characters in one column
    sweep_id = dysweep_run_resume(
        base_config={}, sweep_configuration={"model": {"sweep": True, "values": models}}
    )

    def train(config, checkpoint_dir):
        if config["model"] == "net":
            raise ValueError("a\nloss\tof nan")
        wandb.log({"loss": 0.5})

    dysweep_run_resume(sweep_id=sweep_id, function=train)
    shown = {}
    for colours in ("", "1"):
        monkeypatch.setenv("FORCE_COLOR", colours)
        capsys.readouterr()
        assert cli.status(["--sweep_id", sweep_id, "--runs"]) == 0
        shown[colours] = capsys.readouterr().out
    assert "\x1b[31mfailed" in shown["1"] and "\x1b" not in shown[""]
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown["1"]) == shown[""]
    assert [line.split()[0] for line in shown[""].splitlines()[:2]] == ["run", f"{sweep_id}-0003"]
