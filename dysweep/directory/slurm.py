"""What SLURM says of a job: it may have ended, or been queued again, without anyone having recorded that."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from functools import cache

_SECONDS = 20  # that a busy controller has to answer
_KEPT_SECONDS = 10  # an answer: many runs may be of one job
_SILENT_SECONDS = 60  # in which a controller that has not answered is not asked again
# https://slurm.schedmd.com/squeue.html#SECTION_JOB-STATE-CODES
_ENDED = (
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "TIMEOUT",
)
_silent = {"until": 0.0}
_JOB = re.compile(r"\d+(_\d+)?")
_answers: dict[str, tuple[float, tuple[bool, int] | None]] = {}


def own_job() -> str | None:
    """Return the name under which SLURM's commands know this process's job: of an array, the one task."""
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID") or None


def own_restarts() -> int:
    """Return how often this process's job was queued again before."""
    restarts = os.environ.get("SLURM_RESTART_COUNT", "")
    return int(restarts) if restarts.isdecimal() else 0


def fate_of(job: str, cluster: str | None) -> tuple[bool, int] | None:
    """Ask SLURM what has become of a job.

    Args:
        job: its name, as of `own_job`.
        cluster: the cluster that it ran on.

    Returns:
        whether it has ended for good, and how often it was queued again; None if SLURM cannot be asked.
    """
    if cluster is None or not _JOB.fullmatch(job):
        return None
    if shutil.which("squeue") is None or cluster != _own_cluster():
        return None
    asked, answer = _answers.get(job, (0.0, None))
    if not asked or time.monotonic() - asked > _KEPT_SECONDS:
        answer = _ask(job) if time.monotonic() > _silent["until"] else None
        _answers[job] = time.monotonic(), answer
    return answer


def _ask(job: str) -> tuple[bool, int] | None:
    shown = run("squeue", "--noheader", "--states=all", f"--jobs={job}", "--Format=State:30,RestartCnt:10")
    if shown is None:
        _silent["until"] = time.monotonic() + _SILENT_SECONDS
        return None
    lives = [line.split() for line in shown.stdout.splitlines() if line.strip()]
    # A job that ended long ago is forgotten, and those of others may be hidden: no sign that one has ended.
    if not lives or not all(len(words) == 2 and words[1].isdecimal() for words in lives):
        return None
    return all(state in _ENDED for state, _ in lives), max(int(count) for _, count in lives)


@cache
def _own_cluster() -> str | None:
    name = os.environ.get("SLURM_CLUSTER_NAME")
    shown = None if name else run("scontrol", "show", "config")
    for line in shown.stdout.splitlines() if shown else []:
        if line.startswith("ClusterName"):
            name = line.partition("=")[2].strip()
    return name


@dataclass(frozen=True)
class Job:
    """A job, or a task of an array, that has not ended.

    Args:
        job: its name, as SLURM's commands take it.
        state: SLURM's word for its state.
        nodes: where it runs.
        reason: why it does not run.
    """

    job: str
    state: str
    nodes: str
    reason: str


def job_name(sweep_id: str) -> str:
    """Return the name of the jobs that are launched for a sweep."""
    return f"dysweep-{sweep_id}"


def jobs_of(sweep_id: str, *, own_only: bool = False) -> list[Job]:
    """List the jobs launched for a sweep that have not ended; none where SLURM cannot be asked.

    Args:
        sweep_id: the sweep.
        own_only: only those of this user.
    """
    if shutil.which("squeue") is None:
        return []
    whose = ["--me"] if own_only else []
    shown = run(
        "squeue", "--noheader", "--array", *whose, f"--name={job_name(sweep_id)}", "--format=%i|%T|%N|%r"
    )
    if shown is None or shown.returncode != 0:
        return []
    lines = [line.split("|", 3) for line in shown.stdout.splitlines()]
    return [Job(*map(str.strip, words)) for words in lines if len(words) == 4]


def run(*command: str, given: str | None = None) -> subprocess.CompletedProcess[str] | None:
    """Run one of SLURM's commands.

    Args:
        command: its words.
        given: its standard input.

    Returns:
        None if it is not here, or does not answer.
    """
    try:
        return subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
