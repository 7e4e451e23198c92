"""One configuration of a sweep, executed without a record and without W&B."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dysweep.creation import location_of, preview
from dysweep.current import in_environment
from dysweep.directory.extensions import Definitions
from dysweep.directory.sweep import Sweep
from dysweep.errors import ConfigError
from dysweep.files import replace_json, user_path
from dysweep.language.points import Points
from dysweep.log import say
from dysweep.settings import ResumableSweepConfig
from dysweep.text import short


def debug(
    config: ResumableSweepConfig, which: str, checkpoint_dir: str | None, arguments: Mapping[str, Any]
) -> int:
    """Execute one configuration here and now: nothing is recorded, and W&B is disabled.

    Where there is a terminal, an exception of the function ends in Python's debugger.

    Args:
        config: the settings, with the sweep's id, or with what describes a sweep that is yet to be created.
        which: a run's id, or the place of a point of the grid, 1 for the first.
        checkpoint_dir: the folder that the function gets; a temporary one by default.
        arguments: further keyword arguments of the function.

    Returns:
        the exit code: 0 if it finished.

    Raises:
        ConfigError: the place is out of range, or neither a function nor a command is given.
        NotFoundError: the sweep or run is not found.
    """
    from dysweep.agents.function_job import traceback_of, users_part
    from dysweep.agents.isolated_job import IsolatedJob
    from dysweep.agents.jobs import job_of

    sweep, assignment, tree = _point(config, which)
    job = job_of(replace(config, isolate=False), None, arguments)
    assert not isinstance(job, IsolatedJob)  # a debugger has to be in this process
    job.check()
    say(f"{which}: {short(assignment)}")
    with TemporaryDirectory(prefix="dysweep-debug-") as folder:
        run_dir = Path(folder)
        replace_json(run_dir / "run_config.json", tree)
        place = run_dir / "checkpoint" if checkpoint_dir is None else user_path(checkpoint_dir)
        place.mkdir(parents=True, exist_ok=True)
        try:
            with in_environment({"WANDB_MODE": "disabled"}):
                return job.debug(run_dir, place, tree, sweep, assignment)
        except Exception as error:
            frames = users_part(error)
            say(traceback_of(error.with_traceback(frames)).rstrip("\n") if frames else str(error))
            if frames is not None and sys.stdin.isatty() and sys.stdout.isatty():
                import pdb

                pdb.post_mortem(frames)
            return 1


def _point(config: ResumableSweepConfig, which: str) -> tuple[Sweep, dict[str, Any], dict[str, Any]]:
    """Return the sweep, without W&B, and a point's assignment and config."""
    if config.sweep_id is None:
        seen = preview(config)
        assignment = _assignment(seen.points, which)
        space = seen.definition.space.to_json()
        sweep = Sweep("debug", "disabled", None, "debug", None, {}, {}, space, seen.wandb_keys)
        return sweep, assignment, seen.config(assignment)
    directory = location_of(config).find(config.sweep_id)
    sweep, tree = directory.sweep, None
    if which.isdecimal() and which not in directory.run_ids():
        method = sweep.sweep_configuration["method"]
        is_known = method == "grid" or (method == "random" and not sweep.online)
        points = Definitions.of(directory)
        assignment = _assignment(points if is_known else None, which)
        sweep = directory.definition(points.number(int(which) - 1))
    else:
        run = directory.run(which)
        record = run.record()
        sweep, assignment = directory.definition(record["definition"]), record["assignment"]
        tree = run.config()
    if tree is None:
        tree = sweep.compiled.resolve(sweep.base_config, assignment, config.allow_eval)
    return replace(sweep, sweep_id="debug", mode="disabled"), assignment, tree


def _assignment(points: Points | None, which: str) -> dict[str, Any]:
    if not which.isdecimal():
        raise ConfigError(f"--debug: {which!r}: without a sweep, give the place of a point, 1 for the first")
    if points is None:
        raise ConfigError("--debug: the points of this sweep are chosen while it runs; give the id of a run")
    if int(which) < 1 or (points.size is not None and int(which) > points.size):
        last = "" if points.size is None else f" to {points.size}"
        raise ConfigError(f"--debug: {which} is out of range; the sweep has the points 1{last}")
    return points.assignment(int(which) - 1)
