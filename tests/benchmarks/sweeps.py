"""Sweep directories to measure on: of new sweeps, and of many runs that have finished."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.benchmarks.ruler import dysweep, run

BASE = {
    "number": 0,
    "model": {"class_path": "models.ResNet", "init_args": {"depth": 18, "width": 64, "pretrained": False}},
    "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "momentum": 0.9}},
    "data": {"name": "cifar10", "batch_size": 128, "workers": 4},
}


def config_of(parameters: dict[str, Any], base: dict[str, Any]) -> str:
    """Return the content of a config.yaml, which JSON is too."""
    return json.dumps({"project": "speed", "base_config": base, "sweep_configuration": parameters})


def create(folder: Path, points: int, **more: str) -> tuple[str, Path]:
    """Create a sweep over a grid of some points, by the command; return its id and its directory."""
    swept = {"number": {"sweep": True, "min": 0, "max": points - 1}}
    (folder / "config.yaml").write_text(config_of(swept, BASE))
    run(dysweep("create", "-c", "config.yaml"), folder=folder, **more)
    [path] = (folder / "dysweep_logs").glob("checkpoints-*")
    return path.name.removeprefix("checkpoints-"), path


def agent(sweep_id: str, *words: object, function: str = "nothing") -> list[str]:
    """Return the command of an agent with one of the functions of programs/work.py."""
    return dysweep("run", "--sweep_id", sweep_id, "--package", "work", "--function", function, *words)


def with_finished_runs(folder: Path, finished: int, points: int) -> tuple[str, Path]:
    """Make a sweep with runs that have finished: one is executed, the others get its records.

    Args:
        folder: where; the working directory of the commands.
        finished: how many.
        points: the size of the grid.
    """
    sweep_id, path = create(folder, points)
    run(agent(sweep_id, "--count", 1, function="logs"), folder=folder)
    [first] = (path / "runs").iterdir()
    records = {
        file.relative_to(first): file.read_text()
        for file in first.rglob("*")
        if file.is_file() and "wandb" not in file.relative_to(first).parts
    }
    folders = [
        each.relative_to(first)
        for each in first.rglob("*")
        if each.is_dir() and not each.is_symlink() and "wandb" not in each.relative_to(first).parts
    ]
    for number in range(2, finished + 1):
        made = first.parent / f"{sweep_id}-{number:04d}"
        made.mkdir()
        for each in folders:
            (made / each).mkdir()
        for name, text in records.items():
            text = text.replace(first.name, made.name)
            text = re.sub(r'"number": 0\b', f'"number": {number - 1}', text)
            (made / name).write_text(re.sub(r'"loss": [0-9.]+', f'"loss": {1 / number}', text))
    return sweep_id, path
