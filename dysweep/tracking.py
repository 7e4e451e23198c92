"""The only module that imports wandb: starting and ending W&B runs, in plain functions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import wandb

from dysweep.errors import TrackingError


def start_run(
    *,
    run_id: str,
    name: str | None,
    group: str,
    entity: str | None,
    project: str,
    assignment: Mapping[str, Any],
    config: Mapping[str, Any],
    directory: Path,
    mark_preempting: bool,
) -> wandb.Run:
    """Start an offline W&B run.

    Args:
        run_id: the run's id; several attempts of a run share it, and `wandb sync` makes one run of them.
        name: its name; None leaves that to W&B.
        group: the sweep's id.
        entity: W&B's user or team.
        project: W&B's project.
        assignment: the flat parameters, kept at the top of the run's config.
        config: the tree, kept as `dy_config` in the run's config.
        directory: where W&B puts its own folder `wandb/`.
        mark_preempting: tell W&B that this run may be preempted.

    Raises:
        TrackingError: W&B did not start the run.
    """
    try:
        run = wandb.init(
            mode="offline",
            id=run_id,
            name=name,
            group=group,
            entity=entity,
            project=project,
            config={**assignment, "dy_config": dict(config)},
            dir=directory,
            settings=wandb.Settings(silent=True, disable_git=True, reinit="finish_previous"),
        )
        if mark_preempting:
            run.mark_preempting()
    except Exception as error:  # the SDK raises many kinds, also undocumented ones
        raise TrackingError(f"W&B did not start the run {run_id}: {error}") from error
    return run


@contextmanager
def user_calls_join_the_run() -> Iterator[None]:
    """Let `wandb.init()` in the user's function give the active run, in notebooks too, and stay offline."""
    before = wandb.setup().settings
    wandb.setup(settings=wandb.Settings(reinit="return_previous", mode="offline"))
    try:
        yield
    finally:
        wandb.setup(settings=wandb.Settings(reinit=before.reinit, mode=before.mode))


def end_run(run: wandb.Run, exit_code: int, preempted: bool) -> dict[str, float]:
    """End a W&B run, also one that the function has finished itself.

    Args:
        run: the run.
        exit_code: 0 for success.
        preempted: tell W&B that it was preempted.

    Returns:
        the final numeric metrics, nested ones with dotted names, without W&B's own.
    """
    if preempted and wandb.run is run:
        run.mark_preempting()
    run.finish(exit_code=exit_code)
    return _numbers(_final_summary(run))


def _final_summary(run: wandb.Run) -> dict[str, Any]:
    # A finished run keeps its summary, but the SDK's public `run.summary` does not give it any more.
    from wandb.sdk.lib import proto_util

    response = getattr(run, "_final_summary", None)
    return proto_util.dict_from_proto_list(response.item) if response is not None else {}


def _numbers(summary: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    numbers: dict[str, float] = {}
    for key, value in summary.items():
        if not prefix and key.startswith("_"):
            continue
        if isinstance(value, Mapping):
            numbers.update(_numbers(value, f"{prefix}{key}."))
        elif isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
            numbers[prefix + key] = value
    return numbers
