"""An agent that SLURM stops queues its job again, which SLURM does not do for a job that ends in time."""

from __future__ import annotations

import logging
import re
import signal

from dysweep.directory.slurm import own_job, own_restarts, run

logger = logging.getLogger("dysweep")


def requeue(number: int) -> None:
    """Queue this process's SLURM job again, if the signal came from its time limit or from a preemption.

    A job that was cancelled stays cancelled, and one that SLURM has queued again itself is left alone. In an
    array the one task is named, as its last one has the array's own number.

    Args:
        number: the signal that ended the agent.
    """
    job = own_job()
    if job is None or number not in (signal.SIGUSR1, signal.SIGTERM):
        return
    shown = run("scontrol", "--oneliner", "show", "job", job)
    if shown is None:
        if number == signal.SIGUSR1:
            logger.warning(
                "SLURM job %s: not queued again, as scontrol is not installed here; in the job's script: "
                "scontrol requeue %s",
                job, job,
            )  # fmt: skip
        return
    if shown.returncode != 0:
        logger.warning("SLURM job %s: not queued again: %s", job, _in_a_line(shown.stderr))
        return
    described = dict(re.findall(r"(?:^|\s)(\w+)=(\S*)", shown.stdout))
    if not _ended_by_slurm(described, number):
        return
    if described.get("Requeue") != "1":
        logger.warning("SLURM job %s: not queued again, as it was submitted with --no-requeue", job)
        return
    asked = run("scontrol", "requeue", job)
    if asked is not None and asked.returncode == 0:
        logger.info("SLURM job %s: queued again", job)
    else:
        words = "no answer" if asked is None else _in_a_line(asked.stderr)
        logger.warning("SLURM job %s: not queued again: %s", job, words)


def _ended_by_slurm(described: dict[str, str], number: int) -> bool:
    """Return whether SLURM ends a job that it would let run on if it could."""
    # Only what is known to be one of these: to queue a cancelled job again brings it back.
    if described.get("BatchFlag") != "1" or described.get("Restarts") != str(own_restarts()):
        return False
    state = described.get("JobState")
    if state == "COMPLETING":
        return described.get("Reason") == "TimeLimit"
    if number == signal.SIGUSR1:
        return state == "RUNNING"
    # ISO 8601, or a word for never; one of before the start was of the job's former life.
    preempted, started = described.get("PreemptTime", ""), described.get("StartTime", "")
    return state in ("RUNNING", "SIGNALING") and preempted[:1].isdecimal() and preempted >= started


def _in_a_line(text: str) -> str:
    return " ".join(text.split())
