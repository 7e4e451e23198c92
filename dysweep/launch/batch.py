"""Agents as jobs of SLURM: one script for all, submitted as an array."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

from dysweep.directory.slurm import job_name, run
from dysweep.errors import ConfigError, LaunchError
from dysweep.launch.options import LaunchOptions, notice

# Usual names of disks that only one node has.
_LOCAL_TO_A_NODE = ("/tmp", "/var/tmp", "/dev/shm", "/scratch", "/local", "/localscratch", "/lscratch")
_OWN = ("job-name", "array", "signal", "output")


def script(
    options: LaunchOptions, sweep_id: str, logs: Path, agent: Sequence[str], seconds: float, told: str
) -> str:
    """Write the script of a job.

    Args:
        options: what the job needs.
        sweep_id: the sweep.
        logs: the folder of the jobs' output.
        agent: the agent's command.
        seconds: how long an agent takes to stop.
        told: the variable with the versions here, which the agent compares with its own.

    Raises:
        ConfigError: `--slurm` sets what is set here.
    """
    is_array = options.agents > 1
    limit = f"%{options.array_parallelism}" if options.array_parallelism else ""
    asked: dict[str, object] = {
        "job-name": job_name(sweep_id),
        "output": str(logs).replace("%", "%%") + ("/%A_%a.txt" if is_array else "/%j.txt"),
        "open-mode": "append",
        "requeue": True,
        "signal": f"B:USR1@{notice(options.time, seconds)}",
        "array": f"0-{options.agents - 1}{limit}" if is_array else None,
        "time": options.time,
        "partition": options.partition,
        "nodes": options.nodes,
        "gpus-per-node": options.gpus or None,
        "cpus-per-task": options.cpus,
        "mem": options.mem,
    }
    for each in options.slurm or ():
        key, equals, value = each.removeprefix("--").partition("=")
        if key in _OWN:
            raise ConfigError(f"--slurm: {key} is what dysweep_launch sets itself")
        asked[key] = value if equals else True
    lines = ["#!/bin/bash"]
    for option, wanted in asked.items():
        if wanted is not None:
            value = "" if wanted is True else f"={shlex.quote(str(wanted))}"
            lines.append(f"#SBATCH --{option}{value}")
    lines += ["", f"cd {shlex.quote(os.getcwd())} || exit"]
    lines += options.setup or ()
    lines += [
        f"export {told}",
        "# exec: SLURM's signals reach the agent, not a shell before it.",
        f"exec {shlex.join(agent)}",
    ]
    return "\n".join(lines) + "\n"


def check(text: str) -> None:
    """Ask SLURM whether it would take a job.

    Raises:
        ConfigError: there is no SLURM here.
        LaunchError: it would refuse the job.
    """
    if shutil.which("sbatch") is None:
        raise ConfigError(
            "--cluster: sbatch is not installed here; --cluster local starts the agents on this machine, "
            "--print_sbatch prints the script for where SLURM is"
        )
    _submit(text, "--test-only")


def is_local_to_a_node(path: Path) -> bool:
    """Return whether a folder's name says that only one node has it."""
    return any(path.resolve().is_relative_to(place) for place in _LOCAL_TO_A_NODE)


def submit(text: str) -> str:
    """Submit a job, and return its number.

    Raises:
        LaunchError: SLURM refuses it.
    """
    return _submit(text, "--parsable").partition(";")[0].strip()


def _submit(text: str, option: str) -> str:
    shown = run("sbatch", option, given=text)
    if shown is None:
        raise LaunchError("sbatch does not answer; try again")
    if shown.returncode != 0:
        raise LaunchError(" ".join(shown.stderr.split()))
    return shown.stdout


def cancel(sweep_id: str) -> None:
    """Cancel the jobs of a sweep that wait, and tell the agents of those that run to stop, who then end them.

    Raises:
        LaunchError: SLURM does not do so.
    """
    jobs = ("scancel", f"--name={job_name(sweep_id)}", "--me")
    # First those that wait, which would start otherwise. A plain scancel would end W&B's own process, too.
    for options in (["--state=PENDING"], ["--state=RUNNING", "--batch", "--signal=TERM"]):
        shown = run(*jobs, *options)
        if shown is None or shown.returncode != 0:
            raise LaunchError(f"scancel: {' '.join(shown.stderr.split()) if shown else 'no answer'}")
