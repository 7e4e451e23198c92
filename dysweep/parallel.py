"""Every setting (`ResumableSweepConfig`), and the one function: create a sweep, work on it, resume, rerun."""

from __future__ import annotations

import copy
import itertools
import json
import logging
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dysweep.agents.isolation import own_environment
from dysweep.agents.ranks import refuse_ranks, refusing_restarts
from dysweep.agents.requeue import requeue
from dysweep.agents.signals import StopSignals, refuse_second_agent
from dysweep.agents.sources import Claims
from dysweep.creation import create, location_of
from dysweep.directory.address import SweepAddress
from dysweep.directory.heartbeat import Watch
from dysweep.directory.runs import State
from dysweep.directory.sweep import SweepDirectory
from dysweep.errors import (
    ConfigError,
    FunctionError,
    NotFoundError,
    Preempted,
    text_of,
)
from dysweep.files import load_file
from dysweep.language.evaluate import carries_code
from dysweep.language.metric import Metric
from dysweep.language.naming import naming, paths_of
from dysweep.language.tree import copy_tree
from dysweep.language.wandb_rules import check_project
from dysweep.log import say_by_default
from dysweep.modes import forget_empty_variables, mode_of
from dysweep.settings import ResumableSweepConfig as ResumableSweepConfig
from dysweep.settings import read_settings, wandb_command
from dysweep.typed import parse_dictionary_onto_dataclass as parse_dictionary_onto_dataclass
from dysweep.views.opening import open_sweep as open_sweep

if TYPE_CHECKING:
    from dysweep.agents.execution import Result
    from dysweep.agents.jobs import Job

logger = logging.getLogger("dysweep")

_HEARTBEAT_SECONDS = 5.0


def dysweep_run_resume(
    conf: ResumableSweepConfig | Mapping[str, Any] | Any = None,
    function: Callable[..., Any] | None = None,
    *,
    raise_errors: bool = True,
    **settings: Any,
) -> Any:
    """Create a sweep, or work on one.

    Args:
        conf: the settings: a ResumableSweepConfig, a mapping, a jsonargparse Namespace, or the path of a YAML
            or JSON file; never changed.
        function: what to execute for every run, called as function(config=..., checkpoint_dir=...); the
            settings `package` and `function`, or `command`, by default.
        raise_errors: raise FunctionError if every run of this call has failed.
        settings: fields that override conf.

    Returns:
        without sweep_id: the id of the sweep that was created; with a function its runs are executed first.
        With rerun_id, or with resume and count=1: what the function returned.
        Otherwise None.

    Raises:
        DysweepError: the settings are wrong, or the sweep cannot be worked on.
        FunctionError: every run of this call has failed; the first error is its cause.
        Exception: what the function raised, with rerun_id only; other runs record it and continue.
        Preempted: the process was told to stop.

    Example:
        >>> import dysweep
        >>> def train(config, checkpoint_dir):
        ...     return config["lr"] * 2
        >>> sweep_id = dysweep.dysweep_run_resume(
        ...     mode="offline",
        ...     base_config={"lr": 1.0},
        ...     sweep_configuration={"lr": {"sweep": True, "values": [0.1, 0.01]}},
        ... )
        >>> dysweep.dysweep_run_resume(mode="offline", sweep_id=sweep_id, function=train)
        >>> dysweep.open_sweep(sweep_id).counts
        {'finished': 2}
    """
    refuse_ranks()
    config = read_settings(conf, settings)
    created = config.sweep_id is None
    is_named = function is not None or bool(config.command or config.package or config.function)
    if not created and not is_named and not wandb_command(config):
        raise ConfigError("function: missing; give the function that executes a run, or a command")
    # Before anything is created.
    job = prepare(config, function, {}) if is_named or not created else None
    if created:
        if config.resume or config.rerun is not None or config.rerun_id is not None:
            raise ConfigError("sweep_id: missing; resume and rerun need the sweep")
        config = replace(config, sweep_id=create(config))
    if job is None:
        return config.sweep_id
    value = None
    outcomes = []
    errors = []
    for result in work(config, find(config), job):
        if config.rerun_id is not None and result.error is not None:
            raise result.error
        outcomes.append(result.outcome)
        if result.error is not None:
            errors.append(result.error)
        value = result.value
    if raise_errors and errors and set(outcomes) == {State.FAILED}:
        cause = errors[0]
        failed = "the run" if len(outcomes) == 1 else f"all {len(outcomes)} runs"
        raise FunctionError(
            f"sweep {config.sweep_id}: {failed} failed, with {type(cause).__name__}: {text_of(cause)} "
            "(raise_errors=False lets that pass)"
        ) from cause
    if created:
        return config.sweep_id
    return value if config.rerun_id is not None or (config.resume and config.count == 1) else None


def dysweep_sync(conf: ResumableSweepConfig | Mapping[str, Any] | Any = None, **settings: Any) -> str:
    """Upload an offline sweep to W&B: its runs that have ended, and a sweep that holds them.

    It can be repeated when more runs have ended; what W&B has already is not sent again.

    Args:
        conf: the settings, with the sweep's id; entity and project override those of the sweep.
        settings: fields that override conf.

    Returns:
        the address of the sweep's page in W&B.

    Raises:
        DysweepError: there is no such sweep, or W&B did not take it.

    Example:
        >>> import dysweep
        >>> sweep_id = dysweep.dysweep_run_resume(
        ...     mode="offline",
        ...     base_config={},
        ...     sweep_configuration={"lr": {"sweep": True, "values": [0.1, 0.01]}},
        ... )
        >>> dysweep.dysweep_run_resume(sweep_id=sweep_id, function=lambda config, checkpoint_dir: None)
        >>> dysweep.dysweep_sync(sweep_id=sweep_id, project="study")
        'http...study/sweeps/...'
    """
    from dysweep.tracking.sweeps import page_of
    from dysweep.tracking.sync import sync

    say_by_default()
    config = read_settings(conf, settings)
    if config.sweep_id is None:
        raise ConfigError("sweep_id: missing; say which sweep to upload")
    here = replace(location_of(config), online=False)
    directory = here.find(config.sweep_id)
    wanted = here.address_of(config.sweep_id)
    check_project(wanted.project)  # before sync.json keeps it for all later times
    return page_of(sync(directory, wanted.entity, wanted.project or None, config.lease))


def hierarchical_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the tree that a W&B run was made from.

    Args:
        config: the W&B run's config, as `wandb.config` or `wandb.Api().run(...).config`.

    Raises:
        NotFoundError: no run of a dysweep sweep has this config.

    Example:
        >>> from dysweep import hierarchical_config
        >>> hierarchical_config({"lr": 0.1, "dy_config": {"optimizer": {"lr": 0.1}}})
        {'optimizer': {'lr': 0.1}}
    """
    try:
        return copy.deepcopy(dict(config["dy_config"]))
    except (KeyError, TypeError):
        raise NotFoundError("this W&B config holds no dy_config; dysweep did not make its run") from None


def find(config: ResumableSweepConfig) -> SweepDirectory:
    """Find the directory of the sweep of these settings; where it is not, make it from what W&B has.

    Raises:
        ConfigError: the sweep is not named, or is at another address.
        NotFoundError: the sweep is not found.
        DirectoryError: its record is damaged.
        TrackingError: W&B could not be asked.
    """
    if config.sweep_id is None:
        raise ConfigError("sweep_id: missing; say which sweep to work on")
    here = location_of(config)
    address = here.address_of(config.sweep_id)
    directory = here.directory(address.sweep_id)
    project = address.project or os.environ.get("WANDB_PROJECT")
    if here.online and project and not directory.exists():
        from dysweep.tracking.sweeps import fetch

        entity = address.entity or os.environ.get("WANDB_ENTITY")
        fetch(directory, SweepAddress(entity, project, address.sweep_id))
    return here.find(config.sweep_id)


def work(config: ResumableSweepConfig, directory: SweepDirectory, job: Job) -> Iterator[Result]:
    """Execute runs of a sweep: new ones, or those that resume, rerun and rerun_id name.

    Args:
        config: the settings.
        directory: the sweep's directory.
        job: what is executed.

    Raises:
        DysweepError: the sweep cannot be worked on.
        Preempted: the process was told to stop.
    """
    # These import W&B's SDK, which takes most of a second.
    from dysweep.agents.agent import sources_of, work_through
    from dysweep.agents.execution import Executor
    from dysweep.agents.failures import Failures
    from dysweep.agents.jobs import warn_of_no_effect
    from dysweep.agents.offline import DirectoryServer
    from dysweep.agents.online import WandbServer
    from dysweep.agents.progress import Progress

    say_by_default()
    sweep = directory.sweep
    if sweep.online and mode_of(config) == "offline":
        raise ConfigError(
            f"sweep_id: W&B serves the sweep {sweep.address}, so its runs need W&B; unset WANDB_MODE, "
            "or create a sweep with mode: offline"
        )
    if config.checkpoint_artifacts and not sweep.online:
        raise ConfigError(
            f"checkpoint_artifacts: the sweep {sweep.sweep_id} is served by its directory, without W&B"
        )
    _warn_of_what_is_not_used(config, directory)
    if carries_code(sweep.compiled.tree) and not config.allow_eval:
        sweep.compiled.resolve(sweep.base_config, sweep.compiled.example, allow_eval=False)
    name_of = naming(
        config.run_name or sweep.run_name, config.run_name_changer, sweep.compiled, config.allow_eval
    )
    stop = StopSignals(config.grace + job.seconds_to_end, requeue)
    heartbeat = min(_HEARTBEAT_SECONDS, config.lease / 5)
    claims = Claims(
        directory,
        name_of,
        config.allow_eval,
        config.max_attempts,
        config.delete_checkpoints,
        Watch(config.lease),
        heartbeat,
        lambda: stop.received is not None,
    )
    progress = Progress(Metric.of(sweep.sweep_configuration), config.count)
    directory.warn_if_open()
    warn_of_no_effect(job, sweep)
    with (
        directory.shared(),
        stop,
        own_environment(offline=not sweep.online),
        refusing_restarts(),
    ):
        server = WandbServer(claims, stop, config.from_wandb) if sweep.online else DirectoryServer(claims)
        sources = sources_of(config, claims, server)
        failures = Failures(config.max_failures)
        executor = Executor(
            sweep,
            job,
            stop,
            mark_preempting=config.mark_preempting,
            max_log_bytes=int(config.max_log_mb * 1_000_000),
            failures=failures,
            heartbeat=heartbeat,
            checkpoint_seconds=config.checkpoint_minutes * 60 if config.checkpoint_artifacts else None,
        )
        with closing(work_through(sources, executor, progress)) as results:
            try:
                # islice takes no more than it gives: no run is claimed that is not executed.
                for result in itertools.islice(results, config.count):
                    yield result
                    if stop.received is not None or result.outcome is State.PREEMPTED:
                        asked = result.error.signum if isinstance(result.error, Preempted) else signal.SIGINT
                        raise Preempted(stop.received or asked)
                    if reason := failures.reason_to_stop:
                        logger.error("%s", reason)
                        break
            finally:
                progress.end()
        if stop.received is not None:
            raise Preempted(stop.received)


def prepare(
    config: ResumableSweepConfig, function: Callable[..., Any] | None, arguments: Mapping[str, Any]
) -> Job:
    """Return what is executed for every run, checked as far as that goes without a run.

    Raises:
        FunctionError: the function cannot be called.
        ConfigError: there is nothing to execute, or two things; W&B would refuse the environment.
    """
    from dysweep.agents.jobs import job_of
    from dysweep.tracking.sdk import check_environment

    if config.from_wandb and not (config.resume or config.recover):
        raise ConfigError("from_wandb: it needs resume or recover")
    if config.from_wandb and (config.rerun_id is not None or config.rerun is not None):
        raise ConfigError("from_wandb: it is not for rerun and rerun_id, which finds a run in W&B by itself")
    job = job_of(config, function, arguments)
    job.check()
    refuse_second_agent()
    forget_empty_variables()
    check_environment()
    return job


def _warn_of_what_is_not_used(config: ResumableSweepConfig, directory: SweepDirectory) -> None:
    """Name the settings that only creating uses and that differ from what the sweep was created with."""
    sweep = directory.sweep
    created = {"goal": "minimize", **(sweep.sweep_configuration.get("metric") or {})}
    given = {
        "base_config": (_loaded(config.base_config, "base_config"), sweep.base_config),
        "sweep_name": (config.sweep_name, sweep.sweep_configuration.get("name")),
        "method": (config.method, sweep.sweep_configuration.get("method")),
        "metric": (config.metric, created.get("name")),
        "goal": (config.goal, created["goal"]),
        "mode": (config.mode, sweep.mode),
        "wandb_keys": (paths_of(config.wandb_keys) or None, list(sweep.wandb_keys.values())),
        "project": (config.project, sweep.project),
        "entity": (config.entity, sweep.entity),
        "group_writable": (config.group_writable or None, directory.group_writable),
    }
    others = [name for name, (value, kept) in given.items() if value is not None and not _same(value, kept)]
    space = _loaded(config.sweep_configuration, "sweep_configuration")
    if isinstance(space, dict):
        described = space if isinstance(space.get("parameters"), dict) else {"parameters": space}
        stored = sweep.sweep_configuration
        if not all(_same(value, stored.get(key)) for key, value in described.items() if value is not None):
            others.insert("base_config" in others, "sweep_configuration")
    if others:
        kept = f"the sweep {sweep.sweep_id} keeps what it was created with"
        logger.warning("%s: not used, as %s", " and ".join(others), kept)


def _same(tree: Any, other: Any) -> bool:
    """Return whether two trees are the same; NaN is the same as NaN here."""
    return json.dumps(tree, sort_keys=True) == json.dumps(other, sort_keys=True)


def _loaded(tree: Any, name: str) -> Any:
    return copy_tree(load_file(tree) if isinstance(tree, str) else tree, (name,))
