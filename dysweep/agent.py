"""An agent: executes new runs, goes on with lost ones, or executes one again; says a line for each."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator
from typing import Any

from dysweep import checkpoint
from dysweep.checkpoint import Attempt, RunDirectory, State, SweepDirectory
from dysweep.errors import ConfigError, DirectoryError, LanguageError, Preempted
from dysweep.execution import Job, Result, StopSignals, run_attempt
from dysweep.offline import Grid, NameOf, take_points

logger = logging.getLogger("dysweep")


class Agent:
    """One process that executes runs of a sweep, one after the other.

    Args:
        directory: the sweep's directory.
        job: what is executed.
        stop: the signals that end it.
        name_of: function (assignment, config) -> a new run's name.
        allow_eval: whether code in the sweep may run.
        lease: seconds without a heartbeat after which a process on another host counts as dead.
        max_attempts: how often a run may fail or crash before it is set aside.
    """

    def __init__(
        self,
        directory: SweepDirectory,
        job: Job,
        stop: StopSignals,
        name_of: NameOf,
        allow_eval: bool,
        lease: float,
        max_attempts: int,
    ) -> None:
        self.directory = directory
        self.job = job
        self.stop = stop
        self.name_of = name_of
        self.allow_eval = allow_eval
        self.lease = lease
        self.max_attempts = max_attempts
        metric = directory.sweep.sweep_configuration.get("metric")
        self.metric = metric.get("name") if isinstance(metric, dict) else None

    def new_runs(self, count: int | None) -> Iterator[Result]:
        """Execute runs that nobody has started."""
        sweep = self.directory.sweep
        grid = Grid.of(sweep.compiled, sweep.sweep_configuration)
        progress = Progress(grid.size, self.metric)
        taken = take_points(self.directory, grid, self.allow_eval, self.name_of)
        done = 0
        while (count is None or done < count) and (point := next(taken, None)) is not None:
            result = self._execute(point.attempt, point.config, point.error)
            done += 1
            progress.tell(result, point.place)
            yield result
            self._stop_after(result)

    def resume_lost(self, count: int | None, failed_too: bool) -> Iterator[Result]:
        """Go on with lost runs: preempted and crashed ones first, then failed ones, oldest first."""
        lost = self._lost(failed_too)
        progress = Progress(len(lost) if count is None else min(count, len(lost)), self.metric)
        done = 0
        for run, last in lost:
            if count is not None and done >= count:
                return
            attempt = run.claim(last)
            if attempt is None:
                continue
            done += 1
            result = self._execute(attempt, *self._config_of(run))
            progress.tell(result, done)
            yield result
            self._stop_after(result)
        if done == 0:
            logger.info("no run to resume")

    def again(self, run: RunDirectory, resume: bool, delete_checkpoint: bool) -> Result:
        """Execute one run again, from its checkpoint with `resume`, else from scratch."""
        last = run.last_attempt()
        state = last.state() if last else State.PENDING
        if last is not None and state is State.RUNNING:
            owner = last.owner()
            unseen = owner is None or owner.alive() is None
            if not unseen or not checkpoint.dead_after_lease([last], self.lease):
                where = f"on {owner.host} (process {owner.pid})" if owner else "somewhere"
                raise ConfigError(f"rerun_id: {run.run_id} is running {where}; wait for it, or stop it first")
        if resume and state is State.FINISHED:
            raise ConfigError(
                f"rerun_id: {run.run_id} is finished; to execute it from scratch, leave out resume"
            )
        attempt = run.claim(last)
        if attempt is None:
            raise ConfigError(f"rerun_id: another process has just started {run.run_id}")
        if not resume:
            run.set_checkpoint_aside(delete_checkpoint)
        result = self._execute(attempt, *self._config_of(run))
        Progress(1, self.metric).tell(result, 1)
        self._stop_after(result)
        return result

    def _execute(
        self, attempt: Attempt, config: dict[str, Any] | None, problem: LanguageError | None
    ) -> Result:
        if config is None:
            error = {"type": type(problem).__name__, "message": str(problem), "traceback": ""}
            attempt.finish(State.FAILED, error, {})
            logger.error("%s: %s", attempt.run.run_id, problem)
            return Result(attempt, State.FAILED, None, problem, 0.0)
        return run_attempt(attempt, self.directory.sweep, config, self.job, self.stop)

    def _config_of(self, run: RunDirectory) -> tuple[dict[str, Any] | None, LanguageError | None]:
        sweep = self.directory.sweep
        config = run.config()
        if config is not None:
            return config, None
        try:
            assignment = run.record()["assignment"]
            return sweep.compiled.resolve(sweep.base_config, assignment, self.allow_eval), None
        except LanguageError as error:
            return None, error

    def _lost(self, failed_too: bool) -> list[tuple[RunDirectory, Attempt | None]]:
        urgent: list[tuple[str, RunDirectory, Attempt | None]] = []
        failed: list[tuple[str, RunDirectory, Attempt | None]] = []
        unseen: list[Attempt] = []
        for run in self.directory.runs():
            try:
                run.record()
                last = run.last_attempt()
                if last is None:
                    urgent.append(("", run, None))
                    continue
                state, owner = last.state(), last.owner()
                started = owner.started if owner else ""
                if state is State.RUNNING and (owner is None or owner.alive() is None):
                    unseen.append(last)
                elif state in (State.PREEMPTED, State.CRASHED):
                    urgent.append((started, run, last))
                elif state is State.FAILED and failed_too:
                    failed.append((started, run, last))
            except DirectoryError as error:
                logger.error("%s; the run is left alone", error)
        if unseen:
            logger.info("waiting up to %.0f s for %d runs of other hosts", self.lease, len(unseen))
            urgent += [("", last.run, last) for last in checkpoint.dead_after_lease(unseen, self.lease)]
        ordered = sorted(urgent, key=_age) + sorted(failed, key=_age)
        return [(run, last) for _, run, last in ordered if not self._set_aside(run, last)]

    def _set_aside(self, run: RunDirectory, last: Attempt | None) -> bool:
        if last is None or last.number < self.max_attempts:
            return False
        ends = [Attempt(run, number).end() for number in range(1, last.number + 1)]
        failures = sum(end is None or end.outcome is State.FAILED for end in ends)
        if failures < self.max_attempts:
            return False
        logger.warning(
            "%s: set aside after %d failed attempts; --rerun_id %s tries it again, or a higher max_attempts",
            run.run_id, failures, run.run_id,
        )  # fmt: skip
        return True

    def _stop_after(self, result: Result) -> None:
        if self.stop.received is not None or result.outcome is State.PREEMPTED:
            raise Preempted(self.stop.received or signal.SIGINT)


def _age(item: tuple[str, RunDirectory, Attempt | None]) -> tuple[str, str]:
    return item[0], item[1].run_id


class Progress:
    """One line per run: its place, name, outcome, duration, metric, what was chosen, how much is left."""

    def __init__(self, total: int, metric: str | None) -> None:
        self.total = total
        self.metric = metric
        self.begun = time.monotonic()
        self.first: int | None = None

    def tell(self, result: Result, place: int) -> None:
        """Write the line of a run that has ended."""
        record = result.attempt.run.record()
        self.first = place if self.first is None else self.first
        elapsed = time.monotonic() - self.begun
        left = elapsed / (place - self.first + 1) * (self.total - place)
        value = result.metrics.get(self.metric) if self.metric is not None else None
        reached = "" if value is None else f"{self.metric} {value:.4g}  "
        estimate = f"  ({duration(left)} left)" if place < self.total else ""
        chosen = ", ".join(f"{name}={value}" for name, value in record["assignment"].items())
        logger.info(
            "%*d/%d  %s  %-9s %7s  %s%s%s",
            len(str(self.total)), place, self.total, record.get("name") or record["run_id"], result.outcome,
            duration(result.seconds), reached, chosen, estimate,
        )  # fmt: skip


def duration(seconds: float) -> str:
    """Write a duration for people: `0.4 s`, `3 min 20 s`, `5 h 10 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
