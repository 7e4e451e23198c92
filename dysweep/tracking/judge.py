"""Early termination without W&B's server: a run is judged by what it logs, beside the other runs' values."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import wandb
from wandb.util import json_friendly

from dysweep.directory.bands import forget_logged, read_logged, value_at, write_band, write_logged
from dysweep.directory.runs import Attempt
from dysweep.directory.sweep import Sweep, SweepDirectory
from dysweep.errors import DirectoryError
from dysweep.language.hyperband import Hyperband, StoppedEarly
from dysweep.tracking.versions import RESUMES_OFFLINE

logger = logging.getLogger("dysweep")

_SECONDS_BETWEEN_LOOKS = 3.0
_QUICK_SECONDS = 0.001
_LARGEST_SHARE = 0.05  # of the time, for a disk that is not quick


class Judge:
    """Stops a run early by the rule of its sweep.

    Args:
        rule: the rule.
        attempt: the attempt whose function logs.
        from_scratch: forget what earlier attempts have logged.
        when_stopped: called, from the thread that logs, if the run is to be stopped.

    Attributes:
        stopped_early: why the run was stopped; None if it was not.
    """

    def __init__(
        self, rule: Hyperband, attempt: Attempt, from_scratch: bool, when_stopped: Callable[[], object]
    ) -> None:
        self.stopped_early: StoppedEarly | None = None
        self._rule, self._attempt, self._when_stopped = rule, attempt, when_stopped
        self._process = os.getpid()
        self._lock = threading.Lock()  # a function may log in several threads
        self._next_step = self._last_step = -1  # of the W&B run
        self._others: dict[int, dict[str, float]] = {}
        self._look_again: dict[int, float] = {}
        self._write_again = 0.0
        if from_scratch:
            forget_logged(attempt.run)
        self._logged, self._steps = read_logged(attempt.run)
        self._steps_before = 0

    @classmethod
    def of(
        cls, sweep: Sweep, attempt: Attempt, from_scratch: bool, when_stopped: Callable[[], object]
    ) -> Judge | None:
        """Return who judges an attempt; None if nobody does, or W&B."""
        rule = None if sweep.online else Hyperband.of(sweep.sweep_configuration)
        return None if rule is None else cls(rule, attempt, from_scratch, when_stopped)

    def watch(self, run: wandb.Run) -> None:
        """See what is logged with a W&B run from now on."""
        watched: Any = run
        # All ways to log end in this private method (0.22 to 0.31): `run.log`, `wandb.log` wherever it was
        # imported, Lightning's logger, and TensorBoard's, which calls no public one.
        log = watched._log
        self._next_step, self._last_step = run.step, -1
        # Offline the SDK counts a resumed run from 0, and moves it behind its earlier steps with the upload.
        self._steps_before = self._steps if RESUMES_OFFLINE else 0

        def seen_log(data: Mapping[str, Any], step: int | None = None, commit: bool | None = None) -> None:
            log(data, step=step, commit=commit)
            if os.getpid() == self._process:  # in a child of a fork, the lock may be held for ever
                with self._lock:
                    self._see(data, step, commit)

        watched._log = seen_log

    def end(self) -> None:
        """Write what was logged since the last time."""
        if os.getpid() == self._process:
            self._write(at_once=True)

    def _see(self, data: Mapping[str, Any], step: int | None, commit: bool | None) -> None:
        at = self._next_step if step is None else step
        if at < self._next_step:
            return  # W&B drops it
        self._next_step = at + (1 if commit or (step is None and commit is None) else 0)
        logged = self._rule.add(self._logged, _plain(_value_in(data, self._rule.metric.name)))
        # A step is one row of W&B's history, however often it is logged.
        if self.stopped_early is not None or logged is self._logged or at == self._last_step:
            return
        self._last_step, self._logged = at, logged
        of_run = at + (self._steps_before if step is None else 0)
        self._steps = of_run + 1
        self._write()
        band = self._rule.band_of(logged.count)
        if band is None:
            return
        if band == logged.count:
            try:
                write_band(self._attempt, band, logged.at_bands[band])
            except DirectoryError as error:
                logger.warning("%s; the other runs are not compared with this one", error)
        self.stopped_early = self._rule.judge(logged, self._values_of_others(band).values(), of_run)
        if self.stopped_early is not None:
            self._when_stopped()

    def _write(self, at_once: bool = False) -> None:
        begun = time.monotonic()
        if self._logged.count == 0 or (begun < self._write_again and not at_once):
            return
        try:
            write_logged(self._attempt, self._logged, self._steps)
        except OSError as error:
            logger.debug("%r", error)  # a full disk must not end the training
        took = time.monotonic() - begun
        if took > _QUICK_SECONDS:
            self._write_again = begun + took / _LARGEST_SHARE

    def _values_of_others(self, band: int) -> dict[str, float]:
        """Return the other runs' values at a band, as they were at most a few seconds ago."""
        begun = time.monotonic()
        known = self._others.setdefault(band, {})
        if begun < self._look_again.get(band, 0.0):
            return known
        run = self._attempt.run
        try:
            for other in SweepDirectory(run.path.parents[1]).runs():
                if other.run_id != run.run_id and other.run_id not in known:
                    if (value := value_at(other, band)) is not None:
                        known[other.run_id] = value
        except DirectoryError as error:
            logger.debug("%r", error)
        took = time.monotonic() - begun
        self._look_again[band] = begun + max(_SECONDS_BETWEEN_LOOKS, took / _LARGEST_SHARE)
        return known


def _value_in(data: Mapping[str, Any], name: str) -> Any:
    """Return what was logged under a name, which has dots for what is nested; None if nothing was."""
    if name in data:
        return data[name]
    for place, letter in enumerate(name):
        inner = data.get(name[:place]) if letter == "." else None
        if isinstance(inner, Mapping) and (found := _value_in(inner, name[place + 1 :])) is not None:
            return found
    return None


def _plain(value: Any) -> Any:
    """Return the number that W&B makes of a tensor or an array of one."""
    return json_friendly(json_friendly(value)[0])[0]  # an array becomes numpy's number, and that Python's
