"""More points for a sweep that its directory serves: those of a changed definition that are not there yet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from dysweep.creation import location_of, preview
from dysweep.directory.extensions import Definitions, Extension
from dysweep.directory.sweep import Sweep, SweepDirectory
from dysweep.errors import ConfigError, LanguageError
from dysweep.language.evaluate import carries_code
from dysweep.log import say, say_by_default
from dysweep.modes import mode_of
from dysweep.settings import ResumableSweepConfig
from dysweep.text import counted
from dysweep.views.preview import Preview

_MOST_POINTS = 100_000
_MANY_POINTS = 5_000


def extend(sweep_id: str, config: ResumableSweepConfig, is_trial: bool = False) -> None:
    """Extend a sweep: what is there stays as it is, and new runs follow.

    Args:
        sweep_id: the sweep.
        config: the settings that describe the whole sweep, as it is to be.
        is_trial: only say what would be added.

    Raises:
        ConfigError: the settings are wrong, or describe another kind of sweep.
        NotFoundError: the sweep is not found.
    """
    say_by_default()
    directory = location_of(config).find(sweep_id)
    before = Definitions.of(directory)
    sweep = before.last
    if sweep.online:
        raise ConfigError(f"--extend: W&B serves the sweep {sweep.address}, and it cannot be extended there")
    if mode_of(config) == "online":
        config = replace(config, mode="offline")
    seen = preview(config)
    seen.warn()
    _check_same(sweep, seen.definition.sweep_configuration)
    if config.run_name not in (None, sweep.run_name):
        raise ConfigError(
            f"run_name: the sweep {sweep.sweep_id} has {sweep.run_name!r}, which stays; leave it out"
        )
    changed = replace(
        sweep,
        base_config=seen.definition.base_config,
        sweep_configuration=seen.definition.sweep_configuration,
        space=seen.definition.space.to_json(),
        wandb_keys=seen.wandb_keys,
    )
    added = _new_points(before, changed, seen) if before.is_grid else _new_draws(directory, before, changed)
    if added is not None and not is_trial and not before.add(directory, added):
        raise ConfigError("--extend: another process has just extended the sweep; look, and try again")


def _check_same(sweep: Sweep, described: dict[str, Any]) -> None:
    for key in ("method", "metric"):
        kept = sweep.sweep_configuration.get(key)
        if described.get(key, kept) != kept:
            raise ConfigError(
                f"sweep_configuration.{key}: the sweep {sweep.sweep_id} has {json.dumps(kept)}, which stays; "
                f"create another sweep for {json.dumps(described[key])}"
            )


def _new_points(before: Definitions, changed: Sweep, seen: Preview) -> Extension | None:
    """Say how many points of a grid are new, and return them; None if none is."""
    points, size = seen.points, before.size or 0
    assert points is not None and points.size is not None
    for many in (size, points.size):
        if many > _MOST_POINTS:
            raise ConfigError(
                f"--extend: all points are compared one by one, and {many} are more than {_MOST_POINTS}"
            )
    sweeps = [changed, *(each.sweep for each in before.extensions)]
    if not seen.allow_eval and any(carries_code(sweep.compiled.tree) for sweep in sweeps):
        raise ConfigError(
            "--extend: configs are compared, and code in them (dy__eval) needs --allow_eval True"
        )
    if size + points.size > _MANY_POINTS:
        say(f"comparing {size + points.size} configs ...")
    there = {_canonical(sweep, assignment, seen.allow_eval) for sweep, assignment in _points(before)}
    indices = []
    for index in range(points.size):
        written = _canonical(changed, points.assignment(index), seen.allow_eval)
        if written not in there:
            there.add(written)
            indices.append(index)
    say(f"{counted(len(indices), 'point')} added, {points.size - len(indices)} were there")
    return Extension(changed, size + 1, indices) if indices else None


def _points(definitions: Definitions) -> Iterator[tuple[Sweep, dict[str, Any]]]:
    for index in range(definitions.size or 0):
        extension = definitions.extensions[definitions.number(index) - 1]
        yield extension.sweep, definitions.assignment(index)


def _canonical(sweep: Sweep, assignment: dict[str, Any], allow_eval: bool) -> bytes:
    """Return a digest of a point's config: the same for equal configs, however their numbers are written."""
    try:
        config: Any = sweep.compiled.resolve(sweep.base_config, assignment, allow_eval)
    except LanguageError as error:
        config = ["no config", str(error), assignment]
    return hashlib.sha256(json.dumps(_by_value(config), sort_keys=True).encode()).digest()


def _by_value(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _by_value(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_by_value(value) for value in tree]
    return int(tree) if isinstance(tree, float) and tree.is_integer() else tree


def _new_draws(directory: SweepDirectory, before: Definitions, changed: Sweep) -> Extension | None:
    """Say how many runs more will be drawn, and return from which on; None if nothing has changed."""
    sweep, first = before.last, len(directory.run_ids()) + 1
    after = Definitions((*before.extensions, Extension(changed, first)))
    described = changed.sweep_configuration
    if after.size is not None and (before.size is None or after.size < before.size):
        had = "no end" if before.size is None else before.size
        raise ConfigError(
            f"sweep_configuration.run_cap: {described.get('run_cap')} is less than before ({had}); give more"
        )
    same = (sweep.base_config, sweep.space, sweep.sweep_configuration) == (
        changed.base_config, changed.space, described
    )  # fmt: skip
    if same:
        say("0 runs added: nothing has changed")
        return None
    more = None if after.size is None or before.size is None else after.size - before.size
    say(f"{'no end of runs' if more is None else counted(more, 'run')} added, with the new definition")
    return Extension(changed, first)
