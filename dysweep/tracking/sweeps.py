"""Sweeps in W&B, and what dysweep keeps with them."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import wandb

from dysweep.directory.address import SweepAddress
from dysweep.directory.legacy import OldSweep, sweep_of_metadata
from dysweep.directory.sweep import Sweep, SweepDirectory
from dysweep.errors import ConfigError, DirectoryError, NotFoundError
from dysweep.tracking.sdk import (
    ENTITY,
    PROJECT,
    check_reachable,
    fetch_run,
    quiet_sdk,
    sdk_errors,
    wandb_command,
)
from dysweep.tracking.versions import app_url

_HINT = "dysweep_run_resume --package PACKAGE --function FUNCTION --sweep_id"
# What `wandb agent ID` executes, which knows nothing of trees: a word on what to type instead.
_FOR_WANDB_AGENT = {
    "program": "dysweep_run_resume",
    "command": [
        "${env}",
        "python",
        "-c",
        "import os, sys; "
        f"sys.exit('this is a sweep of dysweep; work on it with: {_HINT} ' + os.environ['WANDB_SWEEP_ID'])",
    ],
}


def create_sweep(configuration: Mapping[str, Any], entity: str | None, project: str) -> SweepAddress:
    """Create a sweep.

    Args:
        configuration: W&B's sweep configuration, with flat parameters.
        entity: W&B's user or team; None for the user's default one.
        project: W&B's project.

    Returns:
        where it is.

    Raises:
        TrackingError: W&B did not make it.
    """
    configuration = {**configuration, **_FOR_WANDB_AGENT}
    check_reachable()
    with sdk_errors("W&B did not create the sweep"), quiet_sdk():
        with contextlib.redirect_stdout(None):  # the SDK prints the id there
            sweep_id = wandb.sweep(configuration, entity, project)
        # The SDK leaves there what the server said of the sweep's place.
        return SweepAddress(os.environ.get(ENTITY), os.environ.get(PROJECT, project), sweep_id)


def find_sweep(place: SweepAddress, description: str) -> SweepAddress | None:
    """Find the sweep of a project that has this description; None if there is none.

    Raises:
        TrackingError: W&B could not be asked.
    """
    with sdk_errors("W&B could not be asked"), quiet_sdk():
        project = wandb.Api({"entity": place.entity}).project(place.project, place.entity)
        for sweep in project.sweeps():
            if sweep.config.get("description") == description:
                return replace(place, sweep_id=sweep.id)
        return None


def page_of(address: SweepAddress) -> str:
    """Return the address of a sweep's page in W&B."""
    return f"{app_url()}/{address.place}/sweeps/{address.sweep_id}"


def page_of_run(address: SweepAddress, run_id: str) -> str:
    """Return the address of the page of a sweep's run in W&B."""
    return f"{app_url()}/{address.place}/runs/{run_id}"


def stop_sweep(address: SweepAddress) -> bool:
    """Stop a sweep, so that no agent gets runs of it, and tell whether that worked."""
    return wandb_command("sweep", "--stop", str(address)).returncode == 0


def save_metadata(address: SweepAddress, text: str, directory: Path) -> None:
    """Keep a text with a sweep, in a run of its own whose id is made from the sweep's.

    Args:
        address: the sweep.
        text: the text.
        directory: where W&B puts its own folder `wandb/`.

    Raises:
        TrackingError: W&B did not take it.
    """
    with sdk_errors("W&B did not take the sweep's metadata"), quiet_sdk():
        run = wandb.init(
            entity=address.entity,
            project=address.project,
            id=address.metadata_run,
            name=address.metadata_run,
            job_type="dysweep-metadata",
            tags=["dysweep"],
            config={"dysweep": text},
            dir=directory,
            settings=wandb.Settings(
                mode="online", silent=True, console="off", disable_git=True, reinit="create_new"
            ),
        )
        run.finish()


def load_metadata(address: SweepAddress) -> tuple[SweepAddress, str]:
    """Read what `save_metadata` kept, with one request however many runs the project has.

    Returns:
        where the sweep is, with its entity, and the text.

    Raises:
        NotFoundError: there is none.
        TrackingError: W&B could not be asked.
    """
    run = fetch_run(address, address.metadata_run)
    text = None if run is None else run.config.get("dysweep")
    if run is None or not isinstance(text, str):
        raise NotFoundError(
            f"sweep_id: W&B has no sweep {address} of dysweep's (no run {address.metadata_run}): "
            "it does not exist, was deleted, or was not made by dysweep_create"
        )
    return SweepAddress(run.entity, address.project, address.sweep_id), text


def load_old_metadata(address: SweepAddress) -> tuple[SweepAddress, dict[str, Any], dict[str, Any]] | None:
    """Read what dysweep 0.1 kept with a sweep: the config of a run whose name holds the sweep's id.

    Returns:
        where the sweep is, with its entity, the config, and W&B's sweep configuration; None if there is none.

    Raises:
        TrackingError: W&B could not be asked.
    """
    named = {"display_name": f"HIERARCHICAL_SWEEP_{address.sweep_id}"}
    with sdk_errors("W&B could not be asked"), quiet_sdk():
        api = wandb.Api({"entity": address.entity})
        for run in api.runs(address.place, filters=named, per_page=1):
            sweep = SweepAddress(run.entity, address.project, address.sweep_id)
            return sweep, dict(run.config), dict(api.sweep(str(sweep)).config)  # type: ignore[no-untyped-call]
        return None


def fetch(directory: SweepDirectory, address: SweepAddress) -> None:
    """Create the directory of a sweep that W&B serves, from what dysweep has kept with it there.

    Raises:
        NotFoundError: W&B has no such sweep of dysweep's.
        DirectoryError: what was kept cannot be read.
        TrackingError: W&B could not be asked.
    """
    try:
        address, text = load_metadata(address)
        sweep = replace(Sweep.from_stored(json.loads(text)), entity=address.entity)
    except NotFoundError:
        old = load_old_metadata(address)
        if old is None:
            raise
        sweep = sweep_of_metadata(*old)
        if left := OldSweep.at(directory):
            left.adopt()
    except ValueError as error:
        raise DirectoryError(f"sweep_id: W&B's metadata of {address} cannot be read: {error}") from None
    with contextlib.suppress(ConfigError):  # another agent has just made it
        directory.create(sweep)
