"""The claim of the next run, with many in the directory already."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from tests.benchmarks import baseline
from tests.benchmarks.ruler import Plan, Row, calls, program, run
from tests.benchmarks.sweeps import with_finished_runs

CLAIMS = 6  # the first one lists the directory


def measure(plan: Plan) -> Iterator[Row]:
    """Count the file operations of a claim, and compare its time with that of Optuna's `ask`."""
    counted = []
    for finished in plan.sizes((10, 1_000, 100_000), (3, 20)):
        folder = plan.new_folder("claim")
        _, path = with_finished_runs(folder, finished, finished + 1_000)
        found = calls(program("claim", path, CLAIMS), folder, path, plan)
        if found is not None:
            first, following = operations(found)
            counted.append(following)
            yield Row(
                f"claim among {finished:,} runs: file operations", "", following,
                baseline=plan.baseline(baseline.CLAIM_CALLS), goal=plan.goal(20),
                note=f"the first one {first}",
            )  # fmt: skip
        journal = folder / "journal.log"
        has_optuna = plan.has("optuna")
        if has_optuna:
            run(program("optuna_ask", journal, finished, 0), folder=folder)
        times = plan.in_turn(
            {
                "ours": lambda folder=folder, path=path: (
                    run(program("claim", path, CLAIMS), folder=folder).json
                ),
                "optuna": (
                    lambda folder=folder, journal=journal, finished=finished: (
                        run(program("optuna_ask", journal, finished, CLAIMS), folder=folder).json
                    )
                )
                if has_optuna
                else None,
            }
        )
        for title, pick in (("the first", slice(0, 1)), ("the next", slice(1, None))):
            ms = {name: _ms(rounds, pick) for name, rounds in times.items()}
            yield Row(
                f"claim among {finished:,} runs, {title}: CPU",
                "ms",
                ms["ours"],
                "Optuna's ask",
                ms.get("optuna"),
            )
    if len(counted) > 1:
        yield Row(
            "claim, file operations at the most runs to those at the fewest", "x", counted[-1] / counted[0],
            goal=plan.goal(1.0),
        )  # fmt: skip


def operations(found: list[tuple[str, str]]) -> tuple[int, float]:
    """Count the file operations of the first claim, and the median of the following ones."""
    counts: list[int] = []
    is_inside = False
    for _, line in found:
        if "claim-begins" in line:
            counts.append(0)
            is_inside = True
        elif "claim-ends" in line:
            is_inside = False
        elif is_inside:
            counts[-1] += 1
    return counts[0], median(counts[1:])


def _ms(rounds: list[list[dict[str, float]]], pick: slice) -> float:
    return 1000 * median(claim["cpu"] for taken in rounds for claim in taken[pick])
