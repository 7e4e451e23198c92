"""What a function does to its own process: the outcome is recorded truly, and the next runs are executed."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from helpers import create, directory, wait_for

CONFIG = """
base_config: {lr: 0}
sweep_configuration: {lr: {sweep: true, values: [1, 2]}}
"""
FUNCTIONS = """
import os, resource, shutil, sys, threading, time
import wandb

def _second(config):
    return config["lr"] == 2

def exits_at_once(config, checkpoint_dir):
    if not _second(config):
        os._exit(3)

def closes_its_streams(config, checkpoint_dir):
    print("before")
    os.close(1)
    os.close(2)
    try:
        print("after", flush=True)
    except OSError:
        pass

def deletes_its_checkpoint(config, checkpoint_dir):
    shutil.rmtree(checkpoint_dir)

def deletes_its_checkpoint_and_raises(config, checkpoint_dir):
    shutil.rmtree(checkpoint_dir)
    if not _second(config):
        raise ValueError("the loss is nan")

def leaves_threads(config, checkpoint_dir):
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()

def prints_30_megabytes(config, checkpoint_dir):  # the SDK takes 6 s for them
    if not _second(config):
        for _ in range(480):
            sys.stdout.write("x" * 65535 + "\\n")

def runs_out_of_memory(config, checkpoint_dir):
    if not _second(config):
        soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        with open("/proc/self/statm") as pages:
            used = int(pages.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, hard))
        try:
            bytearray(2**30)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))

def recurses(config, checkpoint_dir):
    if not _second(config):
        recurses(config, checkpoint_dir)

def waits(config, checkpoint_dir):
    (checkpoint_dir / "started").touch()
    time.sleep(600)

def exits_with_a_text(config, checkpoint_dir):
    if not _second(config):
        sys.exit("the data is missing")
"""


@pytest.fixture(autouse=True)
def files(own_folder):
    (own_folder / "config.yaml").write_text(CONFIG)
    (own_folder / "functions.py").write_text(FUNCTIONS)


def agent_of(start, sweep_id, function, *options):
    work = ["--package", "functions", "--function", function, "--sweep_id", sweep_id, *options]
    return start("dysweep_run_resume", *work)


def outcomes(sweep_id):
    return [str(run.state()) for run in directory(sweep_id).runs()]


@pytest.mark.parametrize(
    ("function", "expected", "code"),
    [
        ("closes_its_streams", ["finished", "finished"], 0),
        ("deletes_its_checkpoint", ["finished", "finished"], 0),
        ("deletes_its_checkpoint_and_raises", ["failed", "finished"], 1),
        ("leaves_threads", ["finished", "finished"], 0),
        ("prints_30_megabytes", ["finished", "finished"], 0),
        ("runs_out_of_memory", ["failed", "finished"], 1),
        ("recurses", ["failed", "finished"], 1),
        ("exits_with_a_text", ["failed", "finished"], 1),
    ],
)
def test_its_outcome_is_recorded_and_the_next_run_is_executed(start, capsys, function, expected, code):
    sweep_id = create(capsys)
    agent = agent_of(start, sweep_id, function)
    agent.communicate()
    assert (outcomes(sweep_id), agent.returncode) == (expected, code)


def test_a_process_that_ends_itself_leaves_a_crashed_run_that_the_next_agent_recovers(start, capsys):
    sweep_id = create(capsys)
    assert agent_of(start, sweep_id, "exits_at_once").wait() == 3
    assert outcomes(sweep_id) == ["crashed"]
    agent = agent_of(start, sweep_id, "leaves_threads", "--recover", "True")
    assert agent.wait() == 0 and outcomes(sweep_id) == ["finished", "finished"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_no_process_is_left_behind_by_a_signal(start, capsys, signum):
    sweep_id = create(capsys)
    agent = agent_of(start, sweep_id, "waits", "--grace", "5")
    wait_for(lambda: list(Path("dysweep_logs").glob("*/runs/*/checkpoint/started")))
    children = _children(agent.pid)
    agent.send_signal(signum)
    agent.wait()
    assert outcomes(sweep_id) == ["crashed" if signum == signal.SIGHUP else "preempted"]
    wait_for(lambda: not any(map(_lives, children)))
    assert agent_of(start, sweep_id, "leaves_threads", "--recover", "True").wait() == 0
    assert outcomes(sweep_id) == ["finished", "finished"]


def _children(pid):
    shown = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(line) for line in shown.stdout.split()]


def _lives(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
