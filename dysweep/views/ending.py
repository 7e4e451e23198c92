"""What is said when an agent ends: what it has done, how far the sweep is, what is best, what to do next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from dysweep.directory.runs import RESUMABLE, State
from dysweep.directory.sweep import SweepDirectory
from dysweep.errors import DirectoryError
from dysweep.language.metric import Metric, best_of
from dysweep.text import count, counted, short
from dysweep.views.status import SweepStatus

_LABEL_WIDTH = len("whole sweep")


def executed(outcomes: Mapping[str, int], stopped_early: int) -> str:
    """Write what has become of an agent's runs: `3 runs finished, 1 failed`.

    Args:
        outcomes: how many there are of each state.
        stopped_early: how many of those that were killed `early_terminate` has stopped.
    """
    words = [f"{counted(outcomes.get(State.FINISHED.value, 0), 'run')} finished"]
    words += [f"{stopped_early} stopped early"] if stopped_early else []
    for state in State:
        number = outcomes.get(state.value, 0) - (stopped_early if state is State.KILLED else 0)
        words += [f"{number} {state}"] if number > 0 and state is not State.FINISHED else []
    return ", ".join(words)


def ending(
    status: SweepStatus, outcomes: Mapping[str, int], max_attempts: int, agent: str, runs: str, results: str
) -> list[str]:
    """Return lines about the whole sweep, other agents' runs included.

    Args:
        status: the sweep.
        outcomes: how many runs of each state the agent has executed.
        max_attempts: how often a run may fail or crash before it is given up.
        agent: the command that starts such an agent.
        runs: the command that shows the sweep's runs.
        results: the command that compares them by the metric.
    """
    given_up = Counter(run.state for run in status.runs if run.set_aside)
    resumable = any(run.state in RESUMABLE and not run.set_aside for run in status.runs)
    commands = []
    if resumable:
        commands.append(("to resume", f"{agent} --resume"))
    if status.counts.get(State.PENDING):
        commands.append(("to continue", agent))
    if given_up:
        which = next(iter(given_up)) if len(given_up) == 1 else "all"
        commands.append(("to rerun", f"{agent} --rerun {which}"))
    rows = []
    if given_up or status.counts != outcomes:
        rows.append(("whole sweep", _whole(status.counts, sum(given_up.values()), max_attempts)))
    best = _best(status)
    rows += [("best so far", best)] if best else []
    rows += commands or [("to compare", results) if best else ("to see all", runs)]
    return [*status.damaged, *(f"  {label:{_LABEL_WIDTH}}  {text}" for label, text in rows)]


def _whole(counts: Mapping[str, int], given_up: int, max_attempts: int) -> str:
    left = counts.get(State.PENDING, 0)
    words = [f"{count(number)} {state}" for state, number in counts.items() if state != State.PENDING]
    words += [f"{count(left)} left"] if left else []
    tries = counted(max_attempts, "attempt")
    words += [f"{given_up} given up after {tries} that failed"] if given_up else []
    return ", ".join(words)


def _best(status: SweepStatus) -> str:
    metric = Metric.of(status.sweep.sweep_configuration)
    best = None if metric is None else best_of(status.runs, metric)
    if metric is None or best is None:
        return ""
    try:
        assignment = SweepDirectory(status.directory).run(best.run_id).record()["assignment"]
    except DirectoryError:  # damaged since
        assignment = {}
    value = metric.value_of(best.state, best.metrics)
    equal = sum(metric.value_of(run.state, run.metrics) == value for run in status.runs)
    one_of = f"  (1 of {equal} runs with this value)" if equal > 1 else ""
    return f"{metric.shown(best.metrics)}  {best.run_id}  {short(assignment)}{one_of}"
