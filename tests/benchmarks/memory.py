"""The memory of an agent while a run is at work, W&B's service included."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks import baseline
from tests.benchmarks.ruler import BenchmarkError, Plan, Row, median, program, run
from tests.benchmarks.sweeps import agent, create


def measure(plan: Plan) -> Iterator[Row]:
    """Compare with a bare loop: the memory of all processes, pages that they share counted once."""
    if not Path("/proc/self/smaps_rollup").exists():
        plan.warn("this system has no /proc/PID/smaps_rollup: no memory of agents")
        return

    def ours() -> float:
        folder = plan.new_folder("memory")
        sweep_id, _ = create(folder, 10)
        return _while_it_waits(agent(sweep_id, "--count", 1, function="waits"), folder)

    def bare() -> float:
        return _while_it_waits(program("bare_loop", 1, "lean", "waits"), plan.new_folder("memory"))

    found = plan.in_turn({"ours": ours, "bare": bare})
    yield Row(
        "memory of an agent, all processes", "MB", median(found["ours"]),
        "bare wandb loop", median(found["bare"]),
        baseline=plan.baseline(baseline.MEMORY), goal=plan.goal(1.05, "peer"),
    )  # fmt: skip


def _while_it_waits(command: list[str], folder: Path) -> float:
    measured = []

    def look(pid: int) -> None:
        deadline = time.monotonic() + 120
        while not (folder / "ready").exists():
            if time.monotonic() > deadline or _ended(pid):
                raise BenchmarkError(
                    f"{' '.join(command)}: no run began\n{(folder / 'said').read_text()[-2000:]}"
                )
            time.sleep(0.02)
        time.sleep(0.5)  # until W&B's service has begun the run as well
        measured.append(sum(map(_kilobytes, _tree(pid))) / 1024)
        (folder / "go").touch()

    run(command, folder=folder, while_running=look)
    return measured[0]


def _ended(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def _tree(pid: int) -> list[int]:
    children = [
        int(child)
        for file in Path(f"/proc/{pid}/task").glob("*/children")
        for child in file.read_text().split()
    ]
    return [pid, *(each for child in children for each in _tree(child))]


def _kilobytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
