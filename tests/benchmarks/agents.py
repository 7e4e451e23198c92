"""Many agents on one sweep, with short runs: which share of the ideal they reach."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.benchmarks import baseline
from tests.benchmarks.latency import slow_disk
from tests.benchmarks.ruler import Plan, Row, median, program, run
from tests.benchmarks.sweeps import agent, create


def measure(plan: Plan) -> Iterator[Row]:
    """Compare with agents that cost nothing: with W&B's SDK, without it, and without it on a slow disk."""
    count, each = plan.size(16, 2), plan.size(10, 1)
    limits = {0.5: 0.5, 2.0: 0.8}
    for seconds in (0.1,) if plan.quick else tuple(limits):

        def alone(is_slow: bool, seconds: float = seconds) -> float | None:
            folder = plan.new_folder("agents")
            slow = slow_disk(plan, folder / "checkpoints-abcd") if is_slow else {}
            if slow is None:
                return None
            return float(
                run(program("agents", count, count * each, seconds), folder=folder, **slow).json["share"]
            )

        def tracked(seconds: float = seconds) -> tuple[float, float]:
            return _tracked(plan.new_folder("agents"), count, each, seconds)

        found = plan.in_turn(
            {"slow": partial(alone, True), "fast": partial(alone, False), "wandb": tracked},
        )
        what = f"{count} agents, runs of {seconds} s"
        goal = plan.goal(limits.get(seconds, 0), at_least=True)
        if None not in found["slow"]:
            yield Row(
                f"{what}, without W&B, 1 ms an operation: share of the ideal", "", median(found["slow"]),
                baseline=baseline.AGENTS_SHARE.get(seconds), goal=goal,
            )  # fmt: skip
        yield Row(f"{what}, without W&B: share of the ideal", "", median(found["fast"]), goal=goal)
        share, cores = (median(pair[place] for pair in found["wandb"]) for place in (0, 1))
        yield Row(
            f"{what}, as commands, their start included: share of the ideal", "", share,
            "what the cores allow", cores,
        )  # fmt: skip


def _tracked(folder: Path, count: int, each: int, seconds: float) -> tuple[float, float]:
    """Return the share of the ideal from start to end, and what the cores allow.

    They allow what is left if all CPU time of the agents, W&B's SDK included, is spread over all cores.
    """
    sweep_id, path = create(folder, count * each)
    cost = run(*[agent(sweep_id, function="sleeps")] * count, folder=folder, RUN_SECONDS=str(seconds))
    assert len(list(path.glob("runs/*/attempts/0001.end.json"))) == count * each
    ideal = each * seconds
    return ideal / cost.wall, min(1.0, ideal / (cost.cpu / len(os.sched_getaffinity(0))))
