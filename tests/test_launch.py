"""Agents that are launched on this machine, and what is printed for a cluster."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path

import pytest
from helpers import SCRIPTS, wait_for

from dysweep import cli, open_sweep

FUNCTIONS = """
import os, time
from pathlib import Path

def main(config, checkpoint_dir):
    names = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")
    (checkpoint_dir / "new").write_text(" ".join(os.environ.get(name, "none") for name in names))
    (checkpoint_dir / "new").rename(checkpoint_dir / "seen")
    while not Path("enough").exists():
        time.sleep(0.05)
"""
LOCAL = ["-c", "config.yaml", "--package", "functions", "--function", "main", "--cluster", "local"]


@pytest.fixture(autouse=True)
def project(own_folder, monkeypatch):
    Path("functions.py").write_text(FUNCTIONS)
    Path("config.yaml").write_text(
        "base_config: {x: 0}\nsweep_configuration: {x: {sweep: true, values: [1, 2, 3, 4]}}\n"
    )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


@pytest.fixture
def launch():
    """Launch agents on this machine; they are stopped with the test."""
    sweeps = []

    def launch(*options):
        shown = run("dysweep_launch", *LOCAL, *options)
        assert shown.returncode == 0, shown.stderr
        sweeps.append(re.search(r"sweep (\w+):", shown.stderr)[1])
        return sweeps[-1]

    yield launch
    Path("enough").touch()
    for sweep_id in sweeps:
        run("dysweep_launch", "--stop", sweep_id, "--yes")
        wait_for(lambda name=sweep_id: not list(jobs(name).glob("local-*.json")))


def run(*words):
    return subprocess.run([SCRIPTS / words[0], *words[1:]], capture_output=True, text=True, timeout=120)


def jobs(sweep_id):
    return Path(f"dysweep_logs/checkpoints-{sweep_id}/jobs")


def seen(sweep_id):
    return sorted(each.read_text() for each in jobs(sweep_id).parent.glob("runs/*/checkpoint/seen"))


@pytest.mark.processes
def test_each_agent_has_its_own_gpu_by_the_name_that_it_has_here(launch, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8f3a,3,MIG-5c,0")
    sweep_id = launch("--agents", "4", "--gpus", "1")
    names = wait_for(lambda: len(seen(sweep_id)) == 4 and seen(sweep_id))
    assert names == ["0 none", "3 none", "GPU-8f3a none", "MIG-5c none"]


@pytest.mark.processes
def test_agents_without_gpus_share_the_cores(launch):
    sweep_id = launch("--agents", "2")
    threads = max(1, os.cpu_count() // 2)
    assert wait_for(lambda: len(seen(sweep_id)) == 2 and seen(sweep_id)) == [f"none {threads}"] * 2


@pytest.mark.processes
def test_an_agent_that_dies_is_started_again_and_recovers_its_run(launch):
    sweep_id = launch("--agents", "2", "--restarts", "1")

    def running():
        runs = [each for each in open_sweep(sweep_id).runs if each.state == "running"]
        return runs if len(runs) == 2 else None

    first = wait_for(running)[0]
    os.kill(pid_of(sweep_id, first), signal.SIGKILL)
    assert wait_for(lambda: attempts(sweep_id, first.run_id) == 2)
    os.kill(wait_for(lambda: pid_of(sweep_id, first)), signal.SIGKILL)
    [log] = [each for each in jobs(sweep_id).glob("*.txt") if each.name.count(".") == 1]
    wait_for(lambda: log.read_text().count("SIGKILL") == 2)
    assert log.read_text().count("started again") == 1
    Path("enough").touch()
    wait_for(lambda: open_sweep(sweep_id).counts == {"finished": 4})  # by the other agent


def pid_of(sweep_id, run):
    claim = json.loads(max(jobs(sweep_id).parent.glob(f"runs/{run.run_id}/attempts/000?.json")).read_text())
    return claim["pid"]


def attempts(sweep_id, run_id):
    return next(each.attempts for each in open_sweep(sweep_id).runs if each.run_id == run_id)


@pytest.mark.processes
def test_stopped_agents_leave_preempted_runs(launch):
    sweep_id = launch("--agents", "2")
    wait_for(lambda: len(seen(sweep_id)) == 2)
    asked = subprocess.run(
        [SCRIPTS / "dysweep_launch", "--stop", sweep_id], capture_output=True, text=True, input="no\n"
    )
    assert asked.returncode == 0 and open_sweep(sweep_id).counts == {"running": 2, "pending": 2}
    assert "told to stop" in run("dysweep_launch", "--stop", sweep_id, "--yes").stderr
    wait_for(lambda: open_sweep(sweep_id).counts == {"preempted": 2, "pending": 2})
    wait_for(lambda: not list(jobs(sweep_id).glob("local-*.json")))
    assert "no agents" in run("dysweep_launch", "--stop", sweep_id).stderr


@pytest.mark.processes
def test_what_a_killed_supervisor_has_left_is_stopped_and_forgotten(launch):
    sweep_id = launch("--agents", "1")
    wait_for(lambda: len(seen(sweep_id)) == 1)
    [record] = jobs(sweep_id).glob("local-*.json")
    os.kill(json.loads(record.read_text())["supervisor"]["pid"], signal.SIGKILL)
    assert "told to stop" in run("dysweep_launch", "--stop", sweep_id, "--yes").stderr
    wait_for(lambda: open_sweep(sweep_id).counts == {"preempted": 1, "pending": 3})
    agent = json.loads(record.read_text())["agents"][0]["pid"]
    wait_for(lambda: not Path(f"/proc/{agent}").exists())
    shown = run("dysweep_launch", "--stop", sweep_id, "--yes")
    assert shown.returncode == 0 and "none runs on this machine" in shown.stderr and not record.exists()


@pytest.mark.processes
def test_waiting_shows_the_sweep_and_leaves_the_agents_alone(start):
    waiting = start("dysweep_launch", *LOCAL, "--agents", "2", "--wait")
    [folder] = wait_for(lambda: list(Path("dysweep_logs").glob("*")))
    sweep_id = folder.name.partition("-")[2]
    wait_for(lambda: len(seen(sweep_id)) == 2)
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate()
    assert waiting.returncode == 130 and f"dysweep_launch --stop {sweep_id}" in err and "Traceback" not in err
    assert open_sweep(sweep_id).counts["running"] == 2
    Path("enough").touch()
    again = start("dysweep_launch", *LOCAL[2:], "--sweep_id", sweep_id, "--wait")
    out, err = again.communicate()
    assert again.returncode == 0 and "4 finished" in out, err


def test_the_script_for_slurm_is_printed_where_there_is_no_slurm(capsys):
    words = [
        "--agents",
        "8",
        "--time",
        "4:00:00",
        "--gpus",
        "2",
        "--cpus",
        "4",
        "--mem",
        "16G",
        "--grace",
        "90",
    ]
    more = ["--partition", "p", "--array_parallelism", "3", "--setup", "module load cuda", "--lease", "60"]
    sweep = ["--command", "python train.py --config {config}", "--sweep_id", "ab12", "--print_sbatch"]
    assert cli.launch([*sweep, *words, *more, "--slurm", "account=a", "exclusive"]) == 0
    shown = capsys.readouterr()
    lines = shown.out.splitlines()
    output = f"{Path.cwd()}/dysweep_logs/checkpoints-ab12/jobs/%A_%a.txt"
    wanted = "job-name=dysweep-ab12 requeue open-mode=append signal=B:USR1@140 array=0-7%3 partition=p"
    for line in [
        *wanted.split(),
        "time=4:00:00",
        "gpus-per-node=2",
        "cpus-per-task=4",
        "mem=16G",
        "account=a",
        "exclusive",
    ]:
        assert f"#SBATCH --{line}" in lines
    assert f"#SBATCH --output={output}" in lines
    assert lines[-1].startswith("exec ") and lines[-1].endswith(
        "--command 'python train.py --config {config}' --sweep_id ab12 --grace 90.0 --lease 60.0 --recover"
    )
    assert lines.index("module load cuda") < len(lines) - 1 and not Path("dysweep_logs").exists()
    assert subprocess.run(["bash", "-n"], input=shown.out, text=True).returncode == 0


def test_an_agent_says_that_its_node_has_other_versions(monkeypatch, capfd):
    Path("enough").touch()
    monkeypatch.setenv("DYSWEEP_LAUNCHED_BY", "dysweep 0.9, Python 3.8.1")
    words = ["-c", "config.yaml", "--package", "functions", "--function", "main"]
    assert cli.run_resume(words) == 0
    assert capfd.readouterr().err.count("the agents were launched by dysweep 0.9, Python 3.8.1\n") == 1


@pytest.mark.parametrize(
    ("time", "signal"), [("1", 30), ("0:30", 15), ("2-00", 30), ("1:00:00", 30), ("10", 30)]
)
def test_a_job_is_told_of_its_time_limit_when_its_grace_still_fits(time, signal, capsys):
    job = ["--package", "functions", "--function", "main", "--sweep_id", "ab12"]
    assert cli.launch([*job, "--print_sbatch", "--time", time]) == 0
    assert f"#SBATCH --signal=B:USR1@{signal}\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--agents", "3", "--gpus", "1"], "--agents: 3 are too many for the GPUs that are visible here: 2"),
        (["--agents", "5", "--agents_per_gpu", "2"], "enough for 4"),
        (["--agents_per_gpu", "2", "--gpus", "2"], "have one each; leave out --gpus"),
        (["--time", "240"], "--time: it has no effect with --cluster local"),
        (["--cluster", "debug", "--agents", "2"], "--agents: it has no effect with --cluster debug"),
        (["--cluster", "slurm", "--restarts", "1"], "--restarts: it has no effect with --cluster slurm"),
        (["--cluster", "slurm"], "sbatch is not installed here; --cluster local"),
        (["--cluster", "slurm", "--time", "4h"], "--time: must be minutes, or hours:minutes:seconds"),
        (["--print_sbatch"], "--print_sbatch: it needs --cluster slurm"),
        (["--agents", "0"], "--agents: must be at least 1"),
        (["--yes"], "--yes: it needs --stop"),
        (["--resume"], "--resume is an option of dysweep_run_resume, not of dysweep_launch"),
        (["--function", ""], "say what is executed"),
        (["--command", "true"], "command: a function is given, too"),
        (["--isolate", "--checkpoint_artifacts"], "checkpoint_artifacts: it needs the function"),
        (["--wait", "--dry_run"], "--wait: it has no effect where nothing is started"),
        (["--stop", "ab12", "--agents", "2"], "--stop: it takes the sweep's id, --yes"),
        (["--print_sbatch", "--cluster", "slurm", "--slurm", "job-name=x"], "--slurm: job-name is what"),
    ],
)
def test_what_cannot_be_launched_creates_nothing(words, message, monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,-1,2")
    monkeypatch.setenv("PATH", str(Path("bin").absolute()))
    assert cli.launch([*LOCAL, *words]) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1
    assert not Path("dysweep_logs").exists()


def test_a_dry_run_prints_what_each_agent_would_be_started_with(monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2,3")
    assert cli.launch([*LOCAL, "--agents", "2", "--gpus", "2", "--dry_run"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("CUDA_VISIBLE_DEVICES=0,1 ") and second.startswith("CUDA_VISIBLE_DEVICES=2,3 ")
    assert not Path("dysweep_logs").exists()


def test_gpus_are_those_that_nvidia_smi_lists_parts_instead_of_whole_ones(monkeypatch, capsys):
    Path("bin").mkdir()
    Path("bin/nvidia-smi").write_text(
        "#!/bin/sh\n"
        "echo 'GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-11aa)'\n"
        "echo '  MIG 3g.20gb     Device  0: (UUID: MIG-22bb)'\n"
        "echo '  MIG 3g.20gb     Device  1: (UUID: MIG-33cc)'\n"
        "echo 'GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-44dd)'\n"
    )
    Path("bin/nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", f"{Path('bin').absolute()}:{os.environ['PATH']}")
    assert cli.launch([*LOCAL, "--agents", "3", "--gpus", "1", "--dry_run"]) == 0
    names = [line.partition(" ")[0].partition("=")[2] for line in capsys.readouterr().out.splitlines()]
    assert names == ["MIG-22bb", "MIG-33cc", "GPU-44dd"]
