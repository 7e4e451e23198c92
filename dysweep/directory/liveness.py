"""Who executes an attempt, and whether that process still lives."""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from pathlib import Path
from typing import Any

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
    """The process that executes an attempt."""

    host: str
    pid: int
    process_start: str | None
    boot_id: str | None
    pid_namespace: str | None
    slurm_job_id: str | None
    slurm_restart_count: int
    started: str

    @classmethod
    def current(cls) -> Owner:
        """Describe this process."""
        job = os.environ.get("SLURM_JOB_ID")
        restarts = os.environ.get("SLURM_RESTART_COUNT", "")
        return cls(
            host=socket.gethostname(),
            pid=os.getpid(),
            process_start=_process_start(os.getpid()),
            boot_id=_boot_id(),
            pid_namespace=_pid_namespace(),
            slurm_job_id=job,
            slurm_restart_count=int(restarts) if restarts.isdecimal() else 0,
            started=now(),
        )

    @classmethod
    def from_stored(cls, stored: Any) -> Owner:
        """Read the content of a claim, which whoever may write to the directory can have written.

        Raises:
            TypeError: something is missing, or of another type.
            ValueError: a time is none.
        """
        owner = cls(**stored)
        texts = (owner.process_start, owner.boot_id, owner.pid_namespace, owner.slurm_job_id)
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

    def alive(self) -> bool | None:
        """Return whether the process lives, as far as this process can see by itself.

        Returns:
            None if it runs where this process cannot look (another host, another container).
        """
        if self.pid == 0:
            return False
        me = Owner.current()
        # SLURM restarts a job only when all of its processes are gone, on whatever host they were.
        if self.slurm_job_id and self.slurm_job_id == me.slurm_job_id:
            if self.slurm_restart_count < me.slurm_restart_count:
                return False
        if self.host != me.host:
            return None
        # The host has been started anew since.
        if self.boot_id != me.boot_id:
            return False
        # Another container of this host: the same number is another process there.
        if self.pid_namespace != me.pid_namespace:
            return None
        # Numbers of processes are used again; the time of the start tells them apart.
        start = _process_start(self.pid)
        return start is not None and start == self.process_start


def _process_start(pid: int) -> str | None:
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


@cache
def _pid_namespace() -> str | None:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return None
