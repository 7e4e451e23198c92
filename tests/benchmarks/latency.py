"""A disk that takes a millisecond for every file operation, as a network file system does."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks import baseline
from tests.benchmarks.ruler import Plan, Row, dysweep, median, middle, program, run
from tests.benchmarks.sweeps import with_finished_runs

CLAIMS = 6


def slow_disk(plan: Plan, below: Path) -> dict[str, str] | None:
    """Return the variables that make a folder slow; None without a C compiler.

    Args:
        plan: where the library is compiled.
        below: the folder.
    """
    compiler = shutil.which("cc")
    if compiler is None:
        plan.warn("there is no C compiler (cc): nothing is measured on a slow disk")
        return None
    library = plan.folder / "slow_disk.so"
    if not library.exists():
        source = Path(__file__).with_name("slow_disk.c")
        subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "SLOW_DISK": str(below), "SLOW_DISK_MS": "1"}


def measure(plan: Plan) -> Iterator[Row]:
    """Measure status, the look for interrupted runs, and the claim; the floor is without delay."""
    runs = plan.size(1_000, 5)
    folder = plan.new_folder("latency")
    sweep_id, path = with_finished_runs(folder, runs, runs + 1_000)
    slow = slow_disk(plan, path)
    if slow is None:
        return
    status = dysweep("status", "--sweep_id", sweep_id)

    def first(**more: str) -> float | None:
        (path / "ended.jsonl").unlink(missing_ok=True)
        return middle([run(status, folder=folder, **more)], "wall")

    find, claim = program("find_interrupted", path), program("claim", path, CLAIMS)
    found = plan.in_turn(
        {
            "first": lambda: first(**slow),
            "first, fast": first,
            "status": lambda: middle([run(status, folder=folder, **slow)], "wall"),
            "status, fast": lambda: middle([run(status, folder=folder)], "wall"),
            "find": lambda: run(find, folder=folder, **slow).json,
            "find, fast": lambda: run(find, folder=folder).json,
            "claim": lambda: _next(run(claim, folder=folder, **slow).json),
            "claim, fast": lambda: _next(run(claim, folder=folder).json),
        }
    )
    seconds = {name: median(each) for name, each in found.items()}
    for title, name, unit, before in (
        (
            f"1 ms an operation: status of {runs:,} runs for the first time, wall",
            "first",
            "s",
            baseline.SLOW_STATUS,
        ),
        (f"1 ms an operation: status of {runs:,} runs, wall", "status", "s", baseline.SLOW_STATUS),
        (f"1 ms an operation: interrupted runs of {runs:,}, wall", "find", "s", baseline.SLOW_FIND),
        ("1 ms an operation: claim of the next run, wall", "claim", "ms", baseline.SLOW_CLAIM),
    ):
        factor = 1000 if unit == "ms" else 1
        yield Row(
            title, unit, factor * seconds[name], floor=factor * seconds[f"{name}, fast"],
            baseline=plan.baseline(factor * before), goal=plan.goal(0.25, "baseline"),
            note="floor: the same without delay",
        )  # fmt: skip


def _next(taken: list[dict[str, float]]) -> float:
    return median(claim["wall"] for claim in taken[1:])
