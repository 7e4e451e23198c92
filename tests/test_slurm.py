"""Agents on a real SLURM: whatever it does with their jobs, each run finishes once, and repeats no step."""

import os
import re
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers import SCRIPTS, wait_for
from slurm_lab import Lab, programs

from dysweep import open_sweep

pytestmark = pytest.mark.skipif(
    bool(programs()) or os.geteuid() != 0,
    reason=f"a SLURM of its own needs root, and {', '.join(programs()) or 'its programs'}",
)
FUNCTIONS = """
import socket, time
from dysweep import Preempted

def main(config, checkpoint_dir):
    trace = checkpoint_dir / "steps"  # one write is the step and its checkpoint
    done = len(trace.read_text().splitlines()) if trace.exists() else 0
    with open(trace, "a") as file:
        for step in range(done, config["steps"]):
            time.sleep(config["seconds"])
            print(step + 1, socket.gethostname(), time.time(), file=file, flush=True)
"""
NODES = 6
SECONDS = 240  # until a sweep has ended


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("slurm"), NODES)
    try:
        yield lab.start()
    finally:
        lab.stop()


@pytest.fixture
def cluster(lab, own_folder):
    """Give a sweep's agents; they are cancelled with the test."""
    sweeps = []

    def launch(runs, steps, seconds, *options):
        Path("functions.py").write_text(FUNCTIONS)
        Path("config.yaml").write_text(
            f"base_config: {{steps: {steps}, seconds: {seconds}, x: 0}}\n"
            f"sweep_configuration: {{x: {{sweep: true, values: {list(range(runs))}}}}}\n"
        )
        sweeps.append(Agents(lab, options))
        return sweeps[-1]

    yield launch
    for each in sweeps:
        lab.command("scancel", f"--name=dysweep-{each.sweep_id}", "--me")
        wait_for(lambda name=f"--name=dysweep-{each.sweep_id}": not lab.command("squeue", "-h", name))


class Agents:
    """The agents of a sweep, launched by the installed command."""

    def __init__(self, lab, options):
        self.lab = lab
        words = ["-c", "config.yaml", "--cluster", "slurm"]
        if "--command" not in options:
            words += ["--package", "functions", "--function", "main"]
        shown = command(lab, "dysweep_launch", *words, *options)
        assert shown.returncode == 0, shown.stderr
        assert "other nodes do not see this folder" in shown.stderr  # it is below /tmp
        self.job = shown.stdout.strip()
        self.sweep_id = re.search(r"sweep (\w+):", shown.stderr)[1]

    @property
    def status(self):
        return open_sweep(self.sweep_id)

    def states(self):
        """Give the states of the jobs that have not ended, by their names."""
        shown = self.lab.command("squeue", "-h", "--array", f"--name=dysweep-{self.sweep_id}", "-o", "%i %T")
        return dict(line.split() for line in shown.splitlines())

    def is_under_way(self, steps=1):
        """Wait until a run has begun, and give its last attempt."""

        def found():
            for run in self.status.runs:
                trace = Path(f"dysweep_logs/checkpoints-{self.sweep_id}/runs/{run.run_id}/checkpoint/steps")
                if run.state == "running" and trace.exists() and trace.read_text().count("\n") >= steps:
                    return run
            return None

        return wait_for(found)

    def steps(self):
        """Give the steps of each run, in the order in which they were done."""
        traces = Path(f"dysweep_logs/checkpoints-{self.sweep_id}/runs").glob("*/checkpoint/steps")
        return [[int(line.split()[0]) for line in trace.read_text().splitlines()] for trace in traces]

    def attempts(self):
        """Count how the attempts of all runs have ended."""
        return Counter(attempt.outcome for run in self.status.runs for attempt in run.history)

    def end(self, runs, steps):
        """Wait until no job is left, and check that each run was finished once, with each step done once."""
        wait_for(lambda: not self.states(), SECONDS)
        assert self.status.counts == {"finished": runs}, self.output()
        assert self.steps() == [list(range(1, steps + 1))] * runs, self.output()
        assert self.attempts()["finished"] == runs

    def output(self):
        """Give what the jobs have printed."""
        return "".join(path.read_text() for path in Path("dysweep_logs").glob("*/jobs/*.txt"))


def command(lab, *words):
    return subprocess.run(
        [SCRIPTS / words[0], *words[1:]], capture_output=True, text=True, timeout=120,
        env={**os.environ, **lab.environment},
    )  # fmt: skip


def test_requeued_jobs_resume_their_runs(cluster):
    agents = cluster(24, 10, 0.2, "--agents", "4")
    agents.is_under_way()
    for task in (1, 3):  # the last task has the array's own number
        agents.lab.command("scontrol", "requeue", f"{agents.job}_{task}")
    agents.end(24, 10)
    assert agents.attempts()["preempted"] == 2


def test_a_job_that_is_requeued_six_times_does_not_give_its_run_up(cluster):
    agents = cluster(1, 40, 0.2)
    for life in range(6):
        before = agents.is_under_way(steps=life + 1)
        agents.lab.command("scontrol", "requeue", agents.job)
        wait_for(lambda number=before.attempts: agents.status.runs[0].attempts > number)
    agents.end(1, 40)
    assert agents.attempts() == {"preempted": 6, "finished": 1}


def test_an_agent_queues_its_job_again_before_the_time_limit(cluster):
    agents = cluster(2, 35, 1, "--time", "1", "--grace", "5")
    agents.end(2, 35)
    assert agents.attempts()["preempted"] and "queued again" in agents.output()


def test_a_preempted_job_comes_back_and_resumes_its_run(cluster):
    agents = cluster(4, 40, 0.2, "--agents", "2", "--partition", "low")
    host = agents.is_under_way().host
    agents.lab.command(
        "sbatch", "-p", "high", "-w", host, "--exclusive", "-o", "/dev/null", "--wrap", "sleep 2"
    )
    agents.end(4, 40)
    assert agents.attempts()["preempted"]


def test_a_cancelled_job_stays_cancelled_and_another_agent_takes_its_run(cluster):
    agents = cluster(3, 25, 0.2, "--agents", "2")
    agents.is_under_way()
    agents.lab.command("scancel", f"{agents.job}_0")
    wait_for(lambda: f"{agents.job}_0" not in agents.states())
    agents.end(3, 25)
    assert "queued again" not in agents.output()


def test_both_lives_of_a_job_whose_node_has_failed_do_not_overlap(cluster):
    agents = cluster(2, 150, 0.2, "--agents", "2")
    host = agents.is_under_way(steps=5).host
    agents.lab.kill_node(host)
    try:
        agents.end(2, 150)
        assert "another process has taken it over" in agents.output()
    finally:
        agents.lab.start_node(host)
        wait_for(lambda: "idle" in agents.lab.command("sinfo", "-h", "-n", host, "-p", "low", "-o", "%T"))


def test_agents_that_start_at_once_share_the_runs(cluster):
    agents = cluster(24, 2, 0.1, "--agents", "12")
    agents.end(24, 2)


RANKS = """
import json, sys, time
from pathlib import Path
import dysweep, torch, torch.distributed as dist, wandb

dist.init_process_group("gloo")
rank, run = dist.get_rank(), dysweep.current_run()
saved = run.checkpoint_dir / "step"
step = torch.tensor(int(saved.read_text()) if saved.exists() else 0)
dist.broadcast(step, 0)  # before the first rank may write it
if rank == 0:
    wandb.init()
for step in range(int(step) + 1, run.config["steps"] + 1):
    value = torch.tensor(float(run.config["x"]))
    dist.all_reduce(value)
    time.sleep(run.config["seconds"])
    if rank == 0:
        wandb.log({"sum": value.item()}, step=step)
        saved.write_text(str(step))
    dist.barrier()
if rank == 0:
    wandb.finish()
with open("seen.txt", "a") as seen:
    seen.write(f"{run.run_id} {rank} {run.attempt} {__import__('socket').gethostname()}\\n")
dist.destroy_process_group()
"""


@pytest.mark.torch
@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
def test_ranks_on_two_nodes_are_one_run_that_resumes_when_its_job_is_requeued(cluster):
    Path("train.py").write_text(RANKS)
    launcher = f"{sys.executable} -m torch.distributed.run --nnodes 2 --nproc_per_node 2 --rdzv_backend c10d"
    program = f"{launcher} --rdzv_id {{run_id}} --rdzv_endpoint {{master}}:{{port}} train.py"
    words = ("--nodes", "2", "--cpus", "2", "--command", f"srun --ntasks-per-node=1 {program}")
    agents = cluster(2, 30, 0.2, *words, "--slurm", "ntasks-per-node=1")
    run_dir = Path(f"dysweep_logs/checkpoints-{agents.sweep_id}/runs/{agents.sweep_id}-0001")
    wait_for(lambda: (run_dir / "checkpoint/step").exists())
    agents.lab.command("scontrol", "requeue", agents.job)
    wait_for(lambda: not agents.states(), SECONDS)
    status = agents.status
    assert status.counts == {"finished": 2}, agents.output()
    assert [run.metrics["sum"] for run in status.runs] == [0, 4] and status.runs[0].attempts == 2
    seen = [line.split() for line in Path("seen.txt").read_text().splitlines()]
    ranks = Counter((run_id, rank, attempt) for run_id, rank, attempt, _ in seen)
    first, second = (run.run_id for run in status.runs)
    assert ranks == {(run_id, str(rank), attempt): 1 for run_id, attempt in ((first, "2"), (second, "1"))
                     for rank in range(4)}  # fmt: skip
    assert len({host for run_id, *_, host in seen if run_id == second}) == 2


def test_a_job_that_slurm_refuses_creates_no_sweep(lab):
    Path("config.yaml").write_text(
        "base_config: {x: 0}\nsweep_configuration: {x: {sweep: true, values: [1]}}\n"
    )
    words = ["-c", "config.yaml", "--command", "true", "--cluster", "slurm", "--partition", "gpu"]
    shown = command(lab, "dysweep_launch", *words)
    assert shown.returncode == 1 and "invalid partition specified: gpu" in shown.stderr
    assert not Path("dysweep_logs").exists()


def test_agents_are_shown_and_stopped(cluster):
    agents = cluster(8, 500, 0.2, "--agents", "8", "--slurm", "exclusive")
    agents.is_under_way()
    shown = command(agents.lab, "dysweep_status", "--sweep_id", agents.sweep_id).stdout
    assert len(re.findall(r"RUNNING +n\d", shown)) == NODES
    assert len(re.findall(r"PENDING +\w", shown)) == 2
    refused = command(agents.lab, "dysweep_launch", "--stop", agents.sweep_id)
    assert refused.returncode == 2 and "--yes" in refused.stderr and len(agents.states()) == 8
    assert command(agents.lab, "dysweep_launch", "--stop", agents.sweep_id, "--yes").returncode == 0
    wait_for(lambda: not agents.states())
    assert agents.status.counts == {"preempted": NODES, "pending": 8 - NODES}
    assert "queued again" not in agents.output()
