"""Who executes an attempt, and whether that process still lives."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any

from dysweep.directory import slurm

_ENDED = ("Z", "X")  # a zombie has ended, though nobody has taken notice of it yet


def now() -> str:
    """Return the current time in UTC, as ISO 8601 with microseconds."""
    return datetime.now(timezone.utc).isoformat()


def check_time(text: str) -> None:
    """Check that a text is a time as `now` writes it.

    Raises:
        TypeError: it is not text.
        ValueError: it is not a time, or does not say in which zone.
    """
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError(f"{text} has no time zone")


@dataclass(frozen=True)
class Owner:
    """The process that executes an attempt.

    Args:
        host: the machine's name.
        pid: the process's number there.
        process_start: when it was started, by the machine's own clock.
        boot_id: of the machine's start.
        pid_namespace: in which the number counts.
        slurm_job_id: the SLURM job that it belongs to.
        slurm_restart_count: how often that job was queued again before.
        started: when the attempt was claimed, ISO 8601 in UTC.
        slurm_job: the job as SLURM's commands name it: of an array, the one task.
        slurm_cluster: the job's cluster.
        slurm_step: the job's step.
        slurm_node: the node, which can have another name than the machine.
    """

    host: str
    pid: int
    process_start: str | None
    boot_id: str | None
    pid_namespace: str | None
    slurm_job_id: str | None
    slurm_restart_count: int
    started: str
    slurm_job: str | None = None
    slurm_cluster: str | None = None
    slurm_step: str | None = None
    slurm_node: str | None = None

    @classmethod
    def current(cls) -> Owner:
        """Describe this process."""
        return cls(
            host=socket.gethostname(),
            pid=os.getpid(),
            process_start=process_start(os.getpid()),
            boot_id=_boot_id(),
            pid_namespace=_pid_namespace(),
            slurm_job_id=os.environ.get("SLURM_JOB_ID"),
            slurm_restart_count=slurm.own_restarts(),
            started=now(),
            slurm_job=slurm.own_job(),
            slurm_cluster=os.environ.get("SLURM_CLUSTER_NAME"),
            slurm_step=os.environ.get("SLURM_STEP_ID"),
            slurm_node=os.environ.get("SLURMD_NODENAME"),
        )

    @classmethod
    def from_stored(cls, stored: Any) -> Owner:
        """Read the content of a claim, which whoever may write to the directory can have written.

        Raises:
            TypeError: something is missing, or of another type.
            ValueError: a time is none.
        """
        owner = cls(**stored)
        texts = (
            owner.process_start, owner.boot_id, owner.pid_namespace, owner.slurm_job_id, owner.slurm_job,
            owner.slurm_cluster, owner.slurm_step, owner.slurm_node,
        )  # fmt: skip
        if not isinstance(owner.host, str) or not all(isinstance(text, (str, type(None))) for text in texts):
            raise TypeError("a claim's texts are texts")
        if type(owner.pid) is not int or type(owner.slurm_restart_count) is not int:
            raise TypeError("a claim's numbers are whole numbers")
        check_time(owner.started)
        return owner

    @classmethod
    def unknown(cls, maker: str, started: str) -> Owner:
        """Stand for a process that has ended and of which nothing is known but what it was part of."""
        return cls(maker, 0, None, None, None, None, 0, started)

    def alive(self, last_beat: Callable[[], float]) -> bool | None:
        """Return whether the process lives, as far as this process and SLURM can tell.

        Args:
            last_beat: returns when its last sign of life was, in seconds since 1970.

        Returns:
            None if it runs where this process cannot look (another host, another container).
        """
        if self.pid == 0:
            return False
        if self.is_in_sight():
            # Numbers of processes are used again; the time of the start tells them apart.
            start = process_start(self.pid)
            return start is not None and start == self.process_start
        fate = self._fate()
        if self.was_requeued() or (fate is not None and fate[0]):
            return False
        # Two machines can have one name: only what was silent before this one's start ended with it.
        if self.host == socket.gethostname() and self.boot_id != _boot_id() and last_beat() < _boot_time():
            return False
        return None

    def is_in_sight(self) -> bool:
        """Return whether it runs, if at all, where its number says which process it is."""
        here = (socket.gethostname(), _boot_id(), _pid_namespace())
        return (self.host, self.boot_id, self.pid_namespace) == here

    def was_requeued(self) -> bool:
        """Return whether SLURM has ended this life of the job, to queue it again."""
        if self.slurm_job_id is None:
            return False
        # The next life knows by itself.
        here = (os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_CLUSTER_NAME"))
        if (self.slurm_job_id, self.slurm_cluster) == here:
            return self.slurm_restart_count < slurm.own_restarts()
        fate = self._fate()
        return fate is not None and self.slurm_restart_count < fate[1]

    def _fate(self) -> tuple[bool, int] | None:
        job = self.slurm_job or self.slurm_job_id
        return None if job is None else slurm.fate_of(job, self.slurm_cluster)


def process_start(pid: int) -> str | None:
    """Return when a process was started, by the machine's own clock; None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in _ENDED else fields[19]
    except OSError:
        if os.path.exists("/proc/self/stat"):
            return None
    shown = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return shown.stdout.strip() or None


@cache
def _boot_id() -> str | None:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return None


def _boot_time() -> float:
    try:
        return time.time() - float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return 0.0


@cache
def _pid_namespace() -> str | None:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None
