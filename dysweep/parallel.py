"""Every setting (`ResumableSweepConfig`), and the one function: create a sweep, work on it, resume, rerun."""

from __future__ import annotations

import copy
import itertools
import json
import logging
import math
import os
import re
import secrets
import signal
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, TypeVar

from dysweep.agent import Agent
from dysweep.checkpoint import Sweep
from dysweep.definition import define
from dysweep.errors import (
    ConfigError,
    DysweepError,
    FunctionError,
    NotFoundError,
    Preempted,
    TrackingError,
    closest,
    text_of,
)
from dysweep.execution import Job, Result
from dysweep.files import load_file
from dysweep.isolation import own_environment
from dysweep.legacy import NAME, is_old
from dysweep.location import Location
from dysweep.log import say_by_default
from dysweep.lost import INTERRUPTED, LOST
from dysweep.naming import check_template, naming
from dysweep.offline import Grid
from dysweep.preview import Preview
from dysweep.ranks import refuse_ranks, refusing_restarts
from dysweep.runs import State
from dysweep.settings_file import load_settings
from dysweep.signals import StopSignals, refuse_second_agent
from dysweep.status import SweepStatus, read_status
from dysweep.tree import copy_tree
from dysweep.typed import parse_dictionary_onto_dataclass as parse_dictionary_onto_dataclass
from dysweep.upsert import carries_code
from dysweep.wandb_rules import check_project

logger = logging.getLogger("dysweep")

T = TypeVar("T")
_DEFAULT_PROJECT = "dysweep"
_HEARTBEAT_SECONDS = 5.0
_WITHOUT_WANDB = ("offline", "dryrun", "disabled")
_WANDB_MODES = ("online", "run", "shared", *_WITHOUT_WANDB)


@dataclass(frozen=True)
class ResumableSweepConfig:
    """Settings of a sweep and of the agents that work on it.

    Args:
        default_root_dir: folder below which every sweep has its directory `checkpoints-<sweep_id>`.
        custom_checkpoint_dir: the sweep's directory itself, instead; relative to default_root_dir.
        sweep_configuration: what to sweep, a tree or the path of a YAML or JSON file: a W&B sweep
            configuration whose `parameters` are hierarchical, or the bare parameters.
        base_config: the tree that every run starts from, or the path of a YAML or JSON file.
        entity: W&B's user or team.
        project: W&B's project.
        count: how many runs to execute; all by default.
        resume: go on with runs that were preempted, crashed or failed.
        rerun: execute all runs of this state again, from scratch, or with resume from their checkpoints;
            all is every failed, preempted or crashed one.
        rerun_id: id of the one run to execute again: from scratch, or with resume from its checkpoint.
        run_name: the runs' names, a template over the parameters' names as "{optimizer}-lr{lr}".
        sweep_id: the sweep to work on, also as entity/project/id; without it a sweep is created.
        run_name_changer: dotted name of a function, or its code (allow_eval), or a mapping of 0.1 with its
            code, called with (config, run_name) for the run's name.
        delete_checkpoints: on a rerun from scratch, delete the old checkpoint instead of setting it aside.
        use_lightning_logger: call the function with Lightning's WandbLogger as `logger`.
        method: W&B's search method, if sweep_configuration has none; grid by default.
        metric: name of the metric to optimize, if sweep_configuration has none.
        goal: what to do with the metric, if sweep_configuration does not say it; minimize by default.
        sweep_name: the sweep's name, if sweep_configuration has none.
        mark_preempting: tell W&B from the start that runs may be preempted.
        mode: who serves the sweep, W&B (online) or its own directory (offline); WANDB_MODE by default.
        recover: an agent goes on with runs that were preempted or crashed, before and after it executes new
            ones.
        max_attempts: how often a run may fail or crash before resume gives it up.
        lease: seconds without a heartbeat after which a process on another host counts as dead.
        grace: seconds that a function has to stop after SIGTERM, SIGINT or SIGUSR1.
        allow_eval: run code (`dy__eval`) that stands in the sweep's configuration.

    Example:
        >>> from dysweep import ResumableSweepConfig
        >>> config = ResumableSweepConfig(project="study", count=10, recover=True)
        >>> config.default_root_dir
        './dysweep_logs'
    """

    default_root_dir: str = "./dysweep_logs"
    custom_checkpoint_dir: str | None = None
    sweep_configuration: dict | str | None = None  # type: ignore[type-arg]
    base_config: dict | str | None = None  # type: ignore[type-arg]
    entity: str | None = None
    project: str | None = None
    count: int | None = None
    resume: bool = False
    rerun: Literal["failed", "preempted", "crashed", "all"] | None = None
    rerun_id: str | None = None
    run_name: str | None = None
    sweep_id: str | None = None
    run_name_changer: str | dict | None = None  # type: ignore[type-arg]
    delete_checkpoints: bool = False
    use_lightning_logger: bool = False
    method: Literal["grid", "random", "bayes"] | None = None
    metric: str | None = None
    goal: Literal["maximize", "minimize"] | None = None
    sweep_name: str | None = None
    mark_preempting: bool = False
    mode: Literal["online", "offline"] | None = None
    recover: bool = False
    max_attempts: int = 3
    lease: float = 120.0
    grace: float = 20.0
    allow_eval: bool = False


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
        function: what to execute for every run, called as function(config=..., checkpoint_dir=...).
        raise_errors: raise FunctionError if every run of this call has failed.
        settings: fields that override conf.

    Returns:
        without sweep_id: the id of the sweep that was created; with a function its runs are executed first.
        With rerun_id, or with resume and count=1: what the function returned.
        Otherwise None.

    Raises:
        DysweepError: the settings are wrong, or the sweep cannot be worked on.
        FunctionError: every run of this call has failed; the first error is its cause.
        Exception: what the function raised, with rerun_id only; other runs record it and go on.
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
    config = make_config(conf, settings)
    created = config.sweep_id is None
    if function is not None:
        prepare(config, function, {})  # before anything is created
    elif not created:
        raise ConfigError("function: missing; give the function that executes a run")
    if created:
        if config.resume or config.rerun is not None or config.rerun_id is not None:
            raise ConfigError("sweep_id: missing; resume and rerun need the sweep")
        config = replace(config, sweep_id=create(config))
    if function is None:
        return config.sweep_id
    value = None
    outcomes = []
    errors = []
    for result in work(config, function, {}):
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
    """Take an offline sweep to W&B: its runs that have ended, and a sweep that holds them.

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
    from dysweep import tracking
    from dysweep.sync import sync

    say_by_default()
    config = make_config(conf, settings)
    if config.sweep_id is None:
        raise ConfigError("sweep_id: missing; say which sweep to take to W&B")
    here = replace(location(config), online=False)
    directory = here.find(config.sweep_id)
    wanted = here.of(config.sweep_id)
    return tracking.page_of(sync(directory, wanted.entity, wanted.project or None, config.lease))


def open_sweep(
    sweep_id: str, root: str | os.PathLike[str] = "./dysweep_logs", max_attempts: int = 3
) -> SweepStatus:
    """Read a sweep from its directory, for scripts and notebooks.

    Args:
        sweep_id: the sweep's id.
        root: folder below which the sweep has its directory.
        max_attempts: how often a run may fail or crash before it counts as given up.

    Returns:
        the sweep as it is now, with `runs`, `counts`, `config(run_id)`, `to_dataframe()` and `to_json()`.

    Raises:
        NotFoundError: there is no such sweep.
        DirectoryError: its record is damaged.

    Example:
        >>> import dysweep
        >>> sweep_id = dysweep.dysweep_run_resume(
        ...     mode="offline",
        ...     base_config={"seed": 0},
        ...     sweep_configuration={"lr": {"sweep": True, "values": [0.1, 0.01]}},
        ... )
        >>> sweep = dysweep.open_sweep(sweep_id)
        >>> sweep.counts
        {'pending': 2}
    """
    here = Location(os.fspath(root), None, None, None, online=False)
    return read_status(here.find_to_read(sweep_id), max_attempts)


def make_config(conf: Any, settings: Mapping[str, Any]) -> ResumableSweepConfig:
    """Bring settings of any form into a ResumableSweepConfig; `settings` override `conf`.

    Raises:
        ConfigError: an unknown setting, or one of a wrong type.
    """
    if conf is None:
        given: dict[str, Any] = {}
    elif isinstance(conf, (str, os.PathLike)):
        given = settings_of_file(os.fspath(conf))
    elif is_dataclass(conf) and not isinstance(conf, type):
        given = {field.name: getattr(conf, field.name) for field in fields(conf)}
    elif isinstance(conf, Mapping):
        given = dict(conf)
    elif hasattr(conf, "as_dict"):
        given = {
            key: value
            for key, value in conf.as_dict().items()
            if key not in ("config", "package", "function")
        }
        given.pop("run_additional_args", None)
    else:
        raise ConfigError(
            f"conf: a {type(conf).__name__} holds no settings; give a mapping or a ResumableSweepConfig"
        )
    config = parse_dictionary_onto_dataclass({**given, **settings}, ResumableSweepConfig)
    if config.count is not None and config.count < 1:
        raise ConfigError(f"count: {config.count} is no number of runs; give 1 or more")
    for name in ("max_attempts", "lease", "grace"):
        if not 0 < getattr(config, name) < math.inf:
            raise ConfigError(f"{name}: must be a number of more than 0, got {getattr(config, name)}")
    return config


def hierarchical_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Give the tree that a W&B run was made from.

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


def create(config: ResumableSweepConfig) -> str:
    """Create a sweep.

    Returns:
        its id.

    Raises:
        ConfigError: the settings, the base config or the sweep configuration are wrong; nothing is made.
        TrackingError: W&B did not take the sweep.
    """
    say_by_default()
    seen = preview(config)
    seen.warn()
    definition = seen.definition
    described, space = definition.sweep_configuration, definition.space
    mode = _mode(config)
    project = config.project or described.get("project") or os.environ.get("WANDB_PROJECT")
    if project is None and mode == "online":
        raise TrackingError(
            "project: missing, and W&B needs it to serve the sweep (--project NAME); "
            "set WANDB_MODE=offline to let its own directory serve it"
        )
    if project is not None:
        check_project(project)
    sweep = Sweep(
        sweep_id=secrets.token_hex(4),
        mode=mode,
        entity=config.entity or described.get("entity"),
        project=project or _DEFAULT_PROJECT,
        run_name=config.run_name,
        base_config=definition.base_config,
        sweep_configuration=described,
        space=space.to_json(),
    )
    directory = location(config).directory(sweep.sweep_id)
    directory.check_free()
    if is_old(directory):
        raise ConfigError(f"{directory.path}: holds a sweep of {NAME} already; choose another directory")
    if mode == "online":
        return _create_online(config, sweep)
    directory.create(sweep)
    return sweep.sweep_id


def preview(config: ResumableSweepConfig) -> Preview:
    """Read and check the sweep that the settings describe, and make nothing.

    Raises:
        ConfigError: the settings, the base config or the sweep configuration are wrong.
    """
    settings = {
        "name": ("sweep_name", config.sweep_name),
        "method": ("method", config.method),
        "metric.name": ("metric", config.metric),
        "metric.goal": ("goal", config.goal),
    }
    mode = _mode(config)
    definition = define(config.base_config, config.sweep_configuration, settings, config.allow_eval, mode)
    check_template(config.run_name, definition.space)
    by_grid = mode == "offline" or definition.sweep_configuration["method"] == "grid"
    grid = Grid.of(definition.space, definition.sweep_configuration) if by_grid else None
    return Preview(definition, grid, config.allow_eval)


def location(config: ResumableSweepConfig) -> Location:
    """Give where the settings look for sweeps."""
    return Location(
        config.default_root_dir,
        config.custom_checkpoint_dir,
        config.entity,
        config.project,
        online=_mode(config) == "online",
    )


def _mode(config: ResumableSweepConfig) -> str:
    _forget_empty_variables()
    mode = os.environ.get("WANDB_MODE", "online")
    if mode not in _WANDB_MODES:
        raise ConfigError(f"WANDB_MODE: no mode {mode!r}{closest(mode.lower(), _WANDB_MODES)}")
    if config.mode is not None:
        return config.mode
    return "offline" if mode in _WITHOUT_WANDB else "online"


def _forget_empty_variables() -> None:
    """Unset W&B's variables that are set to nothing (`WANDB_MODE=$MODE`), which the SDK would refuse."""
    for name in [name for name in os.environ if name.startswith("WANDB_") and not os.environ[name].strip()]:
        del os.environ[name]


def _create_online(config: ResumableSweepConfig, sweep: Sweep) -> str:
    """Let W&B serve a sweep; if it cannot be made whole, it is stopped."""
    from dysweep import tracking

    tracking.check_environment()
    for name in sweep.compiled.parameters:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", name):
            logger.warning(
                "W&B's own schema has only letters, digits and _ . - in a parameter's name, not %r; "
                "sweep_identifier gives it another one",
                name,
            )
    path = tracking.create_sweep(sweep.flat_configuration, sweep.entity, sweep.project)
    try:
        sweep = replace(sweep, entity=path.entity, project=path.project, sweep_id=path.sweep_id)
        with TemporaryDirectory() as folder:
            tracking.save_metadata(path, sweep.to_json(), Path(folder))
        location(config).directory(sweep.sweep_id).create(sweep)
    except BaseException as error:
        done = "has been stopped" if tracking.stop_sweep(path) else f"is left: `wandb sweep --stop {path}`"
        if isinstance(error, DysweepError):
            raise TrackingError(f"{error}; the sweep {path} {done}") from error
        raise
    return sweep.sweep_id


def work(
    config: ResumableSweepConfig, function: Callable[..., Any], arguments: Mapping[str, Any]
) -> Iterator[Result]:
    """Execute runs of a sweep: new ones, or those that resume and rerun_id name.

    Args:
        config: the settings, with a sweep_id.
        function: what to execute.
        arguments: further keyword arguments of the function.

    Raises:
        DysweepError: the sweep cannot be worked on.
        Preempted: the process was told to stop.
    """
    say_by_default()
    job = prepare(config, function, arguments)
    if config.sweep_id is None:
        raise ConfigError("sweep_id: missing; say which sweep to work on")
    directory = location(config).find(config.sweep_id)
    sweep = directory.sweep
    if sweep.online and _mode(config) == "offline":
        raise ConfigError(
            f"sweep_id: W&B serves the sweep {sweep.path}, so its runs need W&B; unset WANDB_MODE, "
            "or create a sweep with mode: offline"
        )
    _warn_of_what_is_not_used(config, sweep)
    if carries_code(sweep.compiled.tree) and not config.allow_eval:
        first = {p.name: p.encode(0) for p in sweep.compiled.swept if p.values}
        sweep.compiled.resolve(sweep.base_config, first, allow_eval=False)
    name_of = naming(
        config.run_name or sweep.run_name, config.run_name_changer, sweep.compiled, config.allow_eval
    )
    with StopSignals(config.grace) as stop, own_environment(offline=not sweep.online):
        agent = Agent(
            directory,
            job,
            stop,
            name_of,
            config.allow_eval,
            config.lease,
            config.max_attempts,
            config.delete_checkpoints,
            config.count,
        )
        with refusing_restarts(), closing(_results(agent, config)) as results:
            try:
                for result in itertools.islice(results, config.count):
                    yield result
                    if stop.received is not None or result.outcome is State.PREEMPTED:
                        raise Preempted(stop.received or signal.SIGINT)
            finally:
                agent.progress.end()
        if stop.received is not None:
            raise Preempted(stop.received)


def prepare(config: ResumableSweepConfig, function: Callable[..., Any], arguments: Mapping[str, Any]) -> Job:
    """Return what is executed for every run, checked as far as that goes without a run.

    Raises:
        FunctionError: the function cannot be called.
        ConfigError: W&B would refuse the environment.
    """
    from dysweep import tracking

    heartbeat = min(_HEARTBEAT_SECONDS, config.lease / 5)
    job = Job(function, dict(arguments), config.use_lightning_logger, config.mark_preempting, heartbeat)
    job.check()
    refuse_second_agent()
    _forget_empty_variables()
    tracking.check_environment()
    return job


def _results(agent: Agent, config: ResumableSweepConfig) -> Generator[Result, None, None]:
    if config.rerun_id is not None:
        yield from agent.again(config.rerun_id, config.resume)
    elif config.resume or config.rerun is not None:
        states = LOST if config.rerun in (None, "all") else [State(config.rerun)]
        yield from agent.lost_runs(states, from_scratch=not config.resume)
    elif config.recover:
        yield from agent.lost_runs(INTERRUPTED, wait=False)
        yield from agent.new_runs()
        yield from agent.lost_runs(INTERRUPTED)
    else:
        yield from agent.new_runs()


def _warn_of_what_is_not_used(config: ResumableSweepConfig, sweep: Sweep) -> None:
    """Name the settings that only creating uses and that differ from what the sweep was created with."""
    created = {"goal": "minimize", **(sweep.sweep_configuration.get("metric") or {})}
    given = {
        "base_config": (_loaded(config.base_config, "base_config"), sweep.base_config),
        "sweep_name": (config.sweep_name, sweep.sweep_configuration.get("name")),
        "method": (config.method, sweep.sweep_configuration.get("method")),
        "metric": (config.metric, created.get("name")),
        "goal": (config.goal, created["goal"]),
        "mode": (config.mode, sweep.mode),
        "project": (config.project, sweep.project),
        "entity": (config.entity, sweep.entity),
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
    """Tell whether two trees are the same; NaN is the same as NaN here."""
    return json.dumps(tree, sort_keys=True) == json.dumps(other, sort_keys=True)


def _loaded(tree: Any, name: str) -> Any:
    return copy_tree(load_file(tree) if isinstance(tree, str) else tree, (name,))


def settings_of_file(path: str) -> dict[str, Any]:
    """Read a file of settings; paths in it may be relative to the file.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    settings = load_settings(path, [field.name for field in fields(ResumableSweepConfig)])
    try:
        make_config(None, settings)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return settings
