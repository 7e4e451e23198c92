"""A sweep directory read for people and scripts: what has finished, what runs, what needs attention."""

from __future__ import annotations

import csv
import json
import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any

from dysweep.directory.legacy import OldSweep
from dysweep.directory.runs import State
from dysweep.directory.sweep import Sweep, SweepDirectory
from dysweep.errors import NotFoundError
from dysweep.language.metric import Metric, best_of
from dysweep.language.parameter import Parameter
from dysweep.results.study import Study, StudyRun
from dysweep.text import as_on_a_terminal, count, inert, short_path, short_value, strict
from dysweep.views.notebook import table as table_of_runs
from dysweep.views.reading import Reading, counts_of
from dysweep.views.results import Results
from dysweep.views.runs import RunStatus

_COLUMNS_BEFORE = ("run_id", "name", "state", "set_aside")
_COLUMNS_AFTER = ("attempts", "host", "slurm_job_id", "started", "ended", "seconds")
_MOST_BYTES_KEPT = 16 * 2**20


@dataclass(frozen=True)
class SweepStatus(Results):
    """A sweep and all its runs.

    Args:
        directory: the sweep's directory.
        sweep: its record; where it was extended, the first one.
        total: how many runs it has in all; None if W&B decides.
        runs: the runs that were started, in the order of their ids.
        damaged: what is wrong with runs that cannot be read.
        extensions: what the sweep was defined as later.

    Example:
        >>> import dysweep, wandb
        >>> def train(config, checkpoint_dir):
        ...     wandb.log({"loss": config["lr"] ** 2})
        >>> sweep_id = dysweep.dysweep_run_resume(
        ...     mode="offline",
        ...     base_config={"seed": 0},
        ...     sweep_configuration={"lr": {"sweep": True, "values": [1, 2, 3]}},
        ... )
        >>> dysweep.dysweep_run_resume(sweep_id=sweep_id, function=train, count=2)
        >>> sweep = dysweep.open_sweep(sweep_id)
        >>> sweep.counts
        {'pending': 1, 'finished': 2}
        >>> [(run.assignment["lr"], run.metrics["loss"]) for run in sweep.runs]
        [(1, 1), (2, 4)]
        >>> sweep.config(sweep.runs[0].run_id)
        {'seed': 0, 'lr': 1}
        >>> list(sweep.to_dataframe()["loss"])
        [1, 4]
    """

    directory: Path
    sweep: Sweep
    total: int | None
    runs: tuple[RunStatus, ...]
    damaged: tuple[str, ...]
    extensions: tuple[Sweep, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """The number of runs in each state; pending ones have not been started yet."""
        return counts_of(Counter(run.state for run in self.runs), len(self.damaged), self.total)

    @property
    def parameters(self) -> list[Parameter]:
        """Its parameters one by one, also those that an extension has added."""
        flat = [each for sweep in (self.sweep, *self.extensions) for each in sweep.compiled.flat]
        return list({each.name: each for each in flat}.values())

    def settings(self, run: RunStatus) -> dict[str, Any]:
        """Return the values of a run's parameters one by one."""
        sweep = (self.sweep, *self.extensions)[run.definition - 1]
        return sweep.compiled.settings(run.assignment)

    def to_json(self) -> str:
        """Write everything as one JSON text; keys are only ever added. NaN and infinity are null."""
        found = (self.total, self.counts, self.damaged)
        return "".join(_as_json(self.directory, self.sweep, self.runs, lambda: found))

    def rows(self) -> tuple[list[str], list[list[Any]]]:
        """Return one row for each run, with its parameters and final metrics, and the columns' names.

        A metric that has the name of another column is called `metric.NAME`.
        """
        header, *rows = self._table(self.runs, {name for run in self.runs for name in run.metrics})
        return header, rows

    def _table(self, runs: Iterable[RunStatus], metrics: Iterable[str]) -> Iterator[list[Any]]:
        parameters, metrics = [parameter.name for parameter in self.parameters], sorted(metrics)
        before = [*_COLUMNS_BEFORE, *parameters, *_COLUMNS_AFTER, "stopped_early", "error"]
        yield [*before, *(f"metric.{name}" if name in before else name for name in metrics)]
        for run in runs:
            error = None if run.error is None else f"{run.error['type']}: {run.error['message']}"
            row: list[Any] = [getattr(run, column) for column in _COLUMNS_BEFORE]
            settings = self.settings(run)
            row += [settings.get(name) for name in parameters]
            row += [getattr(run, column) for column in _COLUMNS_AFTER]
            early = None if run.stopped_early is None else str(run.stopped_early)
            yield [*row, early, error, *(run.metrics.get(name) for name in metrics)]

    def config(self, run_id: str) -> dict[str, Any]:
        """Read the config of a run.

        Raises:
            NotFoundError: there is no such run, or it has no config.
        """
        directory = SweepDirectory(self.directory)
        old = OldSweep.at(directory)
        old_run = old.run(run_id) if old else None
        config = old_run.config if old_run else directory.run(run_id).config()
        if config is None:
            raise NotFoundError(f"{run_id}: its config could not be made")
        return config

    def to_dataframe(self) -> Any:
        """Return a pandas DataFrame with a row for each run: assignment, state, durations, final metrics.

        Times are datetimes in UTC, states and texts that were chosen are categories, numbers are numbers.

        Raises:
            ConfigError: pandas is not installed.
        """
        from dysweep.results.columns import typed

        header, rows = self.rows()
        return typed(rows, header, [each.name for each in self.parameters]).set_index("run_id")

    def study(self) -> Study:
        """Return what results are computed from."""
        recorded = sum(run.state == State.PENDING.value for run in self.runs)
        runs = (StudyRun(run.run_id, run.state, self.settings(run), run.metrics) for run in self.runs)
        return Study(
            self.sweep.sweep_id,
            Metric.of(self.sweep.sweep_configuration),
            tuple(self.parameters),
            tuple(runs),
            self.counts.get(State.PENDING.value, 0) - recorded,
            len(self.damaged),
        )

    def history(self, metric: str | None = None) -> Any:
        """Return what the runs have logged over their steps, as a pandas DataFrame: run_id, step, value.

        It is read from the W&B files beside the runs, without any network. The attempts of a run are joined,
        with the steps that they have in W&B. What cannot be read is named in a warning.

        Args:
            metric: a name that was logged, with dots for what is nested; the sweep's own metric by default.

        Raises:
            ConfigError: no run has logged it, or pandas is not installed.
        """
        from dysweep.views.history import history_frame

        return history_frame(SweepDirectory(self.directory), self.sweep, self.runs, metric)

    def __repr__(self) -> str:
        sweep = self.sweep
        metric = Metric.of(sweep.sweep_configuration)
        best = None if metric is None else best_of(self.runs, metric)
        name = sweep.sweep_configuration.get("name")
        title = [f"sweep {sweep.sweep_id}", *([str(name)] if name else []), sweep.mode]
        words = [*title, str(short_path(self.directory))]
        reached = f"; best {metric.shown(best.metrics)} ({best.run_id})" if metric and best else ""
        return f"{'  '.join(map(short_value, words))}\n{self._counted() or 'no run'}{reached}"

    def _repr_html_(self) -> str:
        names = [parameter.name for parameter in self.parameters]
        shown = table_of_runs(self.runs, names, self.settings, Metric.of(self.sweep.sweep_configuration))
        return f"<p><b>sweep {escape(self.sweep.sweep_id)}</b>: {self._counted()}</p>{shown}"

    def _counted(self) -> str:
        return ", ".join(f"{count(number)} {state}" for state, number in self.counts.items())

    def to_csv(self) -> str:
        """Write one row for each run, as CSV with a header.

        A text that a spreadsheet would compute gets a `'` before it, and control characters are written out.
        """
        header, rows = self.rows()
        return "".join(_as_csv([header, *rows]))


def _strict_json(tree: Any) -> str:
    try:
        return json.dumps(tree, allow_nan=False)
    except ValueError:
        return json.dumps(strict(tree), allow_nan=False)


def _as_json(
    directory: Path,
    sweep: Sweep,
    runs: Iterable[RunStatus],
    found: Callable[[], tuple[int | None, dict[str, int], Sequence[str]]],
) -> Iterator[str]:
    """Write a line for each run; what follows from all of them is known, and written, after the last one."""
    whose = {"entity": sweep.entity, "project": sweep.project, "directory": str(directory)}
    head = _strict_json({"sweep_id": sweep.sweep_id, "mode": sweep.mode, **whose})
    yield f'{head[:-1]}, "runs": ['
    for place, run in enumerate(runs):
        yield f"{',' if place else ''}\n {_strict_json(run.to_stored())}"
    total, counts, damaged = found()
    rest = _strict_json({"total": total, "counts": counts, "damaged": [*damaged]})
    yield f"\n], {rest[1:]}"


class _Echo:
    """The file of a `csv.writer` whose lines are returned."""

    def write(self, line: str) -> str:
        return line


def _as_csv(rows: Iterable[list[Any]]) -> Iterator[str]:
    writer = csv.writer(_Echo())
    for row in rows:
        yield writer.writerow([inert(cell) for cell in row])


def read_status(directory: SweepDirectory, max_attempts: int) -> SweepStatus:
    """Read a sweep's directory; for its arguments and what it raises see `Reading`."""
    return status_of(Reading(directory, max_attempts))


def status_of(reading: Reading) -> SweepStatus:
    """Read all runs."""
    return _with_runs(reading, tuple(reading.runs()))


def _with_runs(reading: Reading, runs: tuple[RunStatus, ...]) -> SweepStatus:
    path, damaged = reading.directory.path, tuple(reading.damaged)
    return SweepStatus(path, reading.sweep, reading.total, runs, damaged, reading.extensions)


def json_lines(reading: Reading) -> Iterator[str]:
    """Write what `SweepStatus.to_json` does while the runs are read, whose number takes no memory."""
    yield from _as_json(reading.directory.path, reading.sweep, reading.runs(), reading.found)


def csv_lines(reading: Reading) -> Iterator[str]:
    """Write what `SweepStatus.to_csv` does; the runs are kept in a file until all metrics are known."""
    metrics: set[str] = set()
    with SpooledTemporaryFile(_MOST_BYTES_KEPT) as kept:
        for run in reading.runs():
            metrics.update(run.metrics)
            pickle.dump(run, kept)  # to be read by this process alone: the file has no name
        kept.seek(0)
        runs = (pickle.load(kept) for _ in range(reading.states.total()))
        yield from _as_csv(_with_runs(reading, ())._table(runs, metrics))


def sweeps_below(root: Path, max_attempts: int) -> list[SweepStatus]:
    """Read all sweeps below a root directory, the newest last.

    Raises:
        NotFoundError: there is none.
    """
    new = sorted(root.glob("*/sweep.json"), key=lambda path: path.stat().st_mtime)
    old = [path for path in sorted(root.glob("checkpoints-*")) if OldSweep.at(SweepDirectory(path))]
    if not new and not old:
        raise NotFoundError(f"default_root_dir: no sweep below {root}")
    directories = [SweepDirectory(path) for path in (*old, *(path.parent for path in new))]
    return [read_status(directory, max_attempts) for directory in directories]


def last_log(directory: SweepDirectory, run_id: str, raw: bool = False) -> str:
    """Return what the last attempt of a run has printed.

    Args:
        directory: the sweep's directory.
        run_id: the run's id.
        raw: as it was written, control characters included; else as a terminal shows it in the end.

    Raises:
        NotFoundError: there is no such run, or it has not been started.
    """
    old = OldSweep.at(directory)
    if old and (old_run := old.run(run_id)):
        return old_run.log if raw else as_on_a_terminal(old_run.log)
    last = directory.run(run_id).last_attempt()
    if last is None or not last.log_path.exists():
        raise NotFoundError(f"{run_id}: it has not been started, so there is no log")
    text = last.log_path.read_bytes().decode("utf-8", errors="replace")
    return text if raw else as_on_a_terminal(text)
