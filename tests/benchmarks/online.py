"""Short runs that W&B serves, with a local server that speaks its protocol."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.benchmarks import baseline
from tests.benchmarks.ruler import Cost, Plan, Row, median, middle, program, run
from tests.benchmarks.sweeps import agent, create


def measure(plan: Plan) -> Iterator[Row]:
    """Compare an agent with `wandb.agent`: wall time, which sleeping decides, and requests."""
    sys.path.insert(0, str(Path(__file__).parents[1]))  # where the test server is
    from wandb_server import Server

    runs = plan.size(9, 1)

    def served(create_sweep: Any) -> tuple[Cost, int]:
        server = Server().start()
        try:
            folder = plan.new_folder("online")
            command = create_sweep(folder, server.environment)
            before = sum(server.requests.values())
            cost = run(command, folder=folder, **server.environment)
            return cost, sum(server.requests.values()) - before
        finally:
            server.stop()

    def ours(folder: Path, environment: dict[str, str]) -> list[str]:
        sweep_id, _ = create(folder, 100, **environment)
        return agent(sweep_id, "--count", runs)

    def plain(folder: Path, environment: dict[str, str]) -> list[str]:
        said = run(program("wandb_agent", "create"), folder=folder, **environment).said
        return program("wandb_agent", runs, said.split()[-1])

    found = plan.in_turn({"ours": lambda: served(ours), "wandb": lambda: served(plain)})
    costs = {name: [cost for cost, _ in each] for name, each in found.items()}
    requests = {name: median(count for _, count in each) for name, each in found.items()}
    for of, before, goal in (
        ("wall", plan.baseline(baseline.ONLINE_WALL), plan.goal(0.3, "peer")),
        ("cpu", None, None),
    ):
        number = middle(costs["ours"], of)
        assert number is not None
        title = {"wall": "wall", "cpu": "CPU"}[of]
        yield Row(
            f"online, {runs} no-op runs: {title}", "s", number, "wandb.agent", middle(costs["wandb"], of),
            baseline=before, goal=goal,
        )  # fmt: skip
    yield Row(
        f"online, {runs} no-op runs: requests", "", requests["ours"], "wandb.agent", requests["wandb"],
        baseline=plan.baseline(baseline.ONLINE_REQUESTS), goal=plan.goal(1.0, "baseline"),
    )  # fmt: skip
