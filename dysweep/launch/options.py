"""What `dysweep_launch` takes besides the settings of the agents that it starts."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from dysweep.settings import LAUNCH, at_least_one, at_least_zero, setting

# https://slurm.schedmd.com/sbatch.html#OPT_time
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<first>\d+)(?::(?P<second>\d+))?(?::(?P<third>\d+))?")
_LEAST_NOTICE = 10  # seconds


def _time(value: str) -> str | None:
    if _TIME.fullmatch(value) and seconds_of(value) > 0:
        return None
    return f"must be minutes, or hours:minutes:seconds, or days-hours, got {value!r}"


def seconds_of(limit: str) -> int:
    """Return the seconds of a time limit as SLURM writes it: minutes, m:s, h:m:s, days-h[:m[:s]]."""
    match = _TIME.fullmatch(limit)
    assert match is not None
    first, second, third = (int(match[name] or 0) for name in ("first", "second", "third"))
    if match["days"]:
        return ((int(match["days"]) * 24 + first) * 60 + second) * 60 + third
    if match["third"]:
        return (first * 60 + second) * 60 + third
    return first * 60 + second


def notice(limit: str | None, seconds: float) -> int:
    """Return how many seconds before its end a job is told of its time limit.

    Args:
        limit: the time limit, if there is one.
        seconds: how long an agent takes to stop.
    """
    wanted = math.ceil(seconds) + _LEAST_NOTICE
    return wanted if limit is None else min(wanted, max(_LEAST_NOTICE, seconds_of(limit) // 2))


@dataclass(frozen=True)
class LaunchOptions:
    """Where agents are started, how many, and with what."""

    agents: int = setting(1, "how many agents to start", LAUNCH, metavar="N", check=at_least_one)
    cluster: Literal["slurm", "local", "debug"] | None = setting(
        None,
        "slurm: an array of jobs; local: processes on this machine; debug: one agent in the foreground; by "
        "default slurm where there is sbatch, else local",
        LAUNCH,
    )
    gpus: int | None = setting(
        None, "GPUs of each agent, on each of its nodes", LAUNCH, metavar="N", check=at_least_zero
    )
    agents_per_gpu: int = setting(
        1, "local: how many agents share a GPU", LAUNCH, metavar="N", check=at_least_one
    )
    restarts: int = setting(
        3,
        "local: how often an agent that has died is started again",
        LAUNCH,
        metavar="N",
        check=at_least_zero,
    )
    time: str | None = setting(
        None,
        "SLURM: time limit of each job, in minutes or as SLURM writes it",
        LAUNCH,
        metavar="TIME",
        check=_time,
    )
    cpus: int | None = setting(
        None, "SLURM: CPU cores of each agent", LAUNCH, metavar="N", check=at_least_one
    )
    mem: str | None = setting(None, "SLURM: memory of each node, as 16G", LAUNCH, metavar="SIZE")
    partition: str | None = setting(None, "SLURM: partition", LAUNCH)
    nodes: int | None = setting(
        None,
        "SLURM: nodes of each agent, whose command starts a process on each with srun",
        LAUNCH,
        metavar="N",
        check=at_least_one,
    )
    array_parallelism: int | None = setting(
        None, "SLURM: how many agents may run at the same time", LAUNCH, metavar="N", check=at_least_one
    )
    slurm: list[str] | None = setting(
        None, "SLURM: further options of sbatch, as account=a exclusive", LAUNCH, metavar="KEY=VALUE"
    )
    setup: list[str] | None = setting(
        None, "SLURM: lines of shell before the agent, as 'module load cuda'", LAUNCH, metavar="LINE"
    )
    wait: bool = setting(False, "show the sweep until nothing is left to wait for", LAUNCH)
    dry_run: bool = setting(False, "print what would be started, and start nothing", LAUNCH)
    print_sbatch: bool = setting(False, "print the job's script for sbatch, and submit nothing", LAUNCH)
    stop: str | None = setting(
        None, "stop the agents that were launched for the sweep with this id", LAUNCH, metavar="ID"
    )
    yes: bool = setting(False, "with stop: do not ask", LAUNCH)
