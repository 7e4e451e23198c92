"""Create a sweep, or preview one."""

from __future__ import annotations

import logging
import os
import re
import secrets
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from dysweep.directory.legacy import NAME, OldSweep
from dysweep.directory.location import Location
from dysweep.directory.sweep import Sweep
from dysweep.errors import ConfigError, DysweepError, LanguageError, TrackingError
from dysweep.language.definition import define
from dysweep.language.evaluate import carries_code
from dysweep.language.naming import check_template, paths_of, short_keys
from dysweep.language.points import points_of, size_of
from dysweep.language.samples import samples
from dysweep.language.wandb_rules import check_project
from dysweep.log import say, say_by_default
from dysweep.modes import mode_of
from dysweep.objects import ClassCheck
from dysweep.search import check_installed
from dysweep.settings import ResumableSweepConfig
from dysweep.text import counted, short, short_path, short_value
from dysweep.views.preview import Preview, values_of

logger = logging.getLogger("dysweep")

_DEFAULT_PROJECT = "dysweep"


def create_and_describe(config: ResumableSweepConfig) -> str:
    """Create a sweep, and say what it is and where; for what it returns and raises see `create`."""
    sweep_id = create(config)
    directory = location_of(config).directory(sweep_id)
    sweep = directory.sweep
    size = size_of(sweep.compiled, sweep.sweep_configuration, sweep.mode)
    many = "" if size is None else f"{counted(size, 'run')}, "
    say(f"sweep {sweep_id}: {many}in {short_path(directory.path)}")
    if sweep.online:
        from dysweep.tracking.sweeps import page_of

        say(f"  {page_of(sweep.address)}")
    described = sweep.compiled.parameters
    names = {name: short_value(name) for name in described}
    width = max(map(len, names.values()))
    for name, parameter in described.items():
        say(f"  {names[name]:<{width}}  {values_of(parameter)}")
    return sweep_id


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
    mode = mode_of(config)
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
        wandb_keys=seen.wandb_keys,
    )
    directory = location_of(config).directory(sweep.sweep_id)
    directory.check_free()
    if OldSweep.at(directory):
        raise ConfigError(f"{directory.path}: holds a sweep of {NAME} already; choose another directory")
    if mode == "online":
        return _create_online(config, sweep)
    directory.create(sweep, config.group_writable)
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
    mode = mode_of(config)
    definition = define(config.base_config, config.sweep_configuration, settings, config.allow_eval, mode)
    check_template(config.run_name, definition.space)
    space, described = definition.space, definition.sweep_configuration
    is_known = mode == "offline" or described["method"] == "grid"
    points = points_of(space, described, None) if is_known else None
    size = size_of(space, described, mode)
    if mode == "offline" and described["method"] == "bayes":
        check_installed()
    if size is None and mode == "offline":
        logger.warning(
            "sweep_configuration.run_cap: missing, so the sweep never ends; --count N ends an agent after N"
        )
    keys = short_keys(paths_of(config.wandb_keys), definition.base_config, definition.space)
    seen = Preview(definition, points, size, mode, config.allow_eval, keys)
    if config.check_classes:
        _check_classes(seen)
    return seen


def _check_classes(seen: Preview) -> None:
    """Check the classes in the configs: every declared value in one of them, no combinations."""
    space, check = seen.definition.space, ClassCheck()
    if carries_code(space.tree) and not seen.allow_eval:
        return
    for sample in samples(space, seen.counted_grid):
        try:
            problem = check.problem(seen.config(sample.assignment))
        except LanguageError:
            continue  # that a run will fail is said elsewhere
        if problem is not None:
            where = short(space.settings(sample.assignment)) if sample.run is None else f"run {sample.run}"
            raise ConfigError(f"{problem} ({where})")


def _create_online(config: ResumableSweepConfig, sweep: Sweep) -> str:
    """Let W&B serve a sweep; if it cannot be made whole, it is stopped."""
    from dysweep.tracking import sweeps
    from dysweep.tracking.sdk import check_environment

    check_environment()
    for name in sweep.compiled.parameters:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", name):
            logger.warning(
                "W&B's own schema has only letters, digits and _ . - in a parameter's name, not %r; "
                "sweep_identifier gives it another one",
                name,
            )
    path = sweeps.create_sweep(sweep.flat_configuration, sweep.entity, sweep.project)
    try:
        sweep = replace(sweep, entity=path.entity, project=path.project, sweep_id=path.sweep_id)
        with TemporaryDirectory() as folder:
            sweeps.save_metadata(path, sweep.to_json(), Path(folder))
        location_of(config).directory(sweep.sweep_id).create(sweep, config.group_writable)
    # Also at Ctrl-C: agents elsewhere would otherwise get runs of a sweep that nobody can resolve.
    except BaseException as error:
        done = "has been stopped" if sweeps.stop_sweep(path) else f"is left: `wandb sweep --stop {path}`"
        if isinstance(error, DysweepError):
            raise TrackingError(f"{error}; the sweep {path} {done}") from error
        raise
    return sweep.sweep_id


def location_of(config: ResumableSweepConfig) -> Location:
    """Return where the settings look for sweeps."""
    return Location(
        config.default_root_dir,
        config.custom_checkpoint_dir,
        config.entity,
        config.project,
        online=mode_of(config) == "online",
    )
