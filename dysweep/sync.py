"""Takes an offline sweep to W&B: uploads its runs, and makes a sweep there that holds them."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace

from filelock import FileLock, Timeout

from dysweep.checkpoint import SweepDirectory, SweepPath
from dysweep.errors import ConfigError, DirectoryError
from dysweep.runs import RunDirectory, State

logger = logging.getLogger("dysweep")

_RUNS_AT_A_TIME = 100


def sync(directory: SweepDirectory, entity: str | None, project: str) -> SweepPath:
    """Upload what has ended since the last time; what W&B has already is not sent again.

    Which runs are in which sweep is asked of W&B, so an interruption at any point is mended by the next time.

    Args:
        directory: the sweep's directory.
        entity: W&B's user or team; None for the user's default one.
        project: W&B's project.

    Returns:
        the sweep in W&B.

    Raises:
        ConfigError: W&B serves the sweep itself, no run has ended, or another process is at it.
        TrackingError: W&B did not take the runs or the sweep.
    """
    from dysweep import tracking

    sweep = directory.sweep
    if sweep.online:
        raise ConfigError(f"sweep_id: {sweep.sweep_id} is served by W&B, where its runs are already")
    place = SweepPath(entity, project, sweep.sweep_id)
    try:
        with FileLock(directory.path / "sync.lock", timeout=0):
            ended = _ended_runs(directory)
            waiting = [folder for run in ended for folder in tracking.folders_to_upload(run.path)]
            for start in range(0, len(waiting), _RUNS_AT_A_TIME):
                tracking.upload(waiting[start : start + _RUNS_AT_A_TIME], place)
                logger.info("uploaded %d/%d", min(start + _RUNS_AT_A_TIME, len(waiting)), len(waiting))
            return _sweep_with(directory, place, ended)
    except Timeout:
        raise ConfigError(f"{directory.path}: another dysweep_sync is at work here; wait for it") from None


def _ended_runs(directory: SweepDirectory) -> list[RunDirectory]:
    ended = []
    running = 0
    for run in directory.runs():
        try:
            state = run.state()
        except DirectoryError as error:
            logger.error("%s; the run is left out", error)
            continue
        running += state is State.RUNNING
        if state not in (State.RUNNING, State.PENDING):
            ended.append(run)
    if not ended:
        raise ConfigError(f"{directory.path}: no run has ended yet, so there is nothing to sync")
    if running:
        logger.info("%d still running: sync again when they have ended", running)
    return ended


def _sweep_with(directory: SweepDirectory, place: SweepPath, ended: list[RunDirectory]) -> SweepPath:
    """Find the sweep that W&B has of this directory, or make it, and put the runs into it."""
    from dysweep import tracking

    entity, belongs = tracking.runs_of_group(place, place.sweep_id)
    place = replace(place, entity=entity)
    sweeps = Counter(sweep_id for sweep_id in belongs.values() if sweep_id is not None)
    outside = [run for run in ended if run.run_id in belongs and belongs[run.run_id] not in sweeps]
    if not sweeps:
        configuration = {"name": place.sweep_id, **directory.sweep.flat_configuration}
        names = [run.run_id for run in outside]
        return tracking.create_sweep(configuration, place.entity, place.project, prior_runs=names)
    path = replace(place, sweep_id=sweeps.most_common(1)[0][0])
    for number, run in enumerate(outside, start=1):
        record = run.record()
        tracked = tracking.start_run(
            sweep=path,
            online=True,
            by_agent=False,
            run_id=run.run_id,
            name=record.get("name"),
            assignment=record["assignment"],
            config=run.config() or {},
            directory=run.path,
            from_scratch=False,
            mark_preempting=False,
            when_stopped=lambda: None,
        )
        tracking.end_run(tracked, 0 if run.state() is State.FINISHED else 1, preempted=False)
        if number % 10 == 0 or number == len(outside):
            logger.info("put into the sweep %d/%d", number, len(outside))
    return path
