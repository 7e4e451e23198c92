"""Checkpoints as W&B's artifacts, and claims in W&B: for machines that share no directory."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Collection
from pathlib import Path
from tempfile import TemporaryDirectory

import wandb

from dysweep.directory.address import SweepAddress
from dysweep.directory.liveness import now
from dysweep.directory.runs import RunDirectory
from dysweep.files import read_json, replace_json, writing
from dysweep.tracking.handout import age_of
from dysweep.tracking.runs import TrackedRun
from dysweep.tracking.sdk import fetch_run, quiet_sdk, sdk_errors

logger = logging.getLogger("dysweep")

_KIND = "dysweep-checkpoint"
_RECORD = (
    "checkpoint.json"  # in the run's directory: the version that its checkpoint/ began with, or was kept as
)
_CLAIM = "dysweep_claim"  # in the run's config
_SETTLE_SECONDS = 5.0  # after which a claim that is still there has won
_FRESH_SECONDS = 120.0  # in which whoever has claimed a run starts it


class CheckpointUploads:
    """Keeps a run's checkpoint directory as an artifact, while it changes and when the attempt ends.

    Args:
        tracked: the W&B run.
        address: the sweep.
        run: the run's directory.
        seconds: between two versions.
    """

    def __init__(self, tracked: TrackedRun, address: SweepAddress, run: RunDirectory, seconds: float) -> None:
        self._tracked = tracked
        self._address = address
        self._run = run
        self._seconds = seconds
        self._kept = _signature(run.checkpoint_path)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="dysweep-checkpoints", daemon=True)

    def __enter__(self) -> CheckpointUploads:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._over.wait(self._seconds):
            self.upload()

    def upload(self) -> None:
        """Keep the directory as it is now instead of as it was, if it has changed; problems are warned of."""
        signature = _signature(self._run.checkpoint_path)
        if signature in (self._kept, ()):
            return
        artifact = wandb.Artifact(_name(self._run), type=_KIND)
        try:
            before = _known_version(self._run)
            for name, *_ in signature:
                artifact.add_file(str(self._run.checkpoint_path / name), name=name)
            if _signature(self._run.checkpoint_path) != signature:
                return  # being written: what was copied may be torn
            logged = self._tracked.run.log_artifact(artifact)
            logged.wait()
            replace_json(self._run.path / _RECORD, {"version": logged.version})
            self._kept = signature
            if before not in (None, logged.version):
                api = wandb.Api({"entity": self._address.entity})
                former = api.artifact(f"{self._address.place}/{_name(self._run)}:{before}", type=_KIND)
                former.delete(delete_aliases=True)
        except Exception as error:  # a full disk, a file that was replaced meanwhile, W&B
            logger.warning("%s: its checkpoint is not kept in W&B: %s", self._run.run_id, error)


def _name(run: RunDirectory) -> str:
    return f"{_KIND}-{run.run_id}"


def _known_version(run: RunDirectory) -> str | None:
    """Return the version that a run's checkpoint directory was kept as, or began with."""
    try:
        version: str = read_json(run.path / _RECORD)["version"]
    except FileNotFoundError:
        return None
    return version


def _signature(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """List the files of a folder with what changes when they do."""
    found = []
    for path in sorted(folder.rglob("*")):
        try:
            if path.is_file():
                told = path.stat()
                found.append((str(path.relative_to(folder)), told.st_size, told.st_mtime_ns))
        except OSError:
            continue  # removed meanwhile
    return tuple(found)


def restore_checkpoint(address: SweepAddress, run: RunDirectory) -> None:
    """Fetch a run's newest checkpoint from W&B, unless its directory has it; an older one is kept beside.

    Raises:
        TrackingError: W&B could not be asked.
        DirectoryError: the directory cannot be written.
    """
    name = f"{address.place}/{_name(run)}:latest"
    with sdk_errors(f"{run.run_id}: its checkpoint could not be fetched"), quiet_sdk():
        api = wandb.Api({"entity": address.entity})
        if not api.artifact_exists(name, type=_KIND):
            return
        artifact = api.artifact(name, type=_KIND)
        if _known_version(run) == artifact.version:
            return
        # Beside, then renamed: a download that fails leaves the checkpoint that is there.
        with TemporaryDirectory(dir=run.path, prefix=".checkpoint.") as folder:
            artifact.download(root=f"{folder}/new")
            run.set_checkpoint_aside(delete=False)
            with writing(run.checkpoint_path):
                os.makedirs(f"{folder}/new", exist_ok=True)
                os.replace(f"{folder}/new", run.checkpoint_path)
        replace_json(run.path / _RECORD, {"version": artifact.version})
    logger.info("%s: its checkpoint is %s of W&B", run.run_id, artifact.version)


def interrupted_runs(address: SweepAddress, states: Collection[str]) -> list[str]:
    """List the runs of a sweep that have begun, and that W&B reports in one of these states.

    Raises:
        TrackingError: W&B could not be asked.
    """
    wanted = {"sweep": address.sweep_id, "state": {"$in": list(states)}}
    with sdk_errors("W&B could not be asked"), quiet_sdk():
        runs = wandb.Api({"entity": address.entity}).runs(address.place, filters=wanted, per_page=1000)
        return [run.id for run in runs if "dy_config" in run.config]


def claim_in_wandb(
    address: SweepAddress,
    run_id: str,
    states: Collection[str],
    max_attempts: int,
    stopping: Callable[[], bool],
) -> str | None:
    """Claim a run so that whoever asks W&B can see it.

    W&B has no write that only one of two can do. So a claim is written, and has won if it is still there some
    seconds later: of two that write at once the last one wins. Two win only if one stands still for that long
    between its look at the run and its write.

    Args:
        address: the sweep.
        run_id: the run.
        states: in which of W&B's states the run may be claimed.
        max_attempts: how often it may be.
        stopping: tells whether to give up.

    Returns:
        the claim's token; None if the run is not this process's.

    Raises:
        TrackingError: W&B could not be asked.
    """
    token = secrets.token_hex(8)
    with sdk_errors(f"{run_id}: could not be claimed in W&B"), quiet_sdk():
        run = fetch_run(address, run_id)
        if run is None or run.state not in states:
            return None
        former = run.config.get(_CLAIM) or {}
        if former and age_of(former["claimed"]) < _FRESH_SECONDS:
            return None
        attempts = former.get("attempts", 1)
        if attempts >= max_attempts:
            logger.warning("%s: given up after %d attempts", run_id, attempts)
            return None
        run.config[_CLAIM] = {
            "token": token, "host": socket.gethostname(), "pid": os.getpid(), "claimed": now(),
            "attempts": attempts + 1,
        }  # fmt: skip
        run.update()
        until = time.monotonic() + _SETTLE_SECONDS
        while time.monotonic() < until and not stopping():
            time.sleep(0.2)
    return token if not stopping() and is_claimed(address, run_id, states, token) else None


def is_claimed(address: SweepAddress, run_id: str, states: Collection[str], token: str) -> bool:
    """Return whether a run is still claimed by a token, and has not been begun.

    Raises:
        TrackingError: W&B could not be asked.
    """
    run = fetch_run(address, run_id)
    if run is None or run.state not in states:
        return False
    claim = run.config.get(_CLAIM)
    return isinstance(claim, dict) and claim.get("token") == token
