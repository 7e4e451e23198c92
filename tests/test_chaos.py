"""Nothing is lost, nothing is done twice: agents are killed or stopped at random until the sweep is done.

`pytest -m chaos --rounds 20 -n 0` repeats it with 20 seeds and 60 runs each, and prints the figures.
"""

import copy
import ctypes
import json
import multiprocessing
import os
import random
import shutil
import signal
import socket
import sys
import time
from collections import Counter
from pathlib import Path

import helpers
import pytest

from dysweep import cli, dysweep_run_resume
from dysweep.directory.runs import Attempt, State
from dysweep.views.status import read_status

STEPS, AGENTS = 6, 6
SECONDS_BETWEEN_KILLS = 0.5
SECONDS_PER_STEP = 0.05
LEASE = 3
LONGEST_PAUSE = 10  # on a busy machine an agent needs longer to begin than it would be left alive
DEADLINE = 600
CLONE_NEWUTS = 0x04000000
FUNCTION = """
import os, time

def event(directory, kind, step):
    line = f"{time.monotonic_ns()} {directory.parent.name} {os.getpid()} {kind} {step}\\n"
    descriptor = os.open("events", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, line.encode())
    os.close(descriptor)

def counts(config, checkpoint_dir):
    saved = checkpoint_dir / "step"
    step = int(saved.read_text()) if saved.exists() else 0
    event(checkpoint_dir, "begin", step)
    while step < config["steps"]:
        time.sleep(config["seconds"])
        step += 1
        event(checkpoint_dir, "step", step)
        beside = checkpoint_dir / "step.tmp"
        beside.write_text(str(step))
        beside.replace(saved)
        event(checkpoint_dir, "saved", step)

def searched(config, checkpoint_dir):
    counts(config, checkpoint_dir)
    import wandb

    model = config["model"]
    wandb.log({"loss": model.get("lr", model.get("C", 1) / 10) + len(model)})
"""
PROGRAM = """
import json, os, pathlib, sys
from functions import counts

counts(json.load(open(sys.argv[1])), pathlib.Path(os.environ["DYSWEEP_CHECKPOINT_DIR"]))
"""
JOBS = {
    "function": ["--package", "functions", "--function", "counts"],
    "isolated function": ["--package", "functions", "--function", "counts", "--isolate"],
    "search": ["--package", "functions", "--function", "searched"],
    "program": ["--command", f"{sys.executable} program.py {{config}}"],
}
GRID = {"n": {"sweep": True, "values": list(range(60))}}
MODEL = {
    "sweep": True,
    "sweep_alias": ["svm", "net"],
    "values": [
        {"C": {"sweep": True, "min": 0.1, "max": 9.0}},
        {
            "lr": {"sweep": True, "distribution": "log_uniform_values", "min": 0.001, "max": 1},
            "optimizer": {
                "sweep": True,
                "sweep_alias": ["adam", "sgd"],
                "values": [{}, {"momentum": {"sweep": True, "min": 0.0, "max": 0.9}}],
            },
        },
    ],
}
SEARCH = {"method": "bayes", "metric": {"name": "loss", "goal": "minimize"}, "parameters": {"model": MODEL}}
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["dysweep.cli", "dysweep.tracking.runs"])

pytestmark = pytest.mark.chaos


def agent(folder, sweep_id, host, job):
    """Be an agent: a process of its own, in a session of its own, on a host of its own if it is given one."""
    os.setsid()
    os.chdir(folder)
    if host is not None:
        assert ctypes.CDLL(None).unshare(CLONE_NEWUTS) == 0
        socket.sethostname(host)
    out = os.open("output", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(out, 1)
    os.dup2(out, 2)
    work = [*JOBS[job], "--sweep_id", sweep_id, "--recover"]
    sys.exit(cli.run_resume([*work, "--lease", str(LEASE), "--max_attempts", "1000"]))


def can_have_hosts():
    return os.geteuid() == 0 and os.path.exists("/proc/self/ns/uts")


@pytest.mark.parametrize(
    ("job", "hosts"),
    [
        pytest.param("function", False, id="one host"),
        pytest.param("isolated function", False, id="isolated function"),
        pytest.param("program", False, id="program"),
        pytest.param("search", False, id="search"),
        pytest.param(
            "function",
            True,
            id="many hosts",
            marks=pytest.mark.skipif(
                not can_have_hosts(), reason="a host name of its own needs root and Linux"
            ),
        ),
    ],
)
def test_no_run_is_lost_or_done_twice_however_agents_end(
    own_folder, job, hosts, seed, record_property, request
):
    size = 60 if request.config.getoption("rounds") > 1 else 30
    if job == "search" and size == 30:
        size = 16
    if job in ("isolated function", "program"):
        size //= 3 if size == 60 else 6  # each starts a process of its own
    chooser = random.Random(seed)
    (own_folder / "functions.py").write_text(FUNCTION)
    (own_folder / "program.py").write_text(PROGRAM)
    base = {"steps": STEPS, "seconds": SECONDS_PER_STEP}
    described = SEARCH if job == "search" else {"parameters": GRID}
    sweep_id = dysweep_run_resume(
        base_config=base, sweep_configuration={**copy.deepcopy(described), "run_cap": size}
    )
    directory = helpers.directory(sweep_id)
    started = 0

    def start():
        nonlocal started
        started += 1
        process = CONTEXT.Process(
            target=agent, args=(own_folder, sweep_id, f"host{started}" if hosts else None, job)
        )
        process.start()
        return process

    deadline = time.monotonic() + DEADLINE
    begun = time.monotonic()
    agents = [start() for _ in range(8 if job == "search" else AGENTS)]
    signals = Counter()
    processes = list(agents)
    while not all_finished(directory, size):
        assert time.monotonic() < deadline, Counter(str(run.state()) for run in directory.runs())
        time.sleep(SECONDS_BETWEEN_KILLS)
        wait_for_an_event(LONGEST_PAUSE)
        place = chooser.randrange(len(agents))
        number = chooser.choice([signal.SIGKILL, signal.SIGTERM])
        if agents[place].is_alive():
            signals[number.name] += 1
            os.kill(agents[place].pid, number)
        agents[place] = start()
        processes.append(agents[place])
    for process in processes:
        process.join(DEADLINE)
        assert process.exitcode is not None
    finished = Counter(sorted(finished_attempts(directory)))
    figures = {
        "kills": signals["SIGKILL"],
        "signals": signals["SIGTERM"],
        "takeovers": sum(run.last_attempt().number - 1 for run in directory.runs()),
        "runs finished": len(finished),
        "doubled": sum(times > 1 for times in finished.values()),
        "lost": sum(finished[f"{sweep_id}-{number:04d}"] == 0 for number in range(1, size + 1)),
        "seconds": round(time.monotonic() - begun),
    }
    for name, number in figures.items():
        record_property(name, number)
    assert (figures["runs finished"], figures["doubled"], figures["lost"]) == (size, 0, 0)
    check(directory)
    if job == "search":
        points = [json.dumps(run.record()["assignment"]) for run in directory.runs()]
        assert len(set(points)) == size
        described = {**SEARCH, "run_cap": size + 1}
        settings = {"base_config": base, "sweep_configuration": described, "mode": "offline"}
        Path("config.json").write_text(json.dumps(settings))
        assert next_point(sweep_id, "one") == next_point(sweep_id, "other")


def next_point(sweep_id, root):
    """Let a copy of the sweep have one run more, and return what is suggested for it."""
    shutil.copytree("dysweep_logs", root)
    where = ["--default_root_dir", root]
    assert cli.create(["-c", "config.json", "--extend", sweep_id, *where]) == 0
    assert cli.run_resume([*JOBS["search"], "--sweep_id", sweep_id, *where]) == 0
    *_, last = helpers.directory(sweep_id, root).runs()
    return last.record()["assignment"]


def wait_for_an_event(seconds):
    """Wait until an agent does something, but not longer than `seconds`."""
    events = Path("events")
    before = events.stat().st_size if events.exists() else 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and (not events.exists() or events.stat().st_size == before):
        time.sleep(0.05)


def all_finished(directory, size):
    states = [run.state() for run in directory.runs()]
    assert State.FAILED not in states
    return states == [State.FINISHED] * size


def finished_attempts(directory):
    """Give the run of every attempt that finished."""
    for run in directory.runs():
        for number in range(1, run.last_attempt().number + 1):
            end = Attempt(run, number).end()
            assert end is None or end.outcome in (State.FINISHED, State.PREEMPTED)
            if end is not None and end.outcome is State.FINISHED:
                yield run.run_id


def check(directory):
    """No step is repeated, attempts come one after the other, no file is half-written or unreadable."""
    assert read_status(directory, max_attempts=3).damaged == ()
    for path in directory.path.rglob("*.json"):
        if "wandb" not in path.parts and not any(part.startswith(".") for part in path.parts):
            json.loads(path.read_text())
    events = [line.split() for line in Path("events").read_text().splitlines()]
    for run in directory.runs():
        assert (run.checkpoint_path / "step").read_text() == str(STEPS)
        saved, done, owner, former = 0, 0, None, set()
        for _, _, process, kind, step in sorted(
            (event for event in events if event[1] == run.run_id), key=lambda event: int(event[0])
        ):
            if process != owner:
                assert kind == "begin" and process not in former, f"{run.run_id}: two attempts at once"
                former.add(owner)
                owner = process
                # It may have been killed after it had saved its last step, and before it said so.
                assert int(step) in (saved, done), f"{run.run_id}: went on from {step}, saved was {saved}"
                saved = int(step)
            assert kind != "step" or int(step) == saved + 1, f"{run.run_id}: step {step} after {saved}"
            done = int(step)
            saved = done if kind == "saved" else saved
