"""The only module that imports wandb: sweeps, agents and runs of the SDK, in plain functions."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import wandb
import yaml

from dysweep.checkpoint import SweepAddress
from dysweep.errors import ConfigError, DysweepError, NotFoundError, TrackingError
from dysweep.wandb_rules import OF_ONE_RUN

_ENTITY = "WANDB_ENTITY"
_PROJECT = "WANDB_PROJECT"
_RUN_ID = "WANDB_RUN_ID"
_SERVICE = "WANDB_SERVICE"
_ASSIGNMENT_FILE = "WANDB_SWEEP_PARAM_PATH"
_LEFT_BY_THE_SDK = (_ENTITY, _PROJECT, "WANDB_DIR")
_POLL_SECONDS = 0.2
_PATIENCE_SECONDS = 12  # wandb.agent asks every 5 seconds and looks at the answer every 10
_CUT_OFF = r'Failed to sync all data from "([^"]+)": the file ends with an incomplete record'
_HEADER_BYTES = 7  # of a .wandb file; there is no more when its process was killed at once


def check_environment() -> None:
    """Check W&B's environment variables, which the SDK refuses only when a run starts.

    Raises:
        ConfigError: one has a value that the SDK does not accept.
    """
    for name, value in os.environ.items():
        if name.startswith("WANDB_") and name not in OF_ONE_RUN:
            try:
                wandb.Settings().update_from_env_vars({name: value})
            except Exception as error:  # pydantic's, whose text is made for developers, or the SDK's own
                reason = error.errors()[0]["msg"] if hasattr(error, "errors") else str(error)
                shown = "its value" if "KEY" in name else repr(value)
                raise ConfigError(f"{name}: W&B does not accept {shown} ({reason})") from None


def create_sweep(
    configuration: Mapping[str, Any], entity: str | None, project: str, prior_runs: Sequence[str] = ()
) -> SweepAddress:
    """Make a sweep.

    Args:
        configuration: W&B's sweep configuration, with flat parameters.
        entity: W&B's user or team; None for the user's default one.
        project: W&B's project.
        prior_runs: ids of runs that shall be in it from the start.

    Returns:
        where it is.

    Raises:
        TrackingError: W&B did not make it.
    """
    with sdk_errors("W&B did not make the sweep"), quiet_sdk():
        with contextlib.redirect_stdout(None):  # the SDK prints the id there
            sweep_id = wandb.sweep(dict(configuration), entity, project, list(prior_runs) or None)
        # The SDK leaves there what the server said of the sweep's place.
        return SweepAddress(os.environ.get(_ENTITY), os.environ.get(_PROJECT, project), sweep_id)


def page_of(path: SweepAddress) -> str:
    """Give the address of a sweep's page in W&B."""
    return f"{wandb.setup().settings.app_url}/{path.place}/sweeps/{path.sweep_id}"


def page_of_run(path: SweepAddress, run_id: str) -> str:
    """Give the address of the page of a sweep's run in W&B."""
    return f"{wandb.setup().settings.app_url}/{path.place}/runs/{run_id}"


def stop_sweep(path: SweepAddress) -> bool:
    """Stop a sweep, so that no agent gets runs of it, and tell whether that worked."""
    return _wandb_command("sweep", "--stop", str(path)).returncode == 0


def _wandb_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `wandb`, with its own logs put away."""
    with TemporaryDirectory() as logs:
        return subprocess.run(
            [sys.executable, "-m", "wandb", *arguments],
            env={**_without_one_run(os.environ), "WANDB_DIR": logs},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


def _without_one_run(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in OF_ONE_RUN}


def save_metadata(path: SweepAddress, text: str, directory: Path) -> None:
    """Keep a text with a sweep, in a run of its own whose id is made from the sweep's.

    Args:
        path: the sweep.
        text: the text.
        directory: where W&B puts its own folder `wandb/`.

    Raises:
        TrackingError: W&B did not take it.
    """
    with sdk_errors("W&B did not take the sweep's metadata"), quiet_sdk():
        run = wandb.init(
            entity=path.entity,
            project=path.project,
            id=path.metadata_run,
            name=path.metadata_run,
            job_type="dysweep-metadata",
            tags=["dysweep"],
            config={"dysweep": text},
            dir=directory,
            settings=wandb.Settings(
                mode="online", silent=True, console="off", disable_git=True, reinit="create_new"
            ),
        )
        run.finish()


def load_metadata(path: SweepAddress) -> tuple[SweepAddress, str]:
    """Read what `save_metadata` kept, with one request however many runs the project has.

    Returns:
        where the sweep is, with its entity, and the text.

    Raises:
        NotFoundError: there is none.
        TrackingError: W&B could not be asked.
    """
    run = _fetch_run(path, path.metadata_run)
    text = None if run is None else run.config.get("dysweep")
    if run is None or not isinstance(text, str):
        raise NotFoundError(
            f"sweep_id: W&B has no sweep {path} of dysweep's (no run {path.metadata_run}): "
            "it does not exist, was deleted, or was not made by dysweep_create"
        )
    return SweepAddress(run.entity, path.project, path.sweep_id), text


def load_old_metadata(path: SweepAddress) -> tuple[SweepAddress, dict[str, Any], dict[str, Any]] | None:
    """Read what dysweep 0.1 kept with a sweep: the config of a run whose name holds the sweep's id.

    Returns:
        where the sweep is, with its entity, the config, and W&B's sweep configuration; None if there is none.

    Raises:
        TrackingError: W&B could not be asked.
    """
    named = {"display_name": f"HIERARCHICAL_SWEEP_{path.sweep_id}"}
    with sdk_errors("W&B could not be asked"), quiet_sdk():
        api = wandb.Api({"entity": path.entity})
        for run in api.runs(path.place, filters=named, per_page=1):
            sweep = SweepAddress(run.entity, path.project, path.sweep_id)
            return sweep, dict(run.config), dict(api.sweep(str(sweep)).config)  # type: ignore[no-untyped-call]
        return None


@dataclass(frozen=True)
class TrackedRun:
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


def load_run(path: SweepAddress, run_id: str) -> TrackedRun:
    """Ask W&B for a run.

    Raises:
        NotFoundError: there is no such run.
        TrackingError: W&B could not be asked.
    """
    run = _fetch_run(path, run_id)
    if run is None:
        raise NotFoundError(f"{run_id}: W&B has no such run in {path.place}")
    return TrackedRun(run.name, run.state, run.sweep_name, dict(run.config))


def _fetch_run(path: SweepAddress, run_id: str) -> Any:
    with sdk_errors("W&B could not be asked"), quiet_sdk():
        try:
            return wandb.Api({"entity": path.entity}).run(f"{path.place}/{run_id}")
        except (ValueError, wandb.errors.CommError) as error:
            if "could not find run" in str(error).lower():
                return None
            raise


def folders_to_upload(directory: Path) -> list[Path]:
    """List the offline W&B runs below a directory that are not in W&B yet, each a folder, oldest first."""
    return [
        folder
        for folder in sorted(directory.glob("wandb/offline-run-*"))
        if any(file.stat().st_size > _HEADER_BYTES for file in folder.glob("*.wandb")) and _waits(folder)
    ]


def _waits(folder: Path) -> bool:
    return not any(folder.glob("*.wandb.synced"))


def upload(folders: Sequence[Path], place: SweepAddress) -> list[tuple[Path, str]]:
    """Bring offline W&B runs to W&B.

    Args:
        folders: their folders.
        place: the entity and project.

    Returns:
        the folders of which W&B did not take everything, each with the reason.
    """
    owner = [] if place.entity is None else ["--entity", place.entity]
    shown = _wandb_command("sync", "--project", place.project, *owner, *map(str, folders))
    cut_off = [Path(each).name for each in re.findall(_CUT_OFF, shown.stdout)]
    problems = []
    for folder in filter(_waits, folders):
        if folder.name in cut_off:
            problems.append((folder, "its end is missing, as its process was killed; W&B has the rest"))
            for file in folder.glob("*.wandb"):  # what can be read must not be sent again
                file.with_name(f"{file.name}.synced").touch()
        elif len(folders) > 1:  # one that cannot be read at all keeps the others from being sent
            problems += upload([folder], place)
        else:
            problems.append((folder, " ".join(shown.stdout.split())[-300:]))
    return problems


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


def unstarted_runs(path: SweepAddress, known: Collection[str], seconds: float) -> list[str]:
    """List the runs that W&B has given out, and that no process has ever started.

    Args:
        path: the sweep.
        known: ids of runs that need not be looked at.
        seconds: how long ago they were given out at least.

    Raises:
        TrackingError: W&B could not be asked.
    """
    given_out = {"sweep": path.sweep_id, "state": {"$in": ["pending", "crashed"]}}
    with sdk_errors("W&B could not be asked"), quiet_sdk():
        runs = wandb.Api({"entity": path.entity}).runs(path.place, filters=given_out, per_page=1000)
        return [
            run.id
            for run in runs
            if run.id not in known and _age(run.created_at) >= seconds and "dy_config" not in run.config
        ]


def _age(created: str) -> float:
    """Give the seconds since a time as W&B writes it: ISO 8601 in UTC, with or without a zone."""
    then = datetime.fromisoformat(created.replace("Z", "+00:00"))
    then = then if then.tzinfo is not None else then.replace(tzinfo=timezone.utc)
    return (datetime.now(timezone.utc) - then).total_seconds()


def log_in(entity: str | None) -> str | None:
    """Make sure that W&B can be reached and knows the user.

    Args:
        entity: W&B's user or team; None for the user's default one.

    Returns:
        the entity.

    Raises:
        TrackingError: W&B could not be reached, or does not know the user.
    """
    with sdk_errors("W&B could not be asked"), quiet_sdk():
        api = wandb.Api({"entity": entity})
        return entity or api.default_entity


@dataclass(frozen=True)
class Assigned:
    """A run that W&B has given to this process.

    Args:
        run_id: its id.
        assignment: what the sweep chose.
    """

    run_id: str
    assignment: dict[str, Any]


def assigned_runs(
    path: SweepAddress, directory: Path, stopping: Callable[[], bool], when_stopped: Callable[[], object]
) -> Generator[Assigned, None, None]:
    """Ask W&B for one run after the other, as `wandb.agent` does, until the sweep is done.

    `wandb.agent` works in a thread of its own, so that the caller's thread, where signals arrive, can execute
    the runs. A run is over when the caller asks for the next one, or closes the iterator. Each call of
    `wandb.agent` is for one run, and so ends by itself: one that goes on could only be ended by an exception
    raised in its thread from outside, which on Python 3.11 never arrives under a debugger or coverage.

    Args:
        path: the sweep.
        directory: where W&B puts its own folder `wandb/`.
        stopping: tells whether to ask for no more runs.
        when_stopped: called, from another thread, if W&B stops the run.

    Raises:
        TrackingError: W&B does not serve the sweep.
    """
    while not stopping():
        with _one_run(path, directory, stopping, when_stopped) as assigned:
            if assigned is None:
                return
            yield assigned


@contextmanager
def _one_run(
    path: SweepAddress, directory: Path, stopping: Callable[[], bool], when_stopped: Callable[[], object]
) -> Iterator[Assigned | None]:
    handed: queue.Queue[Assigned | None] = queue.Queue()
    over = threading.Event()
    failures: list[BaseException] = []

    def job() -> None:
        if over.is_set():
            return  # nobody waits for it any more; --resume finds the run
        chosen = yaml.safe_load(Path(os.environ[_ASSIGNMENT_FILE]).read_text(encoding="utf-8"))
        chosen = {key: item["value"] for key, item in chosen.items() if key != "wandb_version"}
        try:
            handed.put(Assigned(os.environ[_RUN_ID], chosen))
            while not over.wait(_POLL_SECONDS):
                pass
        except Exception:  # this is how wandb.agent stops a run
            when_stopped()
            over.wait()

    def work() -> None:
        try:
            wandb.agent(path.sweep_id, job, path.entity, path.project, count=1)
        except BaseException as error:
            failures.append(error)
        finally:
            handed.put(None)

    agent = threading.Thread(target=work, name="dysweep-agent", daemon=True)
    hooks = (
        sys.exit,
        sys.excepthook,
    )  # wandb 0.31 wraps them at each start of its process
    assigned = None
    try:
        with (
            sdk_errors(f"W&B does not serve the sweep {path}"),
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
        sys.exit, sys.excepthook = hooks


def _next_run(handed: queue.Queue[Assigned | None], stopping: Callable[[], bool]) -> Assigned | None:
    """Wait for the next run; one that is under way when the process is told to stop is still taken."""
    patience = float(_PATIENCE_SECONDS)
    while patience > 0:
        try:
            return handed.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            patience -= _POLL_SECONDS if stopping() else 0
    return None


@contextmanager
def sdk_errors(what: str) -> Iterator[None]:
    """Talk to the SDK, and report whatever it raises, of many and undocumented kinds, as one line."""
    _leave_the_service_of_another_process()
    try:
        yield
    except DysweepError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise TrackingError(f"{what}: {_explained(reason)}") from error


def _leave_the_service_of_another_process() -> None:
    """A service that a parent process has started would not notice when this process dies."""
    token = os.environ.get(_SERVICE, "")  # "3-<pid of who started it>-unix-<path>"
    if token.split("-")[1:2] != [str(os.getpid())]:
        os.environ.pop(_SERVICE, None)


def _explained(reason: str) -> str:
    """Add how to mend it to what the SDK says."""
    if "API key" in reason or "No authentication" in reason or "not logged in" in reason:
        log_in = "" if "wandb login" in reason else "; run `wandb login`"
        return f"{reason.rstrip('.')}{log_in}{_otherwise(', or work without an account')}"
    if "did not respond in time" in reason or "connect" in reason.lower():
        address = wandb.setup().settings.base_url
        return f"{address} cannot be reached ({reason.rstrip('.')}){_otherwise('; to work without it')}"
    return reason


def _otherwise(text: str) -> str:
    return "" if os.environ.get("WANDB_MODE") == "offline" else f"{text}: WANDB_MODE=offline"


@contextmanager
def quiet_sdk(**environment: str) -> Iterator[None]:
    """Keep the SDK from writing beside our messages, and undo what it changes in its environment variables.

    Args:
        environment: variables to set meanwhile.
    """
    environment["WANDB_SHOW_INFO"] = "false"
    before = {name: os.environ.get(name) for name in (*OF_ONE_RUN, *_LEFT_BY_THE_SDK, *environment)}
    for name in OF_ONE_RUN:  # they would make the SDK ignore which run is asked for
        os.environ.pop(name, None)
    forget_one_run()
    informed = wandb.setup().settings.show_info
    os.environ.update(environment)
    _set_informed(False)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        _set_informed(informed)


def forget_one_run() -> None:
    """Take out of the SDK's settings what it has read in the environment of a certain run or sweep."""
    settings = wandb.setup().settings
    for variable in OF_ONE_RUN:
        setattr(settings, variable.removeprefix("WANDB_").lower(), None)


def _set_informed(informed: bool) -> None:
    settings = wandb.Settings(show_info=informed)
    wandb.setup(settings=settings)
    wandb.termsetup(settings, None)
