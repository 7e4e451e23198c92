"""From an assignment to a config."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from statistics import median

from tests.benchmarks.ruler import Plan, Row, program, run


def measure(plan: Plan) -> Iterator[Row]:
    """Compare with a deep copy of the base, OmegaConf, and a copy of what is changed alone."""
    leaves, changes = plan.size(2_000, 50), plan.size(200, 5)
    for title, words, limit in (
        ("golden example", ["golden"], 1.0),
        (f"{leaves:,} leaves, {changes} changes", ["large", leaves, changes], 0.7),
    ):
        folder = plan.new_folder("resolve")

        def one(what: str, folder=folder, words=words) -> float:  # type: ignore[no-untyped-def]
            return float(run(program("resolve", what, *words), folder=folder).json)

        ways = ["dysweep", "deepcopy", "changes", *(["omegaconf"] if plan.has("omegaconf") else [])]
        found = plan.in_turn({what: partial(one, what) for what in ways})
        ms = {what: median(each) for what, each in found.items()}
        yield Row(
            f"resolve, {title}: CPU", "ms", ms["dysweep"], "deepcopy of the base", ms["deepcopy"],
            floor=ms["changes"], goal=plan.goal(limit, "peer"),
            note="floor: copies of the changed mappings alone",
        )  # fmt: skip
        yield Row(
            f"resolve, {title}: CPU", "ms", ms["dysweep"], "OmegaConf.merge", ms.get("omegaconf"),
            floor=ms["changes"],
        )  # fmt: skip
