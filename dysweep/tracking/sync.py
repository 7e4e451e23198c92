"""Uploads what W&B lacks: an offline sweep with its runs, or the rest of an online sweep's runs."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import wandb
from filelock import FileLock, Timeout

from dysweep.directory.address import SweepAddress
from dysweep.directory.heartbeat import Watch
from dysweep.directory.runs import Attempt, RunDirectory, State
from dysweep.directory.sweep import SweepDirectory
from dysweep.errors import ConfigError, DirectoryError, TrackingError
from dysweep.files import publish_json, read_json, replace_json
from dysweep.text import counted
from dysweep.tracking.runs import tell_end
from dysweep.tracking.sdk import log_in, quiet_sdk, sdk_errors
from dysweep.tracking.sweeps import create_sweep, find_sweep
from dysweep.tracking.upload import folders_to_upload, upload

logger = logging.getLogger("dysweep")

_FOLDERS_AT_A_TIME = 100
_AT_ONCE = 8  # each waits for W&B most of its second


def sync(directory: SweepDirectory, entity: str | None, project: str | None, lease: float) -> SweepAddress:
    """Upload what has ended since the last time; what W&B has already is not sent again.

    Which runs are in which sweep is asked of W&B, so an interruption at any point is mended by the next time.

    Args:
        directory: the sweep's directory.
        entity: W&B's user or team; None for the one of the last time, or of the sweep, or the default one.
        project: W&B's project; None for the one of the last time, or of the sweep.
        lease: seconds without a heartbeat after which a process on another host counts as dead.

    Returns:
        the sweep in W&B.

    Raises:
        ConfigError: there is nothing to upload, or another process is at it.
        TrackingError: W&B did not take the runs or the sweep.
    """
    sweep = directory.sweep
    if sweep.online:
        return _upload_the_rest(directory)
    with _alone(directory.sync_path.with_suffix(".lock")):
        ended = _ended_runs(directory, lease)
        if not ended:
            raise ConfigError(f"{directory.path}: no run has ended yet, so there is nothing to sync")
        place = _place(directory, entity, project)
        logger.info("%s to %s", counted(len(ended), "run"), place.place)
        _upload([folder for folders in ended.values() for folder in folders], place)
        return _sweep_with(directory, place, list(ended))


def _upload_the_rest(directory: SweepDirectory) -> SweepAddress:
    """Upload what the ends of an online sweep's runs did not wait for."""
    address = directory.sweep.address
    folders = [folder for run in directory.runs() for folder in folders_to_upload(run.path)]
    if not folders:
        raise ConfigError(f"sweep_id: {address.sweep_id} is served by W&B, where its runs are already")
    with _alone(directory.sync_path.with_suffix(".lock")):
        log_in(address.entity)
        logger.info("%s to %s", counted(len(folders), "run"), address.place)
        _upload(folders, address)
    return address


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise ConfigError(f"{path.parent}: another dysweep_sync is at work here; wait for it") from None
    except NotImplementedError:
        pass  # no locks on this file system
    except OSError as error:
        raise DirectoryError(f"{path}: cannot be written ({error.strerror})") from None
    try:
        yield
    finally:
        with suppress(OSError):  # a network file system that is gone; the lock goes with the process
            lock.release()


def _ended_runs(directory: SweepDirectory, lease: float) -> dict[RunDirectory, list[Path]]:
    """Find the runs that have ended, each with its folders to upload."""
    ended: dict[RunDirectory, list[Path]] = {}
    unseen: dict[Attempt, list[Path]] = {}
    running = 0
    for run in directory.runs():
        try:
            # Whatever is there before a run is seen to have ended was written by attempts that have ended.
            folders = folders_to_upload(run.path)
            last = run.last_attempt()
            state = State.PENDING if last is None else last.state()
            if last is not None and last.unseen():
                unseen[last] = folders
        except DirectoryError as error:
            logger.error("%s; the run is left out", error)
            continue
        running += state is State.RUNNING
        if state not in (State.RUNNING, State.PENDING):
            ended[run] = folders
    # Watched together, one lease in all, however many hosts there are.
    if unseen:
        logger.info("watching %d runs of other hosts for up to %.0f s", len(unseen), lease)
    dead = Watch(lease).wait(unseen)
    ended.update({last.run: unseen[last] for last in dead})
    if running > len(dead):
        logger.info("%d still running: sync again when they have ended", running - len(dead))
    return ended


def _upload(folders: list[Path], place: SweepAddress) -> None:
    # In parts, as `wandb sync` says nothing until its end: so people see how far it is.
    for start in range(0, len(folders), _FOLDERS_AT_A_TIME):
        for folder, problem in upload(folders[start : start + _FOLDERS_AT_A_TIME], place):
            logger.warning("%s: not taken whole: %s", folder, problem)
        logger.info("uploaded %d/%d", min(start + _FOLDERS_AT_A_TIME, len(folders)), len(folders))


def _place(directory: SweepDirectory, entity: str | None, project: str | None) -> SweepAddress:
    """Decide at the first time where the runs are taken to; elsewhere those of before would be missing."""
    sweep = directory.sweep
    entity_by_default = sweep.entity or os.environ.get("WANDB_ENTITY")
    first = {
        "entity": log_in(entity or entity_by_default),
        "project": project or sweep.project,
    }
    # The first sync decides, also of two at once; later ones read what it has written.
    publish_json(directory.sync_path, first)
    kept = read_json(directory.sync_path)
    place = SweepAddress(kept["entity"], kept["project"], sweep.sweep_id)
    if (entity or place.entity, project or place.project) != (place.entity, place.project):
        raise ConfigError(
            f"{directory.sync_path}: the runs are taken to {place.place}; leave out --entity and --project"
        )
    return place


def _sweep_with(directory: SweepDirectory, place: SweepAddress, ended: list[RunDirectory]) -> SweepAddress:
    """Find the sweep that W&B has of this directory, or make it, and put the runs into it."""
    # W&B is asked what it has, instead of a list of what was sent: a sync may have died in between.
    listed = runs_of_group(place, place.sweep_id)
    there = [run for run in ended if run.run_id in listed]
    if not there:
        raise TrackingError(f"W&B lists none of the runs in {place.place}; try again, or look there")
    if len(there) < len(ended):
        missing = sorted({run.run_id for run in ended} - listed.keys())
        logger.warning("W&B does not list %d of the runs: %s", len(missing), ", ".join(missing[:5]))
    sweeps = Counter(sweep_id for sweep_id, _ in listed.values() if sweep_id is not None)
    kept = read_json(directory.sync_path)
    if sweeps or "sweep_id" in kept:
        known = sweeps.most_common(1)[0][0] if sweeps else kept["sweep_id"]
        path = replace(place, sweep_id=known)
    else:
        described = {"name": place.sweep_id, "description": f"dysweep sweep {place.sweep_id}"}
        configuration = {**described, **directory.sweep.flat_configuration}
        # A sync that died when W&B had created its sweep has left no other trace of it. The new one does not
        # get the runs as its prior ones: W&B keeps these apart from the sweep's runs, does not count their
        # points, and takes 1,000 at most.
        left = find_sweep(place, configuration["description"])
        path = left or create_sweep(configuration, place.entity, place.project)
        # Before any run is in it: a sync that dies here must not make another sweep the next time.
        replace_json(directory.sync_path, {**kept, "sweep_id": path.sweep_id})
    outside = [run for run in there if _is_outside(run, path.sweep_id, *listed[run.run_id])]
    with quiet_sdk(), ThreadPoolExecutor(_AT_ONCE) as pool:
        told = [
            pool.submit(tell_end, path, run.run_id, finished=run.state() is State.FINISHED) for run in outside
        ]
        for number, each in enumerate(as_completed(told), start=1):
            each.result()
            if number % 10 == 0 or number == len(told):
                logger.info("put into the sweep %d/%d", number, len(told))
    return path


def _is_outside(run: RunDirectory, sweep_id: str, listed_sweep: str | None, listed_state: str) -> bool:
    """Return whether a run has to be put into the sweep, or was while this was interrupted."""
    return listed_sweep != sweep_id or (run.state() is State.FINISHED and listed_state != State.FINISHED)


def runs_of_group(place: SweepAddress, group: str) -> dict[str, tuple[str | None, str]]:
    """List the runs of a group, each with the id of its sweep and its state.

    Args:
        place: the entity and project.
        group: the runs' group.

    Raises:
        TrackingError: W&B could not be asked.
    """
    with sdk_errors("W&B could not be asked"), quiet_sdk():
        runs = wandb.Api({"entity": place.entity}).runs(place.place, filters={"group": group}, per_page=1000)
        try:
            return {run.id: (run.sweep_name, run.state) for run in runs}
        except ValueError as error:
            if "could not find project" in str(error).lower():
                return {}
            raise
