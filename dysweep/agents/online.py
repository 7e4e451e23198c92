"""Runs of a sweep that W&B serves: new ones, and those whose agents died before they started them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass

from dysweep.agents.signals import StopSignals
from dysweep.agents.sources import Claim, Claims, Source, check_resumable
from dysweep.directory.address import check_id
from dysweep.directory.runs import State
from dysweep.errors import ConfigError, DirectoryError, NotFoundError, TrackingError
from dysweep.tracking import handout
from dysweep.tracking.checkpoints import claim_in_wandb, interrupted_runs, is_claimed, restore_checkpoint
from dysweep.tracking.runs import tell_end
from dysweep.tracking.sdk import quiet_sdk

logger = logging.getLogger("dysweep")

_ALIVE = ("running", "preempting")  # marked as preempting, it runs on until its process ends
_MOST_REFUSALS = 3


@dataclass(frozen=True)
class WandbServer:
    """Serves a sweep from W&B.

    Args:
        claims: claims the sweep's runs.
        stop: the signals that end the agent.
        from_wandb: take checkpoints of runs that began elsewhere from W&B.
    """

    claims: Claims
    stop: StopSignals
    from_wandb: bool = False

    def new_runs(self) -> Source:
        """Return the runs that W&B hands out."""
        return HandedOutRuns(self)

    def unstarted_runs(self) -> Iterator[Source]:
        """Return the runs that W&B has handed out, and of which nobody has heard since; one request."""
        directory, watch = self.claims.directory, self.claims.watch
        yield UnstartedRuns(
            self, handout.unstarted_runs(directory.sweep.address, directory.run_ids(), watch.lease)
        )

    def interrupted_runs(self, states: Collection[State]) -> Source:
        """Return the runs that W&B reports in one of these states; one request."""
        names = [str(state) for state in states]
        return InterruptedRuns(self, names, interrupted_runs(self.claims.directory.sweep.address, names))

    def claim_unrecorded(self, run_id: str, resume: bool, *, place: int = 1) -> Claim:
        """Claim a run that only W&B knows.

        Raises:
            NotFoundError: the sweep has no such run.
            ConfigError: it is running, or has finished and is to be resumed.
        """
        sweep = self.claims.directory.sweep
        known = handout.load_run(sweep.address, check_id(run_id, "rerun_id"))
        if known.sweep_id != sweep.sweep_id:
            raise NotFoundError(f"rerun_id: {run_id} is not a run of the sweep {sweep.address}")
        if known.state in _ALIVE:
            raise ConfigError(
                f"rerun_id: W&B reports {run_id} as {known.state}; wait for it, or stop it first"
            )
        check_resumable(run_id, known.state, resume)
        claim = self.claims.new(run_id, self._assignment(run_id, known.config), name=known.name, place=place)
        if claim is None:
            raise ConfigError(f"rerun_id: another process has just started {run_id}")
        return claim

    def _assignment(self, run_id: str, config: Mapping[str, object]) -> dict[str, object]:
        """Return what the sweep chose for a run of W&B's config of it, where much else may be.

        Raises:
            TrackingError: something is missing there.
        """
        names = [parameter.name for parameter in self.claims.directory.sweep.compiled.swept]
        if missing := [name for name in names if name not in config]:
            shown = ", ".join(map(repr, missing))
            raise TrackingError(f"{run_id}: its config in W&B lacks {shown}, which the sweep has chosen")
        return {name: config[name] for name in names}

    def claim_handed_out(self, run_id: str, config: Mapping[str, object], place: int) -> Claim | None:
        """Claim a run that W&B has handed out: a new one, or one that W&B has queued again."""
        claim = self._claim_handed_out(run_id, config, place)
        if claim is not None and self.from_wandb and "dy_config" in config and not self.restore(claim):
            return None
        return claim

    def restore(self, claim: Claim) -> bool:
        """Fetch the checkpoint of a claimed run; if that fails, leave the run to be resumed later."""
        try:
            restore_checkpoint(self.claims.directory.sweep.address, claim.attempt.run)
        except (TrackingError, DirectoryError) as error:
            logger.warning("%s", error)
            claim.attempt.finish(State.PREEMPTED, None, {})
            return False
        return True

    def _claim_handed_out(self, run_id: str, config: Mapping[str, object], place: int) -> Claim | None:
        try:
            claim = self.claims.new(run_id, self._assignment(run_id, config), place=place)
        except TrackingError as error:
            logger.error("%s; it is not executed", error)
            return None
        if claim is not None:
            return claim
        run = self.claims.directory.run(run_id)
        last = run.last_attempt()
        state = last.state() if last is not None else State.PENDING
        if last is not None and self.claims.is_alive(last):
            logger.warning("%s: W&B hands it out again, but it is running; left alone", run_id)
            return None
        # W&B queues a preempted run again, and knows nothing of what happened to it elsewhere since.
        given_up = last is not None and last.given_up(state, self.claims.max_attempts)
        if state in (State.FINISHED, State.KILLED) or given_up:
            kept = f"given up after {last.number} attempts" if given_up and last is not None else state
            logger.warning("%s: W&B hands it out again, but it is %s; left as it is", run_id, kept)
            self._tell_end(run_id, finished=state is State.FINISHED)
            return None
        return self.claims.again(run, last, place=place)

    def _tell_end(self, run_id: str, finished: bool) -> None:
        try:
            with quiet_sdk():
                tell_end(self.claims.directory.sweep.address, run_id, finished)
        except TrackingError as error:
            logger.warning("%s", error)


@dataclass(frozen=True)
class HandedOutRuns:
    """The runs that W&B hands out to this process, until the sweep is done."""

    server: WandbServer
    total: None = None

    def left(self) -> None:
        return None

    def claims(self) -> Generator[Claim, None, None]:
        stop, directory = self.server.stop, self.server.claims.directory
        assigned_runs = handout.assigned_runs(
            directory.sweep.address,
            directory.path,
            lambda: stop.received is not None,
            lambda: stop.end_run(State.KILLED),
        )
        place = 1
        refused: Counter[str] = Counter()
        with closing(assigned_runs):
            for assigned in assigned_runs:
                claim = self.server.claim_handed_out(assigned.run_id, assigned.config, place)
                if claim is not None:
                    yield claim
                    place += 1
                    continue
                refused[assigned.run_id] += 1
                if refused[assigned.run_id] == _MOST_REFUSALS:
                    raise TrackingError(
                        f"{assigned.run_id}: W&B hands it out again and again, and it is left alone each "
                        "time for the reason above; delete the run in W&B"
                    )


@dataclass(frozen=True)
class InterruptedRuns:
    """Runs that were interrupted anywhere, with their checkpoints from W&B."""

    server: WandbServer
    states: list[str]
    run_ids: list[str]

    @property
    def total(self) -> int:
        return len(self.run_ids)

    def left(self) -> None:
        return None

    def claims(self) -> Generator[Claim, None, None]:
        claims = self.server.claims
        address = claims.directory.sweep.address
        for place, run_id in enumerate(self.run_ids, start=1):
            if claims.stopping():
                return
            try:
                told = (address, run_id, self.states)
                token = claim_in_wandb(*told, claims.max_attempts, claims.stopping)
                claim = None if token is None else self._claim(run_id, place)
                if token is None or claim is None or not self.server.restore(claim):
                    continue
                # The checkpoint may have taken longer than others wait for whoever has claimed a run.
                if not is_claimed(*told, token):
                    claim.attempt.finish(State.PREEMPTED, None, {})
                    continue
            except (ConfigError, NotFoundError, TrackingError, DirectoryError) as error:
                logger.warning("%s; the run is left alone", error)
                continue
            yield claim

    def _claim(self, run_id: str, place: int) -> Claim | None:
        claims = self.server.claims
        if run_id not in claims.directory.run_ids():
            return self.server.claim_unrecorded(run_id, resume=True, place=place)
        run = claims.directory.run(run_id)
        last = run.last_attempt()
        if last is not None and claims.is_alive(last):
            return None
        return claims.again(run, last, place=place)


@dataclass(frozen=True)
class UnstartedRuns:
    """Runs that were handed out to agents that died before they recorded them."""

    server: WandbServer
    run_ids: list[str]

    @property
    def total(self) -> int:
        return len(self.run_ids)

    def left(self) -> None:
        return None

    def claims(self) -> Generator[Claim, None, None]:
        for place, run_id in enumerate(self.run_ids, start=1):
            try:
                claim = self.server.claim_unrecorded(run_id, resume=True, place=place)
            except ConfigError:
                continue  # it has been started meanwhile
            except (NotFoundError, TrackingError) as error:
                logger.warning("%s; the run is left alone", error)
                continue
            yield claim
