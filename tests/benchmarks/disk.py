"""What a run leaves on the disk, and how often it waits for the disk."""

from __future__ import annotations

from collections.abc import Iterator

from tests.benchmarks import baseline
from tests.benchmarks.ruler import Plan, Row, calls, files, fsyncs, program, run
from tests.benchmarks.sweeps import agent, create


def measure(plan: Plan) -> Iterator[Row]:
    """Count fsyncs, file operations and files of a run: what one more run adds."""
    few, many = 1, plan.size(11, 2)
    ours, bare = plan.new_folder("ours"), plan.new_folder("bare")
    sweep_id, path = create(ours, 100)
    run(agent(sweep_id, "--count", few), folder=ours)
    run(program("bare_loop", few, "lean"), folder=bare)
    [first] = (path / "runs").iterdir()
    [bare_run] = (bare / "wandb").glob("offline-run-*")
    left, bare_left = files(first), files(bare_run)
    yield Row("files that a run leaves", "", left, "bare wandb run", bare_left)
    yield Row(
        "files that a run leaves beyond those of a bare one", "", left - bare_left,
        baseline=plan.baseline(baseline.FILES), goal=plan.goal(10),
    )  # fmt: skip
    added = [_added(plan, agent, few, many), _added(plan, None, few, many)]
    if added[0] is None or added[1] is None:
        return
    (syncs, operations), (bare_syncs, bare_operations) = added
    yield Row(
        "fsyncs of a run", "", syncs, "bare wandb run", bare_syncs,
        baseline=plan.baseline(baseline.FSYNCS), goal=plan.goal(7),
    )  # fmt: skip
    yield Row("file operations of a run", "", operations, "bare wandb run", bare_operations)


def _added(plan: Plan, ours: object, few: int, many: int) -> tuple[float, float] | None:
    """Return fsyncs and file operations that one more run adds."""
    counted = []
    for number in (few, many):
        folder = plan.new_folder("counted")
        if ours is None:
            found = calls(program("bare_loop", number, "lean"), folder, folder, plan)
        else:
            sweep_id, _ = create(folder, 100)
            found = calls(agent(sweep_id, "--count", number), folder, folder, plan)
        if found is None:
            return None
        counted.append((fsyncs(found), len(found)))
    return tuple((after - before) / (many - few) for before, after in zip(*counted, strict=True))  # type: ignore[return-value]
