"""What the runs of a sweep have logged over their steps, and how far the running ones are."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from dysweep.directory.legacy import NAME
from dysweep.directory.runs import State
from dysweep.directory.sweep import Sweep, SweepDirectory
from dysweep.errors import ConfigError, closest
from dysweep.language.metric import Metric
from dysweep.text import counted, short_value
from dysweep.tracking.histories import RunHistory
from dysweep.views.runs import RunStatus

logger = logging.getLogger("dysweep")

_AGGREGATES = (".min", ".max", ".mean", ".best", ".first", ".last", ".sum")
_NAMED = 3
_RECENT_SECONDS = 30.0
_WAITED_SECONDS = 2.0


@dataclass(frozen=True)
class Histories:
    """What runs have logged of one metric.

    Args:
        curves: for each run that has logged it its steps and values, in order.
        names: all names of numbers that the runs have logged.
        problems: what could not be read.
    """

    curves: dict[str, list[tuple[int, float]]]
    names: frozenset[str]
    problems: tuple[str, ...]


def read_histories(directory: SweepDirectory, runs: Iterable[RunStatus], metric: str) -> Histories:
    """Read what runs have logged of a metric.

    Args:
        directory: the sweep's directory.
        runs: the runs.
        metric: the metric's name, with dots for what is nested.
    """
    # What `define_metric(name, summary="max")` keeps as `name.max` was logged as `name`.
    wanted = {metric, _without_aggregate(metric)}
    curves: dict[str, list[tuple[int, float]]] = {}
    names: set[str] = set()
    problems: list[str] = []
    missing: list[str] = []
    cut_off: list[str] = []
    started = [run for run in runs if run.attempts and run.host != NAME]
    histories = {
        run.run_id: RunHistory(directory.run(run.run_id).path, wanted.__contains__) for run in started
    }
    for history in histories.values():
        history.read()
    _wait_for_the_ends([histories[run.run_id] for run in started if _has_just_ended(run)])
    for run in started:
        history = histories[run.run_id]
        names |= history.names
        problems += history.problems
        if not history.found:
            missing.append(run.run_id)
        elif run.state != State.RUNNING:
            cut_off += history.cut_off
        name = metric if metric in history.names else _without_aggregate(metric)
        curve = [(step, values[name]) for step, values in history.rows if name in values]
        if curve:
            curves[run.run_id] = curve
    problems += _said(cut_off, "file", "its end is missing (killed, or cut off); what came before is shown")
    problems += _said(missing, "run", "no W&B files in wandb/ beside it here, so no steps to show")
    return Histories(curves, frozenset(names), tuple(problems))


def _has_just_ended(run: RunStatus) -> bool:
    if run.state not in (State.FINISHED, State.FAILED) or run.ended is None:
        return False
    since = datetime.now(timezone.utc) - datetime.fromisoformat(run.ended)
    return since.total_seconds() < _RECENT_SECONDS


def _wait_for_the_ends(histories: list[RunHistory]) -> None:
    """Wait for what the SDK's process writes after `finish`, for a moment in all."""
    deadline = time.monotonic() + _WAITED_SECONDS
    while open_ones := [each for each in histories if each.found and not each.is_ended]:
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)
        for history in open_ones:
            history.read()


def _without_aggregate(name: str) -> str:
    return name.removesuffix(next((each for each in _AGGREGATES if name.endswith(each)), ""))


def _said(things: list[str], kind: str, what: str) -> list[str]:
    if not things:
        return []
    more = len(things) - _NAMED
    named = ", ".join(things[:_NAMED]) + (f" and {more} more" if more > 0 else "")
    return [f"{named}: {what}" if len(things) == 1 else f"{counted(len(things), kind)}: {what}: {named}"]


def history_frame(
    directory: SweepDirectory, sweep: Sweep, runs: Iterable[RunStatus], metric: str | None
) -> Any:
    """Return what runs have logged of a metric as a pandas DataFrame: run_id, step, value.

    Args:
        directory: the sweep's directory.
        sweep: its record.
        runs: the runs.
        metric: the metric's name; the sweep's own by default.

    Raises:
        ConfigError: no run has logged it, or pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise ConfigError("history needs pandas: pip install pandas") from None
    declared = Metric.of(sweep.sweep_configuration)
    name = metric if metric is not None else declared.name if declared is not None else None
    if name is None:
        raise ConfigError('history: of which metric? The sweep declares none; as history("loss")')
    found = read_histories(directory, runs, name)
    for problem in found.problems:
        logger.warning("%s", problem)
    if not found.curves:
        nothing = "; none has logged a number" if not found.names else closest(name, sorted(found.names))
        raise ConfigError(f"history: no run has logged {name!r}{nothing}")
    rows = [(run_id, *point) for run_id, curve in found.curves.items() for point in curve]
    frame = pandas.DataFrame(rows, columns=["run_id", "step", "value"])
    return frame.astype({"value": float})


class LastLogged:
    """Tells of running runs what they have logged last; of files that grow only what is new is read."""

    def __init__(self) -> None:
        self._histories: dict[str, RunHistory] = {}

    def of(self, directory: SweepDirectory, sweep: Sweep, runs: Iterable[RunStatus]) -> dict[str, str]:
        """Return a text for each run that is running and has logged a number, as `step 12, loss 0.4`.

        Args:
            directory: the sweep's directory.
            sweep: its record.
            runs: its runs.
        """
        declared = Metric.of(sweep.sweep_configuration)
        running = [run for run in runs if run.state == State.RUNNING]
        texts = {run.run_id: self._text(directory, declared, run) for run in running}
        return {run_id: text for run_id, text in texts.items() if text}

    def _text(self, directory: SweepDirectory, declared: Metric | None, run: RunStatus) -> str:
        path = directory.run(run.run_id).path
        history = self._histories.setdefault(run.run_id, RunHistory(path, only_last=True))
        history.read()
        if not history.last:
            return ""
        name = declared.name if declared and declared.name in history.last else min(history.last)
        step, value = history.last[name]
        return f"step {step}, {short_value(name)} {value:.4g}"
