"""Agents as processes of this machine: one supervisor starts them, and starts again what has died."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from dysweep.directory.liveness import Owner, now, process_start
from dysweep.errors import ConfigError, LaunchError
from dysweep.files import damaged, read_json, replace_json
from dysweep.text import signal_name

_UNTIL_STARTED_SECONDS = 20
_BETWEEN_LOOKS_SECONDS = 0.2
_NO_MORE = (0, 1, 2, *(128 + number for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)))
_GPUS = "CUDA_VISIBLE_DEVICES"
_THREADS = "OMP_NUM_THREADS"


def gpus_of_agents(agents: int, gpus: int, agents_per_gpu: int) -> list[str]:
    """Divide the GPUs that this process sees among agents.

    Args:
        agents: how many agents there are.
        gpus: how many GPUs each gets.
        agents_per_gpu: how many agents share a GPU.

    Returns:
        CUDA_VISIBLE_DEVICES of each agent.

    Raises:
        ConfigError: there are too few.
    """
    if agents_per_gpu > 1 and gpus > 1:
        raise ConfigError("--agents_per_gpu: agents that share a GPU have one each; leave out --gpus")
    seen = visible_gpus()
    most = len(seen) // gpus * agents_per_gpu
    if agents > most:
        raise ConfigError(
            f"--agents: {agents} are too many for the GPUs that are visible here: {len(seen)}, which are "
            f"enough for {most}"
        )
    first = [place // agents_per_gpu * gpus for place in range(agents)]
    return [",".join(seen[start : start + gpus]) for start in first]


def visible_gpus() -> list[str]:
    """List the GPUs that this process sees: the names in CUDA_VISIBLE_DEVICES, or the UUIDs of all."""
    given = os.environ.get(_GPUS)
    if given is not None:
        names = [name.strip() for name in given.split(",") if name.strip()]
        return names[: names.index("-1")] if "-1" in names else names
    if shutil.which("nvidia-smi") is None:
        return []
    shown = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=False)
    gpus: list[list[str]] = []
    for line in shown.stdout.splitlines():
        found = re.search(r"UUID: ([\w/-]+)", line)
        if found is None:
            continue
        if line.startswith("GPU"):
            gpus.append([found[1]])
        else:  # the parts of the GPU before, which cannot be used as a whole then
            gpus[-1] = [name for name in gpus[-1] if name.startswith("MIG")] + [found[1]]
    return [name for gpu in gpus for name in gpu]


def environments(agents: int, gpus: int | None, agents_per_gpu: int) -> list[dict[str, str]]:
    """Return what each agent's environment has besides the launcher's.

    Raises:
        ConfigError: there are too few GPUs.
    """
    if gpus or agents_per_gpu > 1:
        return [{_GPUS: names} for names in gpus_of_agents(agents, gpus or 1, agents_per_gpu)]
    hidden = {} if gpus is None else {_GPUS: ""}
    if _THREADS in os.environ or agents == 1:
        return [hidden] * agents
    return [{**hidden, _THREADS: str(max(1, (os.cpu_count() or 1) // agents))}] * agents


def start(agent: Sequence[str], own: Sequence[dict[str, str]], restarts: int, logs: Path) -> Path:
    """Start a supervisor with its agents, which live on when this process ends.

    Args:
        agent: an agent's command.
        own: the variables of each agent.
        restarts: how often an agent that has died is started again.
        logs: the folder of what they print.

    Returns:
        the file that says which processes they are.

    Raises:
        LaunchError: the supervisor has not started.
    """
    name = f"local-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    record = logs / f"{name}.json"
    told = {"agent": list(agent), "own": list(own), "restarts": restarts, "record": str(record)}
    with open(logs / f"{name}.txt", "ab") as output:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "dysweep.launch.pool"],
            stdin=subprocess.PIPE, stdout=output, stderr=output, start_new_session=True,
        )  # fmt: skip
    assert supervisor.stdin is not None
    with supervisor.stdin as stdin:
        stdin.write(json.dumps(told).encode())
    deadline = time.monotonic() + _UNTIL_STARTED_SECONDS
    while not record.exists():
        if supervisor.poll() is not None or time.monotonic() > deadline:
            raise LaunchError(f"the agents have not started; see {logs / name}.txt")
        time.sleep(0.05)
    return record


def stop(logs: Path) -> tuple[list[int], list[str]]:
    """Tell the supervisors of a sweep, or the agents of one that has died, to stop.

    Args:
        logs: the folder of their records.

    Returns:
        the processes that were told, and the other hosts where there are some.
    """
    told, elsewhere = [], set()
    for record, owners in _launched(logs):
        alive = [_is_alive(owner, record) for owner in owners]
        if all(each is False for each in alive):
            record.unlink(missing_ok=True)  # as after a power failure
        elsewhere |= {owner.host for owner, each in zip(owners, alive, strict=True) if each is None}
        for owner, each in zip(owners, alive, strict=True):
            if each and _tell(owner.pid):
                told.append(owner.pid)
                if owner is owners[0]:
                    break  # it tells its agents
    return told, sorted(elsewhere)


def is_running(logs: Path) -> bool:
    """Return whether agents that were launched on a machine are left.

    Args:
        logs: the folder of their records.
    """
    return any(
        _is_alive(owner, record) is not False for record, owners in _launched(logs) for owner in owners
    )


def _launched(logs: Path) -> Iterator[tuple[Path, list[Owner]]]:
    """Go through the records of launches: each with its supervisor, and then its agents."""
    for record in sorted(logs.glob("local-*.json")):
        try:
            stored = read_json(record)
            yield record, [Owner.from_stored(each) for each in (stored["supervisor"], *stored["agents"])]
        except FileNotFoundError:
            continue  # ended meanwhile
        except (TypeError, KeyError, ValueError) as error:
            raise damaged(record, error) from None


def _is_alive(owner: Owner, record: Path) -> bool | None:
    return owner.alive(lambda: record.stat().st_mtime)


def _tell(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGTERM)
    except OSError:  # ended meanwhile, or another user's
        return False
    return True


class _Supervisor:
    """Starts agents, starts again what has died, and passes SIGTERM on."""

    def __init__(self, told: dict[str, Any]) -> None:
        self._command: list[str] = told["agent"]
        self._own: list[dict[str, str]] = told["own"]
        self._record = Path(told["record"])
        self._left: list[int] = [told["restarts"]] * len(self._own)
        self._agents: dict[int, subprocess.Popen[bytes]] = {}
        self._owners: dict[int, Owner] = {}
        self._is_stopping = False

    def work(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        for place in range(len(self._own)):
            self._start(place)
        while self._agents:
            for place, agent in list(self._agents.items()):
                if agent.poll() is not None:
                    self._ended(place, agent.returncode)
            time.sleep(_BETWEEN_LOOKS_SECONDS)
        self._record.unlink(missing_ok=True)

    def _start(self, place: int) -> None:
        with open(self._record.with_suffix(f".{place}.txt"), "ab") as output:
            agent = subprocess.Popen(
                self._command,
                env={**os.environ, **self._own[place]},
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            )  # fmt: skip
        self._agents[place] = agent
        if self._is_stopping:  # told while it was started
            agent.send_signal(signal.SIGTERM)
        self._owners[place] = replace(Owner.current(), pid=agent.pid, process_start=process_start(agent.pid))
        if len(self._owners) == len(self._own):  # the launcher waits for all of them
            owners = [asdict(owner) for owner in self._owners.values()]
            replace_json(self._record, {"supervisor": asdict(Owner.current()), "agents": owners})

    def _ended(self, place: int, code: int) -> None:
        del self._agents[place]
        print(f"{now()} agent {place} has ended with {_exit_of(code)}", flush=True)
        if code in _NO_MORE or self._is_stopping or not self._left[place]:
            return
        self._left[place] -= 1
        print(f"{now()} agent {place} is started again", flush=True)
        self._start(place)

    def _stop(self, number: int, frame: object) -> None:
        self._is_stopping = True
        for agent in self._agents.values():
            agent.send_signal(signal.SIGTERM)


def _exit_of(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return signal_name(-code)


if __name__ == "__main__":
    _Supervisor(json.load(sys.stdin)).work()
