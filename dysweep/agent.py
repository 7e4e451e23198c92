"""An agent: executes new runs, goes on with lost ones, or executes one again; says a line for each."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator
from contextlib import closing
from typing import Any

from dysweep.checkpoint import SweepDirectory, check_id
from dysweep.errors import ConfigError, DirectoryError, LanguageError, NotFoundError
from dysweep.execution import Job, Result, fail_attempt, run_attempt
from dysweep.lost import LostRun, find_lost, given_up
from dysweep.metric import Metric
from dysweep.offline import Grid, NameOf, take_points
from dysweep.progress import Progress
from dysweep.runs import Attempt, RunDirectory, State, Watch
from dysweep.signals import StopSignals

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
        max_attempts: how often a run may fail or crash before it is given up.
        delete_checkpoints: delete the old checkpoint of a run from scratch, instead of setting it aside.
        most: how many runs are executed at most, for the estimate of what is left.
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
        delete_checkpoints: bool,
        most: int | None = None,
    ) -> None:
        self.directory = directory
        self.job = job
        self.stop = stop
        self.name_of = name_of
        self.allow_eval = allow_eval
        self.watch = Watch(lease)
        self.max_attempts = max_attempts
        self.delete_checkpoints = delete_checkpoints
        self.progress = Progress(Metric.of(directory.sweep.sweep_configuration), most)

    def new_runs(self) -> Iterator[Result]:
        """Execute runs that nobody has started."""
        yield from self._assigned_runs() if self.directory.sweep.online else self._grid_runs()

    def _grid_runs(self) -> Iterator[Result]:
        sweep = self.directory.sweep
        grid = Grid.of(sweep.compiled, sweep.sweep_configuration)
        self.progress.begin(grid.size, lambda: grid.size - len(self.directory.run_ids()))
        for point in take_points(self.directory, grid, self.allow_eval, self.name_of):
            result = self._execute(point.attempt, point.config, point.error)
            self.progress.tell(result, point.place)
            yield result

    def _assigned_runs(self) -> Iterator[Result]:
        from dysweep import tracking

        self.progress.begin(None)
        done = 0
        assigned_runs = tracking.assigned_runs(
            self.directory.sweep.path,
            self.directory.path,
            lambda: self.stop.received is not None,
            lambda: self.stop.end_run(State.KILLED),
        )
        with closing(assigned_runs):
            for assigned in assigned_runs:
                claimed = self._claim_assigned(assigned.run_id, assigned.assignment)
                if claimed is None:
                    continue
                result = self._execute(*claimed)
                done += 1
                self.progress.tell(result, done)
                yield result

    def _claim_assigned(
        self, run_id: str, assignment: dict[str, Any]
    ) -> tuple[Attempt, dict[str, Any] | None, LanguageError | None] | None:
        """Claim a run that W&B has given to this process: a new one, or one that W&B has queued again."""
        from dysweep import run_tracking

        attempt = self._record(run_id, assignment, None)
        if attempt is not None:
            return attempt
        run = self.directory.run(run_id)
        last = run.last_attempt()
        state = last.state() if last is not None else State.PENDING
        if last is not None and self._lives(last):
            logger.warning("%s: W&B gives it out again, but it is running; left alone", run_id)
            return None
        if state in (State.FINISHED, State.KILLED) or given_up(run, last, state, self.max_attempts):
            logger.warning("%s: W&B gives it out again, but it is %s; left as it is", run_id, state)
            run_tracking.tell_end(self.directory.sweep.path, run, finished=state is State.FINISHED)
            return None
        claimed = run.claim(last)
        return None if claimed is None else (claimed, *self._config_of(run))

    def _record(
        self, run_id: str, assignment: dict[str, Any], name: str | None
    ) -> tuple[Attempt, dict[str, Any] | None, LanguageError | None] | None:
        """Record a run of W&B's together with its first claim; None if it is recorded already."""
        config, problem = self._resolve(assignment)
        chosen = name or self.name_of(assignment, config)
        attempt = self.directory.start_run(run_id, assignment, chosen, config)
        return None if attempt is None else (attempt, config, problem)

    def lost_runs(
        self, states: Collection[State], *, from_scratch: bool = False, wait: bool = True
    ) -> Iterator[Result]:
        """Go on with lost runs, or execute them again from scratch.

        Args:
            states: which of preempted, crashed and failed.
            from_scratch: leave their checkpoints aside, and do not mind how often they have failed.
            wait: watch runs of other hosts until it is clear whether they are lost too.
        """
        found = find_lost(self.directory, states)
        if self.directory.sweep.online and wait and State.CRASHED in states:
            yield from self._unstarted_runs()
        unseen = {each.last: each for each in found.unseen if each.last is not None}
        self.watch.dead(unseen)
        yield from self._go_on(found.lost, from_scratch)
        if unseen and wait:
            logger.info("watching %d runs of other hosts for up to %.0f s", len(unseen), self.watch.lease)
            dead = self.watch.wait(unseen, lambda: self.stop.received is not None)
            yield from self._go_on([unseen[last] for last in dead], from_scratch)

    def _unstarted_runs(self) -> Iterator[Result]:
        """Execute runs that W&B has given out, and of which nobody has heard since."""
        from dysweep import tracking

        known = self.directory.run_ids()
        lost = tracking.unstarted_runs(self.directory.sweep.path, known, self.watch.lease)
        self.progress.begin(len(lost))
        for place, run_id in enumerate(lost, start=1):
            try:
                claimed = self._claim_unrecorded(run_id, resume=True)
            except ConfigError:
                continue  # it has been started meanwhile
            result = self._again(*claimed, from_scratch=False)
            self.progress.tell(result, place)
            yield result

    def _go_on(self, lost: list[LostRun], from_scratch: bool) -> Iterator[Result]:
        if not from_scratch:
            lost = [each for each in lost if not self._given_up(each)]
        self.progress.begin(len(lost))
        for place, each in enumerate(lost, start=1):
            attempt = each.run.claim(each.last)
            if attempt is None:
                continue
            result = self._again(attempt, *self._config_of(each.run), from_scratch)
            self.progress.tell(result, place)
            yield result

    def _given_up(self, lost: LostRun) -> bool:
        try:
            return given_up(lost.run, lost.last, lost.state, self.max_attempts)
        except DirectoryError as error:
            logger.error("%s; the run is left alone", error)
            return True

    def again(self, run_id: str, resume: bool) -> Iterator[Result]:
        """Execute one run again, from its checkpoint with `resume`, else from scratch."""
        self.progress.begin(1)
        result = self._again(*self._claim_again(run_id, resume), from_scratch=not resume)
        self.progress.tell(result, 1)
        yield result

    def _again(
        self,
        attempt: Attempt,
        config: dict[str, Any] | None,
        problem: LanguageError | None,
        from_scratch: bool,
    ) -> Result:
        if from_scratch:
            attempt.run.set_checkpoint_aside(self.delete_checkpoints)
        return self._execute(attempt, config, problem, from_scratch=from_scratch)

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
        return (owner is not None and owner.alive() is True) or not self.watch.wait([attempt])

    def _execute(
        self,
        attempt: Attempt,
        config: dict[str, Any] | None,
        problem: LanguageError | None,
        *,
        from_scratch: bool = False,
    ) -> Result:
        sweep = self.directory.sweep
        if problem is not None:
            logger.error("%s: %s", attempt.run.run_id, problem)
            return fail_attempt(attempt, sweep, problem, self.stop)
        return run_attempt(attempt, sweep, config or {}, self.job, self.stop, from_scratch=from_scratch)

    def _resolve(self, assignment: dict[str, Any]) -> tuple[dict[str, Any] | None, LanguageError | None]:
        sweep = self.directory.sweep
        try:
            return sweep.compiled.resolve(sweep.base_config, assignment, self.allow_eval), None
        except LanguageError as error:
            return None, error

    def _config_of(self, run: RunDirectory) -> tuple[dict[str, Any] | None, LanguageError | None]:
        try:
            config = run.config()
        except DirectoryError as error:
            logger.warning("%s; its config is made again from its assignment", error)
            config = None
        return (config, None) if config is not None else self._resolve(run.record()["assignment"])


def _check_resumable(run_id: str, state: str, resume: bool) -> None:
    if resume and state == State.FINISHED:
        raise ConfigError(f"rerun_id: {run_id} is finished; to execute it from scratch, leave out resume")
