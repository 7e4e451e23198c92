"""What everybody waits for: import, and `--help`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from tests.benchmarks.ruler import Plan, Row, dysweep, middle, program, python, run


def measure(plan: Plan) -> Iterator[Row]:
    """Compare whole processes, the start of Python included, which is the floor."""
    folder = plan.new_folder("imports")
    commands = {
        "floor": python("-c", "pass"),
        "import": python("-c", "import dysweep"),
        "import wandb": python("-c", "import wandb"),
        "help": dysweep("create", "--help"),
        "wandb sweep --help": python("-m", "wandb", "sweep", "--help"),
        "Hydra app --help": program("hydra_multirun", "--help") if plan.has("hydra") else None,
        "optuna --help": python("-m", "optuna.cli", "--help") if plan.has("optuna") else None,
    }
    found = plan.in_turn(
        {
            name: None if command is None else partial(run, command, folder=folder)
            for name, command in commands.items()
        }
    )
    cpu = {name: middle(costs) for name, costs in found.items()}
    for title, ours, peer, goal in (
        ("import dysweep: CPU", "import", "import wandb", plan.goal(0.08, "peer")),
        ("dysweep_create --help: CPU", "help", "wandb sweep --help", plan.goal(0.33, "peer")),
        ("dysweep_create --help: CPU", "help", "Hydra app --help", None),
        ("dysweep_create --help: CPU", "help", "optuna --help", None),
    ):
        number = cpu[ours]
        assert number is not None
        yield Row(title, "s", number, peer, cpu.get(peer), floor=cpu["floor"], goal=goal)
