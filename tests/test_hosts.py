"""Agents on several hosts: each in a host name and a process namespace of its own, sharing one directory."""

import json
import os
import shutil
import signal
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from helpers import SCRIPTS, Process, wait_for

from dysweep import dysweep_run_resume
from dysweep.directory.runs import Attempt, State
from dysweep.directory.sweep import SweepDirectory

FUNCTION = """
import os, socket, time

def counts(config, checkpoint_dir):
    seen = open(f"{socket.gethostname()}.log", "a", buffering=1)
    saved = checkpoint_dir / "step"
    step = int(saved.read_text()) if saved.exists() else 0
    try:
        while not os.path.exists("enough"):
            time.sleep(0.05)
            step += 1
            saved.write_text(str(step))
            seen.write(f"step {step}\\n")
    finally:
        seen.write("left\\n")
"""


CLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
  int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
  int result = real(clock, now);
  if (clock == CLOCK_REALTIME) now->tv_sec += atol(getenv("CLOCK_AHEAD"));
  return result;
}
"""


def isolation_works():
    command = ["unshare", "--uts", "--pid", "--fork", "--mount-proc", "hostname", "elsewhere"]
    return shutil.which("unshare") and subprocess.run(command, capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not isolation_works(), reason="unshare with a process namespace needs root")


@pytest.fixture
def directory(own_folder):
    (own_folder / "functions.py").write_text(FUNCTION)
    sweep_id = dysweep_run_resume(base_config={}, sweep_configuration={"n": {"sweep": True, "values": [1]}})
    return SweepDirectory(Path("dysweep_logs") / f"checkpoints-{sweep_id}")


@pytest.fixture
def on_host(directory):
    processes = []

    def start(host, *arguments, **environment):
        work = ["--package", "functions", "--function", "counts", "--sweep_id", directory.sweep.sweep_id]
        script = f'hostname {host}; exec "$@"'
        isolated = [
            "unshare",
            "--uts",
            "--pid",
            "--fork",
            "--mount-proc",
            "--kill-child",
            "sh",
            "-c",
            script,
            "sh",
        ]
        processes.append(
            Process(
                [*isolated, SCRIPTS / "dysweep_run_resume", *work, "--lease", "4", *arguments],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, **environment},
            )
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def lines(host):
    path = Path(f"{host}.log")
    return path.read_text().splitlines() if path.exists() else []


def inner_process(process):
    """Find the process that `unshare` has started in its namespace."""
    return int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()[0])


def test_the_runs_of_a_dead_host_are_taken_over_after_the_lease(directory, on_host):
    first = on_host("east")
    wait_for(lambda: len(lines("east")) > 5)
    [run] = directory.runs()
    assert run.state() is State.RUNNING
    first.kill()
    first.wait()
    assert run.state() is State.RUNNING  # it cannot be seen from here that it is dead
    done = int((run.checkpoint_path / "step").read_text())
    second = on_host("west", "--resume", "True")
    wait_for(lambda: lines("west"))
    Path("enough").touch()
    out, _ = second.communicate()
    assert second.returncode == 0, out
    assert lines("west")[0] == f"step {done + 1}"
    assert run.state() is State.FINISHED and Attempt(run, 1).end() is None


def test_a_living_host_keeps_its_run(directory, on_host):
    first = on_host("east")
    wait_for(lambda: lines("east"))
    second = on_host("west", "--resume", "True")
    out, _ = second.communicate()
    assert second.returncode == 0 and "no run to resume" in out
    Path("enough").touch()
    assert first.wait() == 0
    [run] = directory.runs()
    assert run.state() is State.FINISHED and run.last_attempt().number == 1


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler (cc)")
def test_a_clock_that_is_hours_off_neither_hides_a_death_nor_ends_a_life(directory, on_host):
    library = Path("clock.so").absolute()
    compiler = ["cc", "-shared", "-fPIC", "-x", "c", "-o", library, "-", "-ldl"]
    subprocess.run(compiler, input=CLOCK, text=True, check=True)
    clock = {"LD_PRELOAD": str(library), "CLOCK_AHEAD": "7200"}
    first = on_host("east", **clock)
    wait_for(lambda: lines("east"))
    [run] = directory.runs()
    begun = datetime.fromisoformat(json.loads(run.last_attempt().claim_path.read_text())["started"])
    assert abs(begun - datetime.now(timezone.utc)) > timedelta(hours=1)
    second = on_host("west", "--resume", "True")
    out, _ = second.communicate()
    assert second.returncode == 0 and "no run to resume" in out
    first.kill()
    first.wait()
    third = on_host("west", "--resume", "True")
    wait_for(lambda: lines("west"))
    Path("enough").touch()
    assert third.wait() == 0
    assert run.state() is State.FINISHED and run.last_attempt().number == 2


def test_a_process_that_stood_still_is_fenced_off(directory, on_host):
    first = on_host("east")
    wait_for(lambda: len(lines("east")) > 5)
    inner = inner_process(first)
    os.kill(inner, signal.SIGSTOP)
    second = on_host("west", "--resume", "True")
    wait_for(lambda: len(lines("west")) > 5)
    os.kill(inner, signal.SIGCONT)
    out, _ = first.communicate()
    assert first.returncode == 1 and "another process has taken it over; stopped here" in out
    assert "Traceback" not in out
    assert lines("east")[-1] == "left"
    Path("enough").touch()
    out, _ = second.communicate()
    assert second.returncode == 0, out
    [run] = directory.runs()
    assert run.state() is State.FINISHED and run.last_attempt().number == 2
    assert Attempt(run, 1).end() is None
