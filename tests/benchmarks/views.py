"""Looking at sweeps with many runs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from tests.benchmarks import baseline
from tests.benchmarks.ruler import Plan, Row, dysweep, middle, program, run
from tests.benchmarks.sweeps import with_finished_runs

FIRST = "status, the first time"  # which keeps what was read of ended runs for the next times
FORMS = {
    FIRST: [], "status": [], "status --runs": ["--runs"], "status --json": ["--json"],
    "status --csv": ["--csv", "runs.csv"],
}  # fmt: skip
STREAMED = ("status --json", "status --csv")


def measure(plan: Plan) -> Iterator[Row]:
    """Measure CPU and memory of the forms of `status`; the floor reads and parses every record once."""
    peaks: dict[str, list[float]] = {}
    for runs in plan.sizes((10_000, 100_000), (20, 60)):
        folder = plan.new_folder("views")
        sweep_id, path = with_finished_runs(folder, runs, runs)

        def look(form, words, sweep_id=sweep_id, folder=folder, path=path):  # type: ignore[no-untyped-def]
            if form == FIRST:
                (path / "ended.jsonl").unlink(missing_ok=True)
            return run(dysweep("status", "--sweep_id", sweep_id, *words), folder=folder)

        costs = plan.in_turn(
            {
                "floor": partial(run, program("read_records", path / "runs"), folder=folder),
                **{form: partial(look, form, words) for form, words in FORMS.items()},
            }
        )
        for form in FORMS:
            cpu, peak = middle(costs[form]), middle(costs[form], "peak")
            assert cpu is not None and peak is not None
            before = _before(baseline.STATUS_CPU, form, runs)
            yield Row(
                f"{form} of {runs:,} runs: CPU", "s", cpu, floor=middle(costs["floor"]), baseline=before,
                goal=plan.goal(1.5, "floor"), note=f"{middle(costs[form], 'wall'):.2f} s wall",
            )  # fmt: skip
            yield Row(
                f"{form} of {runs:,} runs: memory",
                "MB",
                peak,
                baseline=_before(baseline.STATUS_PEAK, form, runs),
            )
            peaks.setdefault(form, []).append(peak)
    for form in STREAMED if len(peaks["status"]) > 1 else ():
        yield Row(
            f"{form}: memory at the most runs to that at the fewest", "x", peaks[form][-1] / peaks[form][0],
            goal=plan.goal(1.2),
        )  # fmt: skip


def _before(figures: dict[str, dict[int, float]], form: str, runs: int) -> float | None:
    return figures["status" if form == FIRST else form].get(runs)
