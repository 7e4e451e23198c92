"""Disks that are full, read-only or gone: a clear error, and what was there stays as it was."""

import shutil
import subprocess
from pathlib import Path

import helpers
import pytest
from helpers import SCRIPTS

from dysweep import DirectoryError, cli, dysweep_run_resume
from dysweep.directory.runs import State

CONFIG = """
default_root_dir: disk/logs
base_config: {lr: 0.1}
sweep_configuration: {lr: {sweep: true, values: [1, 2]}}
"""
FUNCTIONS = """
import os, shutil

def trains(config, checkpoint_dir):
    print("trained")

def fills_the_disk(config, checkpoint_dir):
    with open("disk/rest", "wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 512)
        except OSError:
            pass
    for _ in range(1000):
        print("still training")
    with open("survived", "w") as file:
        file.write("yes")

def removes_the_directory(config, checkpoint_dir):
    shutil.rmtree("disk/logs")
    print("still training")
"""


def mounts_work():
    command = ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]
    return shutil.which("unshare") and subprocess.run(command, capture_output=True).returncode == 0


_skip_without_mounts = pytest.mark.skipif(not mounts_work(), reason="mounting a small disk needs root")


def needs_mounts(test):
    return pytest.mark.root(_skip_without_mounts(test))


@pytest.fixture(autouse=True)
def files(own_folder):
    (own_folder / "config.yaml").write_text(CONFIG)
    (own_folder / "functions.py").write_text(FUNCTIONS)
    (own_folder / "disk").mkdir()


def on_small_disk(*commands, limits="size=200k"):
    """Run shell commands with a small disk mounted at `disk`; they see the scripts and the variable ID."""
    script = f"set -e; mount -t tmpfs -o {limits} none disk; export PATH={SCRIPTS}:$PATH; "
    return subprocess.run(
        ["unshare", "--mount", "bash", "-c", script + "; ".join(commands)], capture_output=True, text=True
    )


WORK = "dysweep_run_resume --package functions --default_root_dir disk/logs --sweep_id $ID --function"


@needs_mounts
def test_a_sweep_is_not_half_made_on_a_full_disk():
    shown = on_small_disk(
        "dd if=/dev/zero of=disk/rest bs=512 2>/dev/null || true",
        "dysweep_create -c config.yaml || echo code $?",
        "find disk -name '*.json'",
    )
    assert shown.stdout == "code 1\n"
    assert shown.stderr.count("\n") == 1 and "(No space left on device)" in shown.stderr


@needs_mounts
def test_an_agent_on_a_full_disk_says_so_and_the_run_is_executed_later():
    shown = on_small_disk(
        "ID=$(dysweep_create -c config.yaml 2>/dev/null)",
        "dd if=/dev/zero of=disk/rest bs=512 2>/dev/null || true",
        f"{WORK} trains || echo code $?",
        "ls -A disk/logs/*/runs | wc -l",
        "mount -o remount,size=40m disk",
        f"{WORK} trains --recover 2>/dev/null",
        "grep -l finished disk/logs/*/runs/*/attempts/*.end.json | wc -l",
    )
    assert "Traceback" not in shown.stderr and "(No space left on device)" in shown.stderr
    assert shown.stdout.split()[:3] == ["code", "1", "0"] and shown.stdout.split()[-1] == "2"


@needs_mounts
@pytest.mark.parametrize("inodes", range(4, 40, 12))
def test_a_disk_that_takes_no_more_files_loses_nothing(inodes):
    shown = on_small_disk(
        "ID=$(dysweep_create -c config.yaml) || code=$?",
        f'test -z "$ID" || {WORK} trains > /dev/null || code=$?',
        "mount -o remount,nr_inodes=1000 disk",
        'test "$ID" || ID=$(dysweep_create -c config.yaml 2>/dev/null)',
        f"{WORK} trains --recover > /dev/null 2>&1",
        f"{WORK} trains --resume True > /dev/null 2>&1",
        "grep -l finished disk/logs/*/runs/*/attempts/*.end.json | wc -l",
        "ls -d disk/logs/checkpoints-* | wc -l",
        "echo $code",
        limits=f"nr_inodes={inodes}",
    )
    assert "Traceback" not in shown.stderr, shown.stderr
    assert shown.stdout, shown
    *_, finished, sweeps, code = shown.stdout.split("\n")[:-1]
    assert (finished, sweeps) == ("2", "1"), shown
    assert (code == "1") == ("(No space left on device)" in shown.stderr), shown


@needs_mounts
def test_training_goes_on_when_the_disk_gets_full_and_the_run_is_resumed_later():
    shown = on_small_disk(
        "ID=$(dysweep_create -c config.yaml 2>/dev/null)",
        f"{WORK} fills_the_disk --count 1 > /dev/null || echo code $?",
        "cat survived; echo",
        "rm disk/rest",
        f"{WORK} trains --resume True > /dev/null 2>&1",
        "grep -l finished disk/logs/*/runs/*/attempts/*.end.json | wc -l",
        limits="size=30m",
    )
    assert shown.stdout.splitlines() == ["code 1", "yes", "1"], shown
    assert "not everything could be written (No space left on device)" in shown.stderr
    assert "Traceback" not in shown.stderr


@needs_mounts
def test_a_read_only_directory_is_named():
    shown = on_small_disk(
        "ID=$(dysweep_create -c config.yaml 2>/dev/null)",
        "mount -o remount,ro disk",
        f"{WORK} trains || echo code $?",
        "dysweep_create -c config.yaml || echo code $?",
    )
    assert shown.stdout == "code 1\ncode 1\n"
    agent, create = shown.stderr.splitlines()
    assert "runs: cannot be written (Read-only file system)" in agent
    assert "cannot be made (Read-only file system)" in create


def test_a_root_that_is_no_directory_is_named(capsys):
    Path("disk/logs").write_text("a file")
    assert cli.create(["-c", "config.yaml"]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "disk/logs" in err and "cannot be made" in err


def test_a_directory_that_vanishes_while_the_function_runs_is_named(capsys):
    assert cli.create(["-c", "config.yaml"]) == 0
    sweep_id = capsys.readouterr().out.strip()
    work = ["--package", "functions", "--default_root_dir", "disk/logs", "--sweep_id", sweep_id]
    assert cli.run_resume([*work, "--function", "removes_the_directory"]) == 1
    out, err = capsys.readouterr()
    assert out == "still training\n"
    assert "Traceback" not in err and "disk/logs" in err.splitlines()[-1]


@pytest.mark.fuzz
@pytest.mark.parametrize("damage", ["empty", "half", "binary", "missing", "folder", "other JSON"])
@pytest.mark.parametrize(
    "file", ["run.json", "run_config.json", "attempts/0001.json", "attempts/0001.end.json", "attempts"]
)
def test_a_directory_damaged_by_hand_loses_at_most_the_damaged_run(caplog, file, damage):
    sweep_id = dysweep_run_resume(
        base_config={"lr": 0}, sweep_configuration={"lr": {"sweep": True, "values": [1, 2, 3]}}
    )

    def fails(config, checkpoint_dir):
        raise ValueError

    dysweep_run_resume(function=fails, sweep_id=sweep_id, raise_errors=False)
    directory = helpers.directory(sweep_id)
    [damaged, *others] = directory.runs()
    spoil(damaged.path / file, damage)
    caplog.clear()
    executed = []
    dysweep_run_resume(
        function=lambda config, checkpoint_dir: executed.append(config["lr"]),
        sweep_id=sweep_id,
        resume=True,
        lease=0.2,
    )
    assert [run.state() for run in others] == [State.FINISHED] * 2
    assert sorted(executed)[-2:] == [2, 3] and len(executed) == len(set(executed))
    try:
        assert damaged.state() in (State.FINISHED, State.FAILED, State.CRASHED, State.RUNNING)
    except DirectoryError as error:
        assert damaged.run_id in str(error)
        assert damaged.run_id in caplog.text


def spoil(path, damage):
    if damage == "missing" or path.is_dir() or damage == "folder":
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        if damage == "folder":
            path.mkdir()
        elif damage != "missing":
            path.write_bytes(b"")
    elif damage == "binary":
        path.write_bytes(bytes(range(256)))
    elif damage == "other JSON":
        path.write_text("[1, null]")
    else:
        path.write_bytes(path.read_bytes()[: 0 if damage == "empty" else path.stat().st_size // 2])


def test_a_file_system_is_tried_before_a_sweep_is_put_on_it(own_folder, capsys):
    (own_folder / "disk").mkdir(exist_ok=True)
    assert cli.status(["--check", "disk"]) == 0
    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    answers = {line[0]: [word.strip() for word in line[1:] if word.strip()] for line in lines}
    for needed in ("exclusive creation", "renames that replace no folder", "names of 255 bytes"):
        assert answers[needed][0] == "yes"
    assert "200 names, 4 processes, 0 created twice" in answers["exclusive creation"]
    assert list((own_folder / "disk").iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--check", "nowhere"], "nowhere: nothing can be created here"),
        (["--check", "disk", "--runs"], "--check: it takes nothing but a folder"),
        (["--check", "disk", "--sweep_id", "a"], "--check: it takes nothing but a folder"),
        (["--check", "disk", "--default_root_dir", "a"], "--check: it takes nothing but a folder"),
    ],
)
def test_what_cannot_be_tried_is_one_line(capsys, words, message):
    assert cli.status(words) in (1, 2)
    err = capsys.readouterr().err
    assert message in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [["create", "-c", "config.yaml"], ["run", "--sweep_id", "x"], ["status", "--sweep_id", "x"]],
    ids=["create", "run", "status"],
)
@pytest.mark.parametrize("option", ["--default_root_dir", "--custom_checkpoint_dir"])
def test_a_name_that_is_too_long_is_one_line(capsys, words, option):
    command, *words = words
    function = ["--package", "functions", "--function", "trains"] if command == "run" else []
    main = {"create": cli.create, "run": cli.run_resume, "status": cli.status}[command]
    assert main([*words, *function, option, "x" * 256]) == 1
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "File name too long" in message or "no sweep" in message


def test_the_longest_name_is_a_sweeps_directory_like_any_other(capsys):
    place = ["--default_root_dir", "disk", "--custom_checkpoint_dir", "x" * 255]
    assert cli.create(["-c", "config.yaml", *place]) == 0
    sweep_id = capsys.readouterr().out.strip()
    work = ["--package", "functions", "--function", "trains", "--sweep_id", sweep_id, *place]
    assert cli.run_resume(work) == 0
    assert cli.status(["--sweep_id", sweep_id, *place]) == 0
