"""A sweep of runs that do nothing, without W&B's service."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from tests.benchmarks import baseline
from tests.benchmarks.ruler import Cost, Plan, Row, middle, program, run
from tests.benchmarks.sweeps import agent, create


def measure(plan: Plan) -> Iterator[Row]:
    """Compare an agent with a loop of `wandb.init` and `finish`, with Optuna and with Hydra."""
    runs = plan.size(200, 2)

    def ours(agents: int) -> Cost:
        folder = plan.new_folder("ours")
        sweep_id, _ = create(folder, runs)
        return run(*[agent(sweep_id)] * agents, folder=folder)

    def peer(name: str, *words: object) -> Cost:
        return run(program(name, *words), folder=plan.new_folder(name))

    costs = plan.in_turn(
        {
            "ours": partial(ours, 1),
            "lean": partial(peer, "bare_loop", runs, "lean"),
            "default": None if plan.quick else partial(peer, "bare_loop", runs, "default"),
            "two": None if plan.quick else partial(ours, 2),
            "optuna": partial(peer, "optuna_journal", runs) if plan.has("optuna") else None,
            "hydra": partial(peer, "hydra_multirun", "--multirun", f"+number=range(0,{runs})")
            if plan.has("hydra")
            else None,
        }
    )
    cpu, wall = middle(costs["ours"]), middle(costs["ours"], "wall")
    assert cpu is not None and wall is not None
    what = f"offline, {runs} no-op runs"
    yield Row(
        f"{what}: CPU", "s", cpu, "lean wandb loop", middle(costs["lean"]),
        baseline=plan.baseline(baseline.OFFLINE_CPU), goal=plan.goal(0.6, "peer"),
    )  # fmt: skip
    yield Row(
        f"{what}: wall", "s", wall, "lean wandb loop", middle(costs["lean"], "wall"),
        baseline=plan.baseline(baseline.OFFLINE_WALL), goal=plan.goal(0.75, "peer"),
    )  # fmt: skip
    if "default" in costs:
        yield Row(f"{what}: CPU", "s", cpu, "wandb loop, its defaults", middle(costs["default"]))
    yield Row(f"{what}: CPU", "s", cpu, "Optuna, journal", middle(costs.get("optuna")))
    yield Row(f"{what}: CPU", "s", cpu, "Hydra, multirun", middle(costs.get("hydra")))
    if "two" in costs:
        two = middle(costs["two"])
        assert two is not None
        yield Row(f"{what}, 2 agents: CPU", "s", two, "lean wandb loop", middle(costs["lean"]))
