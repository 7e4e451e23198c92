"""The W&B run of a program, which starts it itself: led to the sweep's run, and completed afterwards."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dysweep.directory.runs import RunDirectory
from dysweep.directory.sweep import Sweep
from dysweep.errors import DirectoryError
from dysweep.files import read_json, write_in_place, writing
from dysweep.language.hyperband import StoppedEarly
from dysweep.language.wandb_rules import OF_ONE_RUN
from dysweep.tracking.metrics import numbers, other_kinds
from dysweep.tracking.records import WrittenRun, read_run
from dysweep.tracking.runs import TrackedRun, shown_beside
from dysweep.tracking.versions import DISABLED_TAKES_PARAMETERS
from dysweep.yaml_text import dump_yaml

logger = logging.getLogger("dysweep")

_SERVICE = "WANDB_SERVICE"  # the agent's own, which would not accept a run of another process


class ProgramRun:
    """A W&B run of a sweep that a program joins with its own `wandb.init()`, if it has one.

    The agent must not hold the run meanwhile: W&B would refuse the program an id that is in use.

    Args: as those of `TrackedRun`.

    Attributes:
        preempting: whether W&B is to hear from the start that the run may be preempted.
        other_values: what was logged and is not a number, with its kind, once the run has ended.
        stopped_early: why whoever executes the run has stopped it early.
    """

    def __init__(
        self,
        sweep: Sweep,
        run: RunDirectory,
        assignment: Mapping[str, Any],
        name: str | None,
        config: Mapping[str, Any],
        *,
        from_scratch: bool = False,
        with_tree: bool = False,
    ) -> None:
        self._sweep, self._run, self._name = sweep, run, name
        self._assignment, self._config = assignment, config
        self._from_scratch, self._with_tree = from_scratch, with_tree
        self._gather()
        self._folders_before = set(self._folders())
        self.metrics_path = run.path / "metrics.json"
        self.other_values: dict[str, str] = {}
        self.preempting = False
        self.stopped_early: StoppedEarly | None = None
        # Of an attempt before a run from scratch; where it is resumed, its metrics go on counting.
        if from_scratch:
            with writing(self.metrics_path):
                self.metrics_path.unlink(missing_ok=True)

    def environment(self) -> dict[str, str]:
        """Return the environment that leads a program's `wandb.init()` to the run."""
        sweep, run = self._sweep, self._run
        own = run.path / "wandb"
        parameters = own / "dysweep-config.yaml"
        shown = shown_beside(sweep, self._config, self._with_tree)
        kept = {**shown, **self._assignment, "dy_config": dict(self._config)}
        with writing(parameters):
            own.mkdir(exist_ok=True)
            # The SDK lays it over the program's own defaults, as it does under W&B's agent.
            write_in_place(parameters, dump_yaml({key: {"value": value} for key, value in kept.items()}))
        environment = {
            **{name: value for name, value in os.environ.items() if name not in (*OF_ONE_RUN, _SERVICE)},
            "WANDB_SILENT": os.environ.get("WANDB_SILENT", "true"),
            "WANDB_RUN_ID": run.run_id,
            "WANDB_DIR": str(run.path.absolute()),
            "WANDB_SWEEP_PARAM_PATH": str(parameters.absolute()),
            **({} if sweep.entity is None else {"WANDB_ENTITY": sweep.entity}),
            **({} if sweep.project is None else {"WANDB_PROJECT": sweep.project}),
            **({} if self._from_scratch else {"WANDB_RESUME": "allow"}),
            **({"WANDB_NAME": self._name} if self._name else {}),
        }
        if sweep.online:
            return environment | {"WANDB_SWEEP_ID": sweep.sweep_id, "WANDB_MODE": "online"}
        environment.setdefault("WANDB_DATA_DIR", str(own.absolute()))
        if sweep.mode == "disabled" and not DISABLED_TAKES_PARAMETERS:
            del environment["WANDB_SWEEP_PARAM_PATH"]
        return environment | {"WANDB_RUN_GROUP": sweep.sweep_id, "WANDB_MODE": sweep.mode}

    def mark_preempting(self) -> None:
        """Note that whoever starts the run is to tell W&B that it may be preempted."""
        self.preempting = True

    def mark_preempted(self) -> None:
        """Do nothing: W&B hears it when the run has ended."""

    def end(self, exit_code: int, preempted: bool) -> dict[str, float]:
        """Complete the run in W&B where the program has not: it never started it, or was killed.

        Args:
            exit_code: 0 for success.
            preempted: tell W&B that it was preempted.

        Returns:
            the final numeric metrics: of `metrics.json` in the run's directory, or else what was logged.
        """
        self._gather()
        starts = [read_run(file) for file in self._files()]
        own = [start for start in starts if start.run_id == self._run.run_id]
        for stray in {start.run_id for start in starts} - {self._run.run_id, ""}:
            logger.warning(
                "%s: the program has started a W&B run of its own, %s; leave out id= in wandb.init",
                self._run.run_id, stray,
            )  # fmt: skip
        summary: dict[str, Any] = {}
        for start in own:
            summary |= start.summary
        told = self._told_metrics()
        self.other_values = other_kinds(summary)
        if told or preempted or not (own and self._is_complete(own[-1], exit_code)):
            summary |= self._complete(exit_code, preempted, told, started=bool(own))
        return dict(sorted({**numbers(summary), **told}.items()))

    def _is_complete(self, last: WrittenRun, exit_code: int) -> bool:
        named = self._name is None or last.name == self._name
        grouped = self._sweep.online or last.group == self._sweep.sweep_id
        return last.exit_code is not None and (last.exit_code == 0) == (exit_code == 0) and named and grouped

    def _complete(
        self, exit_code: int, preempted: bool, metrics: Mapping[str, float], started: bool
    ) -> dict[str, float]:
        run = TrackedRun(
            self._sweep,
            self._run,
            self._assignment,
            self._name,
            self._config,
            from_scratch=self._from_scratch and not started,
            with_tree=self._with_tree,
        )
        run.run.summary.update(dict(metrics))
        return run.end(exit_code, preempted)

    def _told_metrics(self) -> dict[str, float]:
        """Read what the program has written to `metrics.json`."""
        try:
            stored = read_json(self.metrics_path)
        except FileNotFoundError:
            return {}
        except DirectoryError as error:
            logger.warning("%s; its metrics are left out", error)
            return {}
        found = numbers(stored) if isinstance(stored, dict) else {}
        if not found:
            logger.warning('%s: a mapping of numbers is needed, as {"loss": 0.1}', self.metrics_path)
        return found

    def _gather(self) -> None:
        """Move to the run what a program with a `dir=` of its own has written elsewhere.

        Lightning's logger always has one, `.` by default, and WANDB_DIR does not win over it.
        """
        own = self._run.path / "wandb"
        elsewhere = [Path("wandb"), *self._run.path.glob("*/wandb"), *self._run.path.glob("*/*/wandb")]
        of_the_run = re.compile(rf"(offline-)?run-\d+_\d+-{re.escape(self._run.run_id)}")
        for place in elsewhere:
            for folder in place.glob("*run-*"):
                here = own / folder.name
                if of_the_run.fullmatch(folder.name) and not folder.is_symlink() and not here.exists():
                    with writing(here):
                        own.mkdir(exist_ok=True)
                        shutil.move(folder, here)

    def _folders(self) -> list[Path]:
        return sorted(
            path for path in self._run.path.glob("wandb/*run-*") if path.is_dir() and not path.is_symlink()
        )

    def _files(self) -> list[Path]:
        """List the `.wandb` files that the program has written, oldest first."""
        new = [folder for folder in self._folders() if folder not in self._folders_before]
        return [file for folder in new for file in sorted(folder.glob("*.wandb"))]
