"""Where an agent gets its runs from.

A source gives claims: runs that this process, and no other, may execute. New runs come from who serves the
sweep (`DirectoryServer`, `WandbServer`); interrupted and failed ones, and one that is named, from the records
of the directory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Generator, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from dysweep.directory.heartbeat import Heartbeat, Watch
from dysweep.directory.reading import read_each
from dysweep.directory.runs import Attempt, RunDirectory, State
from dysweep.directory.sweep import Sweep, SweepDirectory
from dysweep.errors import ConfigError, DirectoryError, LanguageError
from dysweep.language.naming import NameOf

logger = logging.getLogger("dysweep")

T = TypeVar("T")


@dataclass(frozen=True)
class Claim:
    """A run that this process may execute now.

    Args:
        sweep: the definition of the sweep that the run is of.
        attempt: the attempt that the process has claimed.
        assignment: what the sweep chose for the run.
        name: the run's name; None if W&B chooses it.
        config: the run's config; None if the assignment does not give one.
        problem: why not.
        place: its place among the source's runs, 1 for the first.
        from_scratch: begin the W&B run anew, instead of continuing it.
    """

    sweep: Sweep
    attempt: Attempt
    assignment: dict[str, Any]
    name: str | None
    config: dict[str, Any] | None
    problem: LanguageError | None = None
    place: int = 1
    from_scratch: bool = False

    @property
    def run_id(self) -> str:
        return self.attempt.run.run_id

    def track(self, kind: Callable[..., T], **options: Any) -> T:
        """Make the W&B run of the claim: a `TrackedRun`, or a `ProgramRun`."""
        run, config = self.attempt.run, self.config or {}
        from_scratch = self.from_scratch
        return kind(self.sweep, run, self.assignment, self.name, config, from_scratch=from_scratch, **options)


class Source(Protocol):
    """Gives claims."""

    @property
    def total(self) -> int | None:
        """How many runs it has at most; None if nobody knows."""

    def left(self) -> int | None:
        """Return how many nobody has started yet; None for all whose places are yet to come."""

    def claims(self) -> Generator[Claim, None, None]:
        """Claim one run after the other."""


class Server(Protocol):
    """Who serves the new runs of a sweep."""

    def new_runs(self) -> Source:
        """Return the runs that nobody has started."""

    def unstarted_runs(self) -> Iterator[Source]:
        """Return the runs that the server has handed out, and whose agents died before they recorded them."""

    def interrupted_runs(self, states: Collection[State]) -> Source:
        """Return the runs that the server reports in one of these states."""

    def claim_unrecorded(self, run_id: str, resume: bool) -> Claim:
        """Claim a run that only the server knows."""


@dataclass(frozen=True)
class Claims:
    """Claims runs of one sweep for this process.

    Args:
        directory: the sweep's directory.
        name_of: function (assignment, config) -> a new run's name.
        allow_eval: whether code in the sweep may run.
        max_attempts: how often a run may fail or crash before it is given up.
        delete_checkpoints: delete the old checkpoint of a run from scratch, instead of setting it aside.
        watch: judges attempts on other hosts.
        beat: seconds between two signs of life of an attempt.
        stopping: tells whether this process is told to stop.
    """

    directory: SweepDirectory
    name_of: NameOf
    allow_eval: bool
    max_attempts: int
    delete_checkpoints: bool
    watch: Watch
    beat: float
    stopping: Callable[[], bool] = lambda: False

    def new(
        self,
        run_id: str,
        assignment: dict[str, Any],
        *,
        name: str | None = None,
        place: int = 1,
        definition: int = 1,
    ) -> Claim | None:
        """Record a run together with its first claim; return None if it is recorded already.

        Args:
            run_id: the run's id.
            assignment: what the sweep chose for it.
            name: its name; made by `name_of` if None.
            place: its place among the source's runs.
            definition: which of the sweep's definitions it is of.
        """
        sweep = self.directory.definition(definition)
        config, problem = self._resolve(sweep, assignment)
        name = name or self.name_of(assignment, config)
        attempt = self.directory.start_run(run_id, assignment, name, config, definition)
        return None if attempt is None else Claim(sweep, attempt, assignment, name, config, problem, place)

    def again(
        self, run: RunDirectory, last: Attempt | None, *, place: int = 1, from_scratch: bool = False
    ) -> Claim | None:
        """Claim the next attempt of a recorded run; return None if another process was faster.

        Args:
            run: the run.
            last: its last attempt that this process knows of.
            place: its place among the source's runs.
            from_scratch: leave its checkpoint aside.
        """
        # The claim before the checkpoint is touched: two that rerun at once must not both set it aside.
        state = None if last is None else last.state()
        attempt = run.claim(last)
        if attempt is None:
            return None
        if last is not None and last.end() is None:
            self._let_leave(last, attempt)
            if state is State.PREEMPTED:
                last.record_requeue()
        if from_scratch:
            run.set_checkpoint_aside(self.delete_checkpoints)
        record = run.record()
        sweep, assignment = self.directory.definition(record["definition"]), record["assignment"]
        config, problem = self._config_of(run, sweep, assignment)
        return Claim(sweep, attempt, assignment, record.get("name"), config, problem, place, from_scratch)

    def after_crash(self, claim: Claim) -> Claim | None:
        """Claim the next attempt of a run that this process has executed, if that has crashed."""
        last = claim.attempt
        if last.state() is not State.CRASHED or last.given_up(State.CRASHED, self.max_attempts):
            return None
        return self.again(last.run, last, place=claim.place)

    def _let_leave(self, last: Attempt, attempt: Attempt) -> None:
        """Let the process of the last attempt leave its function, where it could run on unseen."""
        owner = last.owner()
        if owner is not None and not owner.is_in_sight():
            # As after the failure of a node that only SLURM could not reach.
            with Heartbeat(attempt, self.beat, when_superseded=lambda: None):
                self.watch.let_leave(last, self.beat, self.stopping)

    def is_alive(self, attempt: Attempt) -> bool:
        """Return whether an attempt is being executed; one out of sight is watched for one lease."""
        if attempt.state() is not State.RUNNING:
            return False
        return not attempt.unseen() or not self.watch.wait([attempt])

    def _config_of(
        self, run: RunDirectory, sweep: Sweep, assignment: dict[str, Any]
    ) -> tuple[dict[str, Any] | None, LanguageError | None]:
        try:
            config = run.config()
        except DirectoryError as error:
            logger.warning("%s; its config is made again from its assignment", error)
            config = None
        return (config, None) if config is not None else self._resolve(sweep, assignment)

    def _resolve(
        self, sweep: Sweep, assignment: dict[str, Any]
    ) -> tuple[dict[str, Any] | None, LanguageError | None]:
        try:
            return sweep.compiled.resolve(sweep.base_config, assignment, self.allow_eval), None
        except LanguageError as error:
            return None, error


@dataclass(frozen=True)
class Resumable:
    """A run that may be resumed.

    Args:
        run: its directory.
        last: its last attempt; None if it was never started.
        state: preempted, crashed or failed.
        started: when the last attempt began, ISO 8601 in UTC.
    """

    run: RunDirectory
    last: Attempt | None
    state: State
    started: str

    @property
    def urgency(self) -> tuple[bool, str, str]:
        """Sorts interrupted runs before failed ones, and older ones before newer ones."""
        return self.state is State.FAILED, self.started, self.run.run_id


@dataclass(frozen=True)
class Findings:
    """What a look at all runs has found, each list with the most urgent first.

    Args:
        resumable: runs that may be resumed.
        unseen: runs that are being executed on hosts out of sight, as if they had crashed.
    """

    resumable: list[Resumable] = field(default_factory=list)
    unseen: list[Resumable] = field(default_factory=list)


def find_resumable(directory: SweepDirectory, states: Collection[State]) -> Findings:
    """Look at all runs of a sweep; a damaged one is named and left alone.

    Args:
        directory: the sweep's directory.
        states: which of preempted, crashed and failed are wanted.
    """
    found = Findings()

    def look(run: RunDirectory) -> tuple[list[Resumable], Resumable] | None:
        """Return a run that is wanted, with the list that it belongs to."""
        try:
            last = run.last_attempt()
            end = None if last is None else last.end()
            if end is not None and end.outcome not in states:
                return None
            # Read now, so that a damaged run is left alone before anything of it is claimed.
            run.record()
            if last is None:
                return found.resumable, Resumable(run, None, State.CRASHED, "")
            state, owner = last.state(), last.owner()
            started = owner.started if owner else ""
            if state in states:
                return found.resumable, Resumable(run, last, state, started)
            if state is State.RUNNING and State.CRASHED in states and last.unseen():
                return found.unseen, Resumable(run, last, State.CRASHED, started)
        except DirectoryError as error:
            logger.error("%s; the run is left alone", error)
        return None

    for wanted in filter(None, read_each(look, directory.runs())):
        whose, resumable = wanted
        whose.append(resumable)
    found.resumable.sort(key=lambda each: each.urgency)
    found.unseen.sort(key=lambda each: each.urgency)
    return found


@dataclass(frozen=True)
class ResumableRuns:
    """Runs that were found to be resumable, to resume or to rerun from scratch."""

    claims_of: Claims
    found: list[Resumable]
    from_scratch: bool = False

    @property
    def total(self) -> int:
        return len(self.found)

    def left(self) -> None:
        return None

    def claims(self) -> Generator[Claim, None, None]:
        for place, each in enumerate(self.found, start=1):
            claim = self.claims_of.again(each.run, each.last, place=place, from_scratch=self.from_scratch)
            while claim is not None:
                yield claim
                # Executed meanwhile: a program can crash without its agent, and is then resumed at once.
                claim = self.claims_of.after_crash(claim)


@dataclass(frozen=True)
class OneRun:
    """One run that the user has named: resumed, or rerun from scratch."""

    claims_of: Claims
    server: Server
    run_id: str
    resume: bool
    total: int = 1

    def left(self) -> None:
        return None

    def claims(self) -> Generator[Claim, None, None]:
        if self.run_id not in self.claims_of.directory.run_ids():
            yield self.server.claim_unrecorded(self.run_id, self.resume)
            return
        run = self.claims_of.directory.run(self.run_id)
        last = run.last_attempt()
        if last is not None and self.claims_of.is_alive(last):
            owner = last.owner()
            where = f"on {owner.host} (process {owner.pid})" if owner else "somewhere"
            raise ConfigError(f"rerun_id: {self.run_id} is running {where}; wait for it, or stop it first")
        check_resumable(self.run_id, run.state(), self.resume)
        claim = self.claims_of.again(run, last, from_scratch=not self.resume)
        if claim is None:
            raise ConfigError(f"rerun_id: another process has just started {self.run_id}")
        yield claim


def check_resumable(run_id: str, state: str, resume: bool) -> None:
    """Refuse to resume a run that has finished, and to execute one that was deleted in W&B.

    Raises:
        ConfigError: it is one of these.
    """
    if state == State.GONE:
        raise ConfigError(f"rerun_id: {run_id} was deleted in W&B, which refuses its id for ever")
    if resume and state == State.FINISHED:
        raise ConfigError(f"rerun_id: {run_id} is finished; to rerun it from scratch, leave out resume")


def resumable_sources(
    claims: Claims,
    server: Server,
    states: Collection[State],
    *,
    from_scratch: bool = False,
    wait: bool = True,
) -> Iterator[Source]:
    """Return the sources of runs to resume, or to rerun from scratch however often they have failed.

    Args:
        claims: claims the sweep's runs.
        server: who serves the sweep.
        states: which of preempted, crashed and failed are wanted.
        from_scratch: leave their checkpoints aside.
        wait: watch runs on hosts out of sight until it is clear whether they have crashed.
    """
    # All are listed before any is executed: one that was handed out, and fails now, is not for this command.
    found = find_resumable(claims.directory, states)
    if wait and State.CRASHED in states:
        yield from server.unstarted_runs()
    unseen = {each.last: each for each in found.unseen if each.last is not None}
    # The clock of the watch begins here, and runs while the others are executed.
    claims.watch.dead(unseen)
    yield ResumableRuns(claims, _within_attempts(claims, found.resumable, from_scratch), from_scratch)
    if unseen and wait:
        logger.info("watching %d runs of other hosts for up to %.0f s", len(unseen), claims.watch.lease)
        crashed = [unseen[last] for last in claims.watch.wait(unseen, claims.stopping)]
        yield ResumableRuns(claims, _within_attempts(claims, crashed, from_scratch), from_scratch)


def _within_attempts(claims: Claims, found: list[Resumable], from_scratch: bool) -> list[Resumable]:
    return found if from_scratch else [each for each in found if not _is_given_up(claims, each)]


def _is_given_up(claims: Claims, each: Resumable) -> bool:
    try:
        given_up = each.last is not None and each.last.given_up(each.state, claims.max_attempts)
    except DirectoryError as error:
        logger.error("%s; the run is left alone", error)
        return True
    if given_up and each.last is not None:
        logger.warning(
            "%s: given up after %d attempts; --rerun_id %s starts it again, --max_attempts allows it more",
            each.run.run_id, each.last.number, each.run.run_id,
        )  # fmt: skip
    return given_up
