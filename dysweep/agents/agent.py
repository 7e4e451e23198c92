"""An agent: executes the runs of its sources one after the other, and says a line for each."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing

from dysweep.agents.execution import Executor, Result
from dysweep.agents.progress import Progress
from dysweep.agents.sources import Claims, OneRun, Server, Source, resumable_sources
from dysweep.directory.runs import INTERRUPTED, RESUMABLE, State
from dysweep.errors import TrackingError
from dysweep.settings import ResumableSweepConfig

_MOST_REFUSED = 3  # runs in a row that W&B does not start, though it answers


def work_through(
    sources: Iterable[Source], executor: Executor, progress: Progress
) -> Generator[Result, None, None]:
    """Execute every claim of the sources.

    Raises:
        TrackingError: W&B cannot be reached, or has refused one run after the other.
    """
    refused = 0
    for source in sources:
        progress.begin(source.total, source.left)
        # Closed at once when the caller stops: W&B's agent waits in it for the end of its run.
        with closing(source.claims()) as claims:
            for claim in claims:
                result = executor.execute(claim)
                progress.tell(result)
                yield result
                if not isinstance(result.error, TrackingError):
                    refused = 0
                elif (refused := refused + (result.outcome is State.FAILED)) == _MOST_REFUSED:
                    raise result.error


def sources_of(config: ResumableSweepConfig, claims: Claims, server: Server) -> Iterator[Source]:
    """Choose where the agent of these settings gets its runs from.

    Args:
        config: the settings.
        claims: claims the sweep's runs.
        server: who serves the sweep.
    """
    if config.from_wandb:
        # Preempted ones W&B hands out again itself, as new ones.
        states = [State.CRASHED, State.FAILED] if config.resume else [State.CRASHED]
        yield from server.unstarted_runs()
        yield server.interrupted_runs(states)
        if not config.resume:
            yield server.new_runs()
            yield server.interrupted_runs(states)
    elif config.rerun_id is not None:
        yield OneRun(claims, server, config.rerun_id, config.resume)
    elif config.resume or config.rerun is not None:
        states = [*RESUMABLE] if config.rerun in (None, "all") else [State(config.rerun)]
        from_scratch = not config.resume
        yield from resumable_sources(claims, server, states, from_scratch=from_scratch)
    elif config.recover:
        yield from resumable_sources(claims, server, INTERRUPTED, wait=False)
        yield server.new_runs()
        yield from resumable_sources(claims, server, INTERRUPTED)
    else:
        yield server.new_runs()
