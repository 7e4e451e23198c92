"""An agent: executes new runs, goes on with lost ones, or executes one again; says a line for each."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from dysweep.checkpoint import SweepDirectory, check_id
from dysweep.errors import ConfigError, DirectoryError, LanguageError, NotFoundError, Preempted
from dysweep.execution import Job, Result, StopSignals, fail_attempt, run_attempt
from dysweep.offline import Grid, NameOf, take_points
from dysweep.runs import Attempt, RunDirectory, State, dead_after_lease

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
        yield from self._assigned_runs(count) if self.directory.sweep.online else self._grid_runs(count)

    def _grid_runs(self, count: int | None) -> Iterator[Result]:
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

    def _assigned_runs(self, count: int | None) -> Iterator[Result]:
        from dysweep import tracking

        progress = Progress(count, self.metric)
        done = 0
        assigned_runs = tracking.assigned_runs(
            self.directory.sweep.path, count, self.directory.path, lambda: self.stop.received is not None
        )
        with closing(assigned_runs):
            for assigned in assigned_runs:
                assigned.when_stopped = self.stop.stop_run
                claimed = self._claim_assigned(assigned.run_id, assigned.assignment)
                if claimed is None:
                    continue
                result = self._execute(*claimed, by_agent=True)
                done += 1
                progress.tell(result, done)
                yield result
                self._stop_after(result)
        if self.stop.received is not None:
            raise Preempted(self.stop.received)

    def _claim_assigned(
        self, run_id: str, assignment: dict[str, Any]
    ) -> tuple[Attempt, dict[str, Any] | None, LanguageError | None] | None:
        """Claim a run that W&B has given to this process: a new one, or one that W&B has queued again."""
        attempt = self._record(run_id, assignment, None)
        if attempt is not None:
            return attempt
        run = self.directory.run(run_id)
        last = run.last_attempt()
        state = last.state() if last is not None else State.PENDING
        if state in (State.FINISHED, State.KILLED) or (last is not None and self._lives(last)):
            logger.warning("%s: W&B gives it out again, but it is %s; left alone", run_id, state)
            return None
        claimed = None if self._set_aside(run, last) else run.claim(last)
        return None if claimed is None else (claimed, *self._config_of(run))

    def _record(
        self, run_id: str, assignment: dict[str, Any], name: str | None
    ) -> tuple[Attempt, dict[str, Any] | None, LanguageError | None] | None:
        """Record a run of W&B's together with its first claim; None if it is recorded already."""
        config, problem = self._resolve(assignment)
        chosen = name or self.name_of(assignment, config)
        attempt = self.directory.start_run(run_id, assignment, chosen, config)
        return None if attempt is None else (attempt, config, problem)

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

    def again(self, run_id: str, resume: bool, delete_checkpoint: bool) -> Result:
        """Execute one run again, from its checkpoint with `resume`, else from scratch."""
        claimed = self._claim_again(run_id, resume)
        if not resume:
            claimed[0].run.set_checkpoint_aside(delete_checkpoint)
        result = self._execute(*claimed, from_scratch=not resume)
        Progress(1, self.metric).tell(result, 1)
        self._stop_after(result)
        return result

    def _claim_again(
        self, run_id: str, resume: bool
    ) -> tuple[Attempt, dict[str, Any] | None, LanguageError | None]:
        if self.directory.sweep.online and run_id not in self.directory.run_ids():
            return self._claim_unrecorded(check_id(run_id, "rerun_id"), resume)
        run = self.directory.run(run_id)
        last = run.last_attempt()
        if last is not None and self._lives(last):
            owner = last.owner()
            where = f"on {owner.host} (process {owner.pid})" if owner else "somewhere"
            raise ConfigError(f"rerun_id: {run_id} is running {where}; wait for it, or stop it first")
        _check_resumable(run_id, run.state(), resume)
        attempt = run.claim(last)
        if attempt is None:
            raise ConfigError(f"rerun_id: another process has just started {run_id}")
        return attempt, *self._config_of(run)

    def _claim_unrecorded(
        self, run_id: str, resume: bool
    ) -> tuple[Attempt, dict[str, Any] | None, LanguageError | None]:
        """Claim a run that only W&B knows."""
        from dysweep import tracking

        sweep = self.directory.sweep
        known = tracking.load_run(sweep.path, run_id)
        if known.sweep_id != sweep.sweep_id:
            raise NotFoundError(f"rerun_id: {run_id} is no run of the sweep {sweep.path}")
        if known.state == State.RUNNING:
            raise ConfigError(f"rerun_id: {run_id} is running, says W&B; wait for it, or stop it first")
        _check_resumable(run_id, known.state, resume)
        names = (parameter.name for parameter in sweep.compiled.swept)
        assignment = {name: known.config[name] for name in names if name in known.config}
        claimed = self._record(run_id, assignment, known.name)
        if claimed is None:
            raise ConfigError(f"rerun_id: another process has just started {run_id}")
        return claimed

    def _lives(self, attempt: Attempt) -> bool:
        """Tell whether an attempt is being executed; where that cannot be seen, watch it for one lease."""
        if attempt.state() is not State.RUNNING:
            return False
        owner = attempt.owner()
        if owner is not None and owner.alive():
            return True
        return not dead_after_lease([attempt], self.lease)

    def _execute(
        self,
        attempt: Attempt,
        config: dict[str, Any] | None,
        problem: LanguageError | None,
        *,
        by_agent: bool = False,
        from_scratch: bool = False,
    ) -> Result:
        sweep = self.directory.sweep
        if problem is not None:
            logger.error("%s: %s", attempt.run.run_id, problem)
            return fail_attempt(attempt, sweep, problem, self.stop, by_agent=by_agent)
        return run_attempt(
            attempt, sweep, config or {}, self.job, self.stop, by_agent=by_agent, from_scratch=from_scratch
        )

    def _resolve(self, assignment: dict[str, Any]) -> tuple[dict[str, Any] | None, LanguageError | None]:
        sweep = self.directory.sweep
        try:
            return sweep.compiled.resolve(sweep.base_config, assignment, self.allow_eval), None
        except LanguageError as error:
            return None, error

    def _config_of(self, run: RunDirectory) -> tuple[dict[str, Any] | None, LanguageError | None]:
        config = run.config()
        return (config, None) if config is not None else self._resolve(run.record()["assignment"])

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
            urgent += [("", last.run, last) for last in dead_after_lease(unseen, self.lease)]
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


def _check_resumable(run_id: str, state: str, resume: bool) -> None:
    if resume and state == State.FINISHED:
        raise ConfigError(f"rerun_id: {run_id} is finished; to execute it from scratch, leave out resume")


def _age(item: tuple[str, RunDirectory, Attempt | None]) -> tuple[str, str]:
    return item[0], item[1].run_id


class Progress:
    """One line per run: its place, name, outcome, duration, metric, what was chosen, how much is left."""

    def __init__(self, total: int | None, metric: str | None) -> None:
        self.total = total
        self.metric = metric
        self.begun = time.monotonic()
        self.first: int | None = None

    def tell(self, result: Result, place: int) -> None:
        """Write the line of a run that has ended."""
        record = result.attempt.run.record()
        value = result.metrics.get(self.metric) if self.metric is not None else None
        reached = "" if value is None else f"{self.metric} {value:.4g}  "
        chosen = ", ".join(f"{name}={value}" for name, value in record["assignment"].items())
        logger.info(
            "%s  %s  %-9s %7s  %s%s%s",
            self._count(place), record.get("name") or record["run_id"], result.outcome,
            duration(result.seconds), reached, chosen, self._estimate(place),
        )  # fmt: skip

    def _count(self, place: int) -> str:
        return str(place) if self.total is None else f"{place:{len(str(self.total))}}/{self.total}"

    def _estimate(self, place: int) -> str:
        self.first = place if self.first is None else self.first
        if self.total is None or place >= self.total:
            return ""
        elapsed = time.monotonic() - self.begun
        return f"  ({duration(elapsed / (place - self.first + 1) * (self.total - place))} left)"


def duration(seconds: float) -> str:
    """Write a duration for people: `0.4 s`, `3 min 20 s`, `5 h 10 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
