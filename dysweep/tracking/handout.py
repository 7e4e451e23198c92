"""Runs that W&B hands out: asked for one at a time, and those that nobody has started."""

from __future__ import annotations

import logging
import os
import queue
import random
import sys
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import wandb
import yaml

from dysweep.directory.address import SweepAddress
from dysweep.errors import NotFoundError
from dysweep.tracking.sdk import LimitError, fetch_run, quiet_sdk, sdk_errors
from dysweep.tracking.versions import LISTS_AGENTS

logger = logging.getLogger("dysweep")

_RUN_ID = "WANDB_RUN_ID"
_ASSIGNMENT_FILE = "WANDB_SWEEP_PARAM_PATH"
_POLL_SECONDS = 0.2
_MOST_LIMITED = 5  # times in a row
_PATIENCE_SECONDS = 12  # wandb.agent asks every 5 seconds and looks at the answer every 10


@dataclass(frozen=True)
class Assigned:
    """A run that W&B has given to this process.

    Args:
        run_id: its id.
        config: what the sweep chose; of a run that was queued again, all of its config in W&B.
    """

    run_id: str
    config: dict[str, Any]


def assigned_runs(
    address: SweepAddress, directory: Path, stopping: Callable[[], bool], when_stopped: Callable[[], object]
) -> Generator[Assigned, None, None]:
    """Ask W&B for one run after the other, as `wandb.agent` does, until the sweep is done.

    `wandb.agent` works in a thread of its own, so that the caller's thread, where signals arrive, can execute
    the runs. A run is over when the caller asks for the next one, or closes the iterator. Each call of
    `wandb.agent` is for one run, and so ends by itself: else it could only be ended by an exception raised in
    its thread from outside, which on Python 3.11 never arrives under a debugger or coverage.

    Args:
        address: the sweep.
        directory: where W&B puts its own folder `wandb/`.
        stopping: tells whether to ask for no more runs.
        when_stopped: called, from another thread, if W&B stops the run.

    Raises:
        TrackingError: W&B does not serve the sweep.
    """
    limited = 0
    while not stopping():
        try:
            with _one_run(address, directory, stopping, when_stopped) as assigned:
                if assigned is None:
                    return
                limited = 0
                yield assigned
        except LimitError as limit:
            limited += 1
            if limited > _MOST_LIMITED:
                raise
            # At random, so that the agents that W&B has limited together do not come back together.
            seconds = limit.seconds * random.uniform(1, 2)
            logger.warning("W&B limits how often it may be asked; asking again in %.0f s", seconds)
            _wait(seconds, stopping)


def _wait(seconds: float, stopping: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not stopping():
        time.sleep(_POLL_SECONDS)


@contextmanager
def _one_run(
    address: SweepAddress, directory: Path, stopping: Callable[[], bool], when_stopped: Callable[[], object]
) -> Iterator[Assigned | None]:
    handed: queue.Queue[Assigned | None] = queue.Queue()
    over = threading.Event()
    failures: list[BaseException] = []

    # wandb.agent calls this in a thread of its own, with the run's id and assignment in the environment.
    def job() -> None:
        # wandb.agent has asked before it heard that the agent is to end.
        if over.is_set():
            return  # nobody waits for it any more; --resume finds the run
        chosen = yaml.safe_load(Path(os.environ[_ASSIGNMENT_FILE]).read_text(encoding="utf-8"))
        chosen = {key: item["value"] for key, item in chosen.items() if key != "wandb_version"}
        try:
            handed.put(Assigned(os.environ[_RUN_ID], chosen))
            # The run is executed in the caller's thread, where signals arrive; here wandb.agent only
            # waits for it. It stops a run by an asynchronous exception in this thread, which a wait
            # without an end would not see.
            while not over.wait(_POLL_SECONDS):
                pass
        except Exception:  # this is how wandb.agent stops a run
            when_stopped()
            over.wait()

    def work() -> None:
        try:
            wandb.agent(address.sweep_id, job, address.entity, address.project, count=1)
        # Not raised in this thread, where nobody would see it.
        except BaseException as error:
            failures.append(error)
        finally:
            handed.put(None)

    # A daemon: where W&B does not answer, it must not keep the process alive.
    agent = threading.Thread(target=work, name="dysweep-agent", daemon=True)
    hooks = (
        sys.exit,
        sys.excepthook,
    )  # wandb 0.31 wraps them at each start of its process
    assigned = None
    try:
        with (
            sdk_errors(f"W&B does not serve the sweep {address}"),
            quiet_sdk(WANDB_DIR=str(directory.absolute())),  # not longer: programs of the function see it too
        ):
            agent.start()
            assigned = _next_run(handed, stopping)
            if assigned is None and failures:
                raise failures[0]
        yield assigned
    finally:
        over.set()
        if assigned is not None:
            with quiet_sdk():
                agent.join()
        # Each start of the SDK's process wraps them once more; after hundreds of runs Python would end with
        # RecursionError (wandb 0.31).
        sys.exit, sys.excepthook = hooks


def _next_run(handed: queue.Queue[Assigned | None], stopping: Callable[[], bool]) -> Assigned | None:
    """Wait for the next run; one that is under way when the process is told to stop is still taken."""
    patience = float(_PATIENCE_SECONDS)
    # Told to stop in between, the agent still waits for the answer: W&B would count the run as handed out.
    while patience > 0:
        try:
            return handed.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            patience -= _POLL_SECONDS if stopping() else 0
    return None


def unstarted_runs(address: SweepAddress, known: Collection[str], seconds: float) -> list[str]:
    """List the runs that W&B has handed out, and that no process has ever started.

    Args:
        address: the sweep.
        known: ids of runs that need not be looked at.
        seconds: how long ago they were handed out at least.

    Raises:
        TrackingError: W&B could not be asked.
    """
    given_out = {"sweep": address.sweep_id, "state": {"$in": ["pending", "crashed"]}}
    with sdk_errors("W&B could not be asked"), quiet_sdk():
        api = wandb.Api({"entity": address.entity})
        runs = api.runs(address.place, filters=given_out, per_page=1000)
        lost = {
            run.id: run.state
            for run in runs
            if run.id not in known and age_of(run.created_at) >= seconds and "dy_config" not in run.config
        }
        # Without an agent that had it, a pending run waits in W&B's queue for one.
        queued = {run_id for run_id, state in lost.items() if state == "pending"}
        if queued:
            sweep: Any = api.sweep(str(address))  # type: ignore[no-untyped-call]
            queued -= _had_by_agents(sweep, queued)
        return [run_id for run_id in lost if run_id not in queued]


def _had_by_agents(sweep: Any, run_ids: Collection[str]) -> set[str]:
    """Return which runs an agent has had; all if the SDK cannot tell."""
    if not LISTS_AGENTS:
        return set(run_ids)
    had: set[str] = set()
    for agent in sweep.agents():
        had |= {run.id for run in agent.runs()}
        if had.issuperset(run_ids):
            break
    return had


def age_of(created: str) -> float:
    """Return the seconds since a time as W&B writes it: ISO 8601 in UTC, with or without a zone."""
    then = datetime.fromisoformat(created.replace("Z", "+00:00"))
    then = then if then.tzinfo is not None else then.replace(tzinfo=timezone.utc)
    return (datetime.now(timezone.utc) - then).total_seconds()


@dataclass(frozen=True)
class KnownRun:
    """A run as W&B knows it.

    Args:
        name: its display name.
        state: its state, in W&B's words.
        sweep_id: the sweep that it belongs to.
        config: its config.
    """

    name: str
    state: str
    sweep_id: str | None
    config: dict[str, Any]


def load_run(address: SweepAddress, run_id: str) -> KnownRun:
    """Ask W&B for a run.

    Raises:
        NotFoundError: there is no such run.
        TrackingError: W&B could not be asked.
    """
    run = fetch_run(address, run_id)
    if run is None:
        raise NotFoundError(f"{run_id}: unknown run in W&B's project {address.place}")
    return KnownRun(run.name, run.state, run.sweep_name, dict(run.config))
