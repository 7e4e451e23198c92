"""Start agents of a sweep, and stop them."""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

from dysweep import __version__
from dysweep.directory.slurm import jobs_of
from dysweep.directory.sweep import SweepDirectory
from dysweep.errors import ConfigError, LaunchError
from dysweep.files import writing
from dysweep.launch import batch, pool
from dysweep.launch.options import LaunchOptions
from dysweep.log import say
from dysweep.text import counted, short_path

_JOBS = "jobs"  # the folder of their output, below the sweep's directory
_OF_SLURM = ("time", "cpus", "mem", "partition", "nodes", "array_parallelism", "slurm", "setup")
_OF_THIS_MACHINE = ("agents_per_gpu", "restarts")
_LAUNCHED_BY = "DYSWEEP_LAUNCHED_BY"
VERSIONS = f"dysweep {__version__}, Python {platform.python_version()}"


def warn_of_other_versions() -> None:
    """Say in a job's output where its node has other versions than the launcher's machine."""
    launched_by = os.environ.get(_LAUNCHED_BY, VERSIONS)
    if launched_by != VERSIONS:
        say(f"this node has {VERSIONS}; the agents were launched by {launched_by}")


def check(options: LaunchOptions) -> str:
    """Return where agents are started.

    Raises:
        ConfigError: options that have no effect there.
    """
    cluster = options.cluster or ("slurm" if shutil.which("sbatch") or options.print_sbatch else "local")
    others: tuple[str, ...] = _OF_THIS_MACHINE if cluster == "slurm" else _OF_SLURM
    if cluster == "debug":
        others = (*_OF_SLURM, *_OF_THIS_MACHINE, "agents", "gpus", "wait")
    for each in fields(options):
        if each.name in others and getattr(options, each.name) != each.default:
            raise ConfigError(f"--{each.name}: it has no effect with --cluster {cluster}")
    if options.print_sbatch and cluster != "slurm":
        raise ConfigError("--print_sbatch: it needs --cluster slurm")
    return cluster


def launch(
    options: LaunchOptions,
    sweep_id: str | None,
    agent: Callable[[str], list[str]],
    seconds: float,
    path_of: Callable[[str], Path],
    sweep: Callable[[], SweepDirectory],
) -> None:
    """Start agents; without a sweep, create it when it is known that they can be started.

    Args:
        options: where, and how many.
        sweep_id: the sweep, if there is one.
        agent: returns an agent's command for a sweep's id.
        seconds: how long an agent takes to stop.
        path_of: returns a sweep's directory for its id.
        sweep: finds the sweep, or creates it.

    Raises:
        ConfigError: they cannot be started here, or not with these options.
        LaunchError: SLURM refuses the jobs.
    """
    cluster = check(options)
    if options.wait and (options.dry_run or options.print_sbatch):
        raise ConfigError("--wait: it has no effect where nothing is started")
    shown, told = sweep_id or "ID", f"{_LAUNCHED_BY}={shlex.quote(VERSIONS)}"
    logs = Path(os.path.abspath(path_of(shown))) / _JOBS
    if cluster == "slurm":
        text = batch.script(options, shown, logs, agent(shown), seconds, told)
        if options.print_sbatch or options.dry_run:
            print(text, end="")
            return
        batch.check(text)
        if batch.is_local_to_a_node(logs):
            say(
                f"{logs.parents[1]}: by its name, other nodes do not see this folder; put it on a shared disk"
            )
    else:
        own = pool.environments(options.agents, options.gpus, options.agents_per_gpu)
        if options.dry_run:
            for variables in own:
                print(shlex.join([*(f"{name}={value}" for name, value in variables.items()), *agent(shown)]))
            return
    directory = sweep()
    sweep_id, logs = directory.sweep.sweep_id, Path(os.path.abspath(directory.path)) / _JOBS
    if cluster == "debug":
        sys.stdout.flush()
        os.execv(sys.executable, agent(sweep_id))
    with directory.shared(), writing(logs):
        logs.mkdir(exist_ok=True)
    if cluster == "slurm":
        job = batch.submit(batch.script(options, sweep_id, logs, agent(sweep_id), seconds, told))
        say(f"SLURM job {job}: {counted(options.agents, 'agent')}; output in {short_path(logs)}")
        print(job)
        return
    if any("OMP_NUM_THREADS" in variables for variables in own):
        say(f"OMP_NUM_THREADS={own[0]['OMP_NUM_THREADS']} for each agent: the cores divided among them")
    record = pool.start(agent(sweep_id), own, options.restarts, logs)
    say(
        f"{counted(options.agents, 'agent')} on this machine; output in "
        f"{short_path(record.with_suffix(''))}.*.txt"
    )
    print(record.stem)


def are_left(directory: SweepDirectory) -> bool:
    """Return whether agents that were launched for a sweep run, or wait for a node."""
    return bool(jobs_of(directory.sweep.sweep_id)) or pool.is_running(directory.path / _JOBS)


def stop(directory: SweepDirectory, ask: Callable[[str], bool]) -> None:
    """Stop the agents that were launched for a sweep: their runs are preempted, and can be resumed.

    Args:
        directory: the sweep's directory.
        ask: asks whether to.

    Raises:
        LaunchError: SLURM does not do so.
    """
    sweep_id, logs = directory.sweep.sweep_id, directory.path / _JOBS
    jobs = [each.job for each in jobs_of(sweep_id, own_only=True)]
    if jobs and ask(f"cancel {counted(len(jobs), 'job')} of SLURM ({', '.join(jobs[:5])})"):
        batch.cancel(sweep_id)
        say(f"{counted(len(jobs), 'job')} cancelled, or told to stop")
    records = list(logs.glob("local-*.json"))
    if records and ask("stop the agents on this machine"):
        told, elsewhere = pool.stop(logs)
        say(f"told to stop: process {', '.join(map(str, told))}" if told else "none runs on this machine")
        if elsewhere:
            raise LaunchError(f"agents were also launched on {', '.join(elsewhere)}; stop them there")
    if not jobs and not records:
        say(f"no agents of {sweep_id} that were launched are left")
