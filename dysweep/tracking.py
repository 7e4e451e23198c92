"""The only module that imports wandb: sweeps, agents and runs of the SDK, in plain functions."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import queue
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import wandb
import yaml

from dysweep.checkpoint import SweepPath
from dysweep.errors import DysweepError, NotFoundError, TrackingError
from dysweep.runs import RunDirectory

_ENTITY = "WANDB_ENTITY"
_PROJECT = "WANDB_PROJECT"
_RUN_ID = "WANDB_RUN_ID"
_SERVICE = "WANDB_SERVICE"
_SWEEP_ID = "WANDB_SWEEP_ID"
_ASSIGNMENT_FILE = "WANDB_SWEEP_PARAM_PATH"
_LEFT_BY_THE_SDK = (_ENTITY, _PROJECT, _RUN_ID, _SWEEP_ID, _ASSIGNMENT_FILE, "WANDB_DIR")
_POLL_SECONDS = 0.2
_PATIENCE_SECONDS = 12  # an idle agent asks every 5 seconds and looks at the answer every 10
_CUT_OFF = r'Failed to sync all data from "([^"]+)": the file ends with an incomplete record'
_HEADER_BYTES = 7  # of a .wandb file; there is no more when its process was killed at once


def create_sweep(
    configuration: Mapping[str, Any], entity: str | None, project: str, prior_runs: Sequence[str] = ()
) -> SweepPath:
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
    with _sdk("W&B did not make the sweep"), _quiet_sdk():
        with contextlib.redirect_stdout(None):  # the SDK prints the id there
            sweep_id = wandb.sweep(dict(configuration), entity, project, list(prior_runs) or None)
        # The SDK leaves there what the server said of the sweep's place.
        return SweepPath(os.environ.get(_ENTITY), os.environ.get(_PROJECT, project), sweep_id)


def page_of(path: SweepPath) -> str:
    """Give the address of a sweep's page in W&B."""
    return f"{wandb.setup().settings.app_url}/{path.place}/sweeps/{path.sweep_id}"


def stop_sweep(path: SweepPath) -> bool:
    """Stop a sweep, so that no agent gets runs of it, and tell whether that worked."""
    return _wandb_command("sweep", "--stop", str(path)).returncode == 0


def _wandb_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `wandb`, with its own logs put away."""
    with TemporaryDirectory() as logs:
        return subprocess.run(
            [sys.executable, "-m", "wandb", *arguments],
            env={**os.environ, "WANDB_DIR": logs},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


def save_metadata(path: SweepPath, text: str, directory: Path) -> None:
    """Keep a text with a sweep, in a run of its own whose id is made from the sweep's.

    Args:
        path: the sweep.
        text: the text.
        directory: where W&B puts its own folder `wandb/`.

    Raises:
        TrackingError: W&B did not take it.
    """
    with _sdk("W&B did not take the sweep's metadata"), _quiet_sdk():
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


def load_metadata(path: SweepPath) -> tuple[SweepPath, str]:
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
    return SweepPath(run.entity, path.project, path.sweep_id), text


def load_old_metadata(path: SweepPath) -> tuple[SweepPath, dict[str, Any], dict[str, Any]] | None:
    """Read what dysweep 0.1 kept with a sweep: the config of a run whose name holds the sweep's id.

    Returns:
        where the sweep is, with its entity, the config, and W&B's sweep configuration; None if there is none.

    Raises:
        TrackingError: W&B could not be asked.
    """
    named = {"display_name": f"HIERARCHICAL_SWEEP_{path.sweep_id}"}
    with _sdk("W&B could not be asked"), _quiet_sdk():
        api = wandb.Api({"entity": path.entity})
        for run in api.runs(path.place, filters=named, per_page=1):
            sweep = SweepPath(run.entity, path.project, path.sweep_id)
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


def load_run(path: SweepPath, run_id: str) -> TrackedRun:
    """Ask W&B for a run.

    Raises:
        NotFoundError: there is no such run.
        TrackingError: W&B could not be asked.
    """
    run = _fetch_run(path, run_id)
    if run is None:
        raise NotFoundError(f"{run_id}: W&B has no such run in {path.place}")
    return TrackedRun(run.name, run.state, run.sweep_name, dict(run.config))


def _fetch_run(path: SweepPath, run_id: str) -> Any:
    with _sdk("W&B could not be asked"), _quiet_sdk():
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


def upload(folders: Sequence[Path], place: SweepPath) -> list[tuple[Path, str]]:
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


def runs_of_group(place: SweepPath, group: str) -> dict[str, tuple[str | None, str]]:
    """List the runs of a group, each with the id of its sweep and its state.

    Args:
        place: the entity and project.
        group: the runs' group.

    Raises:
        TrackingError: W&B could not be asked.
    """
    with _sdk("W&B could not be asked"), _quiet_sdk():
        runs = wandb.Api({"entity": place.entity}).runs(place.place, filters={"group": group}, per_page=1000)
        try:
            return {run.id: (run.sweep_name, run.state) for run in runs}
        except ValueError as error:
            if "could not find project" in str(error).lower():
                return {}
            raise


def unstarted_runs(path: SweepPath, known: Collection[str], seconds: float) -> list[str]:
    """List the runs that W&B has given out, and that no process has ever started.

    Args:
        path: the sweep.
        known: ids of runs that need not be looked at.
        seconds: how long ago they were given out at least.

    Raises:
        TrackingError: W&B could not be asked.
    """
    given_out = {"sweep": path.sweep_id, "state": {"$in": ["pending", "crashed"]}}
    with _sdk("W&B could not be asked"), _quiet_sdk():
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
    with _sdk("W&B could not be asked"), _quiet_sdk():
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
    path: SweepPath, directory: Path, stopping: Callable[[], bool], when_stopped: Callable[[], object]
) -> Generator[Assigned, None, None]:
    """Ask W&B for one run after the other, as `wandb.agent` does, until the sweep is done.

    `wandb.agent` works in a thread of its own, so that the caller's thread, where signals arrive, can execute
    the runs. A run is over when the caller asks for the next one. Closing the iterator ends the agent while
    it has the run: otherwise W&B could give out another one, of which nobody would know.

    Args:
        path: the sweep.
        directory: where W&B puts its own folder `wandb/`.
        stopping: tells whether to ask for no more runs.
        when_stopped: called, from another thread, if W&B stops the run.

    Raises:
        TrackingError: W&B does not serve the sweep.
    """
    handed: queue.Queue[Assigned | None] = queue.Queue()
    over: queue.Queue[None] = queue.Queue()
    failures: list[BaseException] = []

    def job() -> None:
        chosen = yaml.safe_load(Path(os.environ[_ASSIGNMENT_FILE]).read_text(encoding="utf-8"))
        chosen = {key: item["value"] for key, item in chosen.items() if key != "wandb_version"}
        try:
            handed.put(Assigned(os.environ[_RUN_ID], chosen))
            while True:
                with contextlib.suppress(queue.Empty):
                    return over.get(timeout=_POLL_SECONDS)
        except Exception:  # this is how wandb.agent stops a run
            when_stopped()
            over.get()

    def work() -> None:
        try:
            wandb.agent(path.sweep_id, job, path.entity, path.project)
        except KeyboardInterrupt:
            pass  # from _interrupt
        except BaseException as error:
            failures.append(error)
        finally:
            handed.put(None)

    quiet = _quiet_sdk(WANDB_DIR=str(directory.absolute()))
    with _sdk(f"W&B does not serve the sweep {path}"), quiet:
        agent = threading.Thread(target=work, name="dysweep-agent", daemon=True)
        agent.start()
        held = None
        try:
            while held is None or not stopping():
                if held is not None:
                    over.put(None)
                held = _next_run(handed, stopping)
                if held is None:
                    break
                yield held
        finally:
            if agent.is_alive():
                _interrupt(agent)
            over.put(None)
            agent.join()
            wandb.teardown()  # what it has read from its environment is not for others
        if failures:
            raise failures[0]


def _next_run(handed: queue.Queue[Assigned | None], stopping: Callable[[], bool]) -> Assigned | None:
    """Wait for the next run; one that is under way when the process is told to stop is still taken."""
    patience = float(_PATIENCE_SECONDS)
    while patience > 0:
        try:
            return handed.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            patience -= _POLL_SECONDS if stopping() else 0
    return None


def _interrupt(thread: threading.Thread) -> None:
    """Raise KeyboardInterrupt in a thread: this tells `wandb.agent` to ask for no more runs."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident or 0), ctypes.py_object(KeyboardInterrupt)
    )


def start_run(
    path: SweepPath,
    record: RunDirectory,
    config: Mapping[str, Any],
    *,
    online: bool = True,
    by_agent: bool = False,
    from_scratch: bool = False,
    mark_preempting: bool = False,
    when_stopped: Callable[[], object] = lambda: None,
) -> wandb.Run:
    """Start a W&B run, or go on with it.

    Args:
        path: the sweep that it belongs to; offline its id is the run's group.
        record: the run's directory, where W&B puts its own folder `wandb/`.
        config: the tree, kept as `dy_config` in the run's config, below the assignment.
        online: whether W&B hears of it now, or by `wandb sync`.
        by_agent: whether it is one of `assigned_runs`.
        from_scratch: begin with step 0 also where W&B knows the run, instead of after its last step.
        mark_preempting: tell W&B that this run may be preempted.
        when_stopped: called, from another thread, if W&B stops the run.

    Raises:
        TrackingError: W&B did not start the run.
    """
    settings: dict[str, Any] = {"silent": True, "disable_git": True, "reinit": "finish_previous"}
    place: dict[str, Any] = {"id": record.run_id, "entity": path.entity, "project": path.project}
    if not online:
        settings["mode"] = "offline"
        place["group"] = path.sweep_id
    elif by_agent:
        settings["mode"] = "online"
        place = {}  # the SDK's environment says where the run belongs, and it takes that from nowhere else
    else:
        settings.update(mode="online", sweep_id=path.sweep_id, stop_fn=when_stopped)
    stored = record.record()
    quiet = _quiet_sdk() if online and not by_agent else nullcontext()
    with _sdk(f"W&B did not start the run {record.run_id}"), quiet:
        run = wandb.init(
            **place,
            resume=None if from_scratch else "allow",
            name=stored.get("name"),
            config={**stored["assignment"], "dy_config": dict(config)},
            dir=record.path,
            settings=wandb.Settings(**settings),
        )
        if mark_preempting:
            run.mark_preempting()
    return run


def tell_end(path: SweepPath, record: RunDirectory, finished: bool, by_agent: bool = False) -> None:
    """Tell W&B how a run has ended, and that it is in the sweep, without executing it.

    Raises:
        TrackingError: W&B could not be told.
    """
    run = start_run(path, record, record.config() or {}, by_agent=by_agent)
    end_run(run, 0 if finished else 1, preempted=False)


@contextmanager
def user_calls_join_the_run(online: bool, directory: Path) -> Iterator[None]:
    """Let `wandb.init()` in the user's function give the active run, in notebooks too.

    Args:
        online: whether other runs that the function starts are online.
        directory: where W&B puts its own folder `wandb/` for them.
    """
    settings = wandb.setup().settings
    before = wandb.Settings(
        reinit=settings.reinit, mode=settings.mode, show_info=settings.show_info, root_dir=settings.root_dir
    )
    meanwhile = wandb.Settings(
        reinit="return_previous",
        mode="online" if online else "offline",
        show_info=False,
        root_dir=str(directory),
    )
    wandb.setup(settings=meanwhile)
    try:
        yield
    finally:
        wandb.setup(settings=before)


def end_run(run: wandb.Run, exit_code: int, preempted: bool) -> dict[str, float]:
    """End a W&B run, also one that the function has finished itself.

    Args:
        run: the run.
        exit_code: 0 for success.
        preempted: tell W&B that it was preempted.

    Returns:
        the final numeric metrics, nested ones with dotted names, without W&B's own.
    """
    if preempted:
        mark_preempted(run)
    run.finish(exit_code=exit_code)
    return dict(sorted(_numbers(_final_summary(run)).items()))


def mark_preempted(run: wandb.Run) -> None:
    """Tell W&B that an unfinished run ends because its process has to."""
    if wandb.run is run:
        run.mark_preempting()


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


@contextmanager
def _sdk(what: str) -> Iterator[None]:
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
        return f"{reason.rstrip('.')}{log_in}, or work without an account: WANDB_MODE=offline"
    if "did not respond in time" in reason or "connect" in reason.lower():
        address = wandb.setup().settings.base_url
        return f"{address} cannot be reached ({reason.rstrip('.')}); to work without it: WANDB_MODE=offline"
    return reason


@contextmanager
def _quiet_sdk(**environment: str) -> Iterator[None]:
    """Keep the SDK from writing beside our messages, and undo what it changes in its environment variables.

    Args:
        environment: variables to set meanwhile.
    """
    environment["WANDB_SHOW_INFO"] = "false"
    informed = wandb.setup().settings.show_info
    before = {name: os.environ.get(name) for name in (*_LEFT_BY_THE_SDK, *environment)}
    os.environ.pop(_SWEEP_ID, None)  # it would make the SDK ignore which run is asked for
    os.environ.update(environment)
    _set_informed(False)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
        _set_informed(informed)


def _set_informed(informed: bool) -> None:
    settings = wandb.Settings(show_info=informed)
    wandb.setup(settings=settings)
    wandb.termsetup(settings, None)
