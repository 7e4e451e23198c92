"""A sweep as one HTML page that needs no network: progress, charts, and a table of its runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from html import escape
from pathlib import Path

from dysweep.directory.runs import State
from dysweep.directory.sweep import SweepDirectory
from dysweep.errors import ConfigError, closest
from dysweep.language.metric import Metric
from dysweep.language.parameter import Parameter
from dysweep.text import count, counted, duration, harmless, short, short_path
from dysweep.views.history import Histories, read_histories
from dysweep.views.page.attempts import time_line
from dysweep.views.page.best import best_of_groups, comparable_by, ranked, table_of_best
from dysweep.views.page.curves import MOST_CHOICES, MOST_GREY, learning_curves, quartiles
from dysweep.views.page.importance import importance_section
from dysweep.views.page.parameters import by_parameter, parallel
from dysweep.views.page.table import table
from dysweep.views.page.theme import COLOURS, MOST_DRAWN, chart, dot, having, is_finite, key, section
from dysweep.views.runs import RunStatus
from dysweep.views.status import SweepStatus

_MOST_PARAMETERS = 12
_MOST_BEST = 5
_MOST_PROBLEMS = 20


def report(status: SweepStatus, metric: str | None = None, by: str | None = None) -> str:
    """Draw a sweep as one self-contained HTML page.

    Args:
        status: the sweep, read with its details.
        metric: name of the metric that the charts are about; the sweep's own by default, or else the one that
            differs between runs and that most of them have.
        by: names of parameters, with commas between; only runs that have them in common are compared when it
            comes to the best. By default those with the word data in their names.

    Raises:
        ConfigError: no run has this metric, or there is no such parameter.
    """
    from plotly.offline import get_plotlyjs

    status = _one_by_one(status)
    metric = _metric(status, metric)
    measured = [run for run in status.runs if metric is not None and is_finite(run.metrics.get(metric))]
    groups = [each for each in comparable_by(status.parameters, by) if by or _varies(each, measured)]
    best = ranked(measured, metric, _goal(status, metric)) if metric is not None else []
    grouped = best_of_groups(best, groups) if groups else []
    histories = read_histories(SweepDirectory(status.directory), status.runs, metric) if metric else None
    parts = [_head(status, metric, [] if groups else best), _progress(status, histories)]
    if metric is None or not measured:
        parts.append("<section>No run has logged a number yet, so there is nothing to compare.</section>")
    else:
        if grouped:
            title = f"Best {metric} by {', '.join(each.name for each in groups)}"
            parts.append(section(title, *table_of_best(grouped, groups, metric)))
        parts += _parameters(status, metric, measured)
        parts += importance_section(status.parameters, metric, measured)
    if metric is not None and histories is not None and histories.curves:
        coloured = [run for run, _ in grouped] if groups else best[:_MOST_BEST]
        parts += _curves(status, metric, histories, coloured, bool(groups))
    if any(run.history for run in status.runs):
        parts.append(section("Attempts by agent", chart(time_line(status.runs), 560)))
    parts.append(section("Runs", *table(status, _first(status, best, grouped), _link(status))))
    title = escape(f"{_name(status)} - dysweep")
    page = Path(__file__).with_name("page").joinpath("page.html").read_text(encoding="utf-8")
    filling = {"title": title, "plotly": get_plotlyjs(), "body": harmless("\n".join(parts))}
    # In one pass: a sweep may be called `{{plotly}}`.
    return re.sub(r"\{\{(\w+)\}\}", lambda place: filling[place[1]], page)


def _metric(status: SweepStatus, wanted: str | None) -> str | None:
    logged: dict[str, list[float]] = {}
    for run in status.runs:
        for name, number in run.metrics.items():
            logged.setdefault(name, []).append(number)
    if wanted is not None and wanted not in logged:
        raise ConfigError(f"--metric: no run has {wanted!r}{closest(wanted, logged)}")
    declared = Metric.of(status.sweep.sweep_configuration)
    own = declared.logged_as(logged) if declared is not None else None
    most = max(logged, key=lambda name: (len(set(logged[name])) > 1, len(logged[name])), default=None)
    return wanted or own or most


def _one_by_one(status: SweepStatus) -> SweepStatus:
    """Return a status whose runs have the parameters one by one, also those inside the values of others."""
    return replace(status, runs=tuple(replace(run, assignment=status.settings(run)) for run in status.runs))


def _goal(status: SweepStatus, metric: str | None) -> str | None:
    """Return whether a metric is to be large or small, if it is the sweep's own."""
    declared = Metric.of(status.sweep.sweep_configuration)
    own = metric is not None and declared is not None and declared.logged_as([metric]) == metric
    return declared.goal if declared is not None and own else None


def _varies(parameter: Parameter, runs: list[RunStatus]) -> bool:
    return len({key(run.assignment[parameter.name]) for run in having([parameter], runs)}) > 1


def _parameters(status: SweepStatus, metric: str, measured: list[RunStatus]) -> list[str]:
    varying = [each for each in status.parameters if not each.is_repeat and _varies(each, measured)]
    parameters = varying[:_MOST_PARAMETERS]
    if not parameters:
        return []
    few = len(varying) > len(parameters)
    notes = [f"The first {len(parameters)} of {len(varying)} parameters."] if few else []
    measured = sorted(measured, key=lambda run: run.metrics[metric])
    parts = []
    always = [parameter for parameter in parameters if parameter.within is None]
    if always and (whole := having(always, measured)):
        many = f"{count(MOST_DRAWN)} of {count(len(whole))} runs." if len(whole) > MOST_DRAWN else ""
        figure = parallel(always, metric, whole)
        width = 110 * (len(always) + 1)
        note = " ".join(filter(None, (*notes, many)))
        parts.append(section(f"Parameters and {metric}", chart(figure, width), note))
    repeats = [each.name for each in status.parameters if each.is_repeat]
    if repeats:
        notes.append(f"Each box holds the repeats ({', '.join(repeats)}).")
    notes.append("A box's line is the median, the dashed one the mean.")
    figure = by_parameter(parameters, metric, measured)
    width = 200 * min(len(parameters), 4)
    return [*parts, section(f"{metric} by parameter", chart(figure, width), " ".join(notes))]


def _curves(
    status: SweepStatus, metric: str, histories: Histories, best: list[RunStatus], of_groups: bool
) -> list[str]:
    curves = histories.curves
    notes = []
    if best:
        chosen = "the best run of each group" if of_groups else f"the best {counted(len(best), 'run')}"
        notes.append(f"In colour {chosen}.")
    else:
        notes.append(f"The sweep declares no goal for {metric}, so no run is the best.")
    others = len(curves) - len(best)
    if others > MOST_GREY:
        notes.append(f"{MOST_GREY} of {count(others)} others in grey.")
    diverged = sum(not all(map(is_finite, (value for _, value in curve))) for curve in curves.values())
    if diverged:
        notes.append(f"{counted(diverged, 'run')} logged NaN or infinity.")
    if len(curves) < len(status.runs):
        notes.append(
            f"{count(len(status.runs) - len(curves))} of {counted(len(status.runs), 'run')} have no curve."
        )
    parts = [
        section(
            f"{metric} over the steps", chart(learning_curves(curves, best, metric), 340), " ".join(notes)
        )
    ]
    shown = [run for run in status.runs if run.run_id in curves]
    parameters = [each for each in status.parameters if not each.is_repeat and _varies(each, shown)]
    if parameters and any(len(curve) > 1 for curve in curves.values()):
        figure = quartiles(curves, parameters[:MOST_CHOICES], shown, metric)
        note = "Median and quartiles of the runs that have come so far; in brackets how many there are."
        parts.append(section(f"{metric} over the steps by parameter", chart(figure, 340), note))
    return parts


def _first(
    status: SweepStatus, best: list[RunStatus], grouped: list[tuple[RunStatus, int]]
) -> list[RunStatus]:
    """Order the runs as people want to open them: the best, then the failed ones, then the others."""
    failed = [run for run in status.runs if run.state in (State.FAILED, State.CRASHED)]
    leading = [*(run for run, _ in grouped), *best[:50], *failed[:100], *best, *status.runs]
    return list({run.run_id: run for run in leading}.values())


def _link(status: SweepStatus) -> Callable[[str], str] | None:
    sweep = status.sweep
    if not sweep.online or sweep.entity is None:
        return None
    from dysweep.tracking.sweeps import page_of_run

    return partial(page_of_run, sweep.address)


def _name(status: SweepStatus) -> str:
    return str(status.sweep.sweep_configuration.get("name") or status.sweep.sweep_id)


def _head(status: SweepStatus, metric: str | None, best: list[RunStatus]) -> str:
    sweep = status.sweep
    place = sweep.address.place if sweep.online else sweep.mode
    seen = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    where = " · ".join(
        map(escape, (f"sweep {sweep.sweep_id}", place, str(short_path(status.directory)), seen))
    )
    facts = []
    if best and metric is not None:
        chosen = f"{best[0].run_id}: {short(best[0].assignment)}"
        facts.append((f"best {metric}", f"{best[0].metrics[metric]:.4g}", chosen))
    seconds = [run.seconds for run in status.runs if run.seconds is not None]
    if seconds:
        mean = duration(sum(seconds) / len(seconds))
        attempts = sum(run.attempts for run in status.runs)
        facts.append(("time in runs", duration(sum(seconds)), f"{mean} a run, {attempts} attempts"))
    cards = "".join(
        f'<div class="card"><span>{escape(what)}</span><b>{escape(value)}</b>'
        f"<small>{escape(more)}</small></div>"
        for what, value, more in facts
    )
    return f'<header><h1>{escape(_name(status))}</h1><p>{where}</p></header><div class="cards">{cards}</div>'


def _progress(status: SweepStatus, histories: Histories | None) -> str:
    counts = {state: status.counts[state] for state in COLOURS if state in status.counts}
    bar = "".join(
        f'<i style="flex:{number};background:{COLOURS[state]}" title="{count(number)} {state}"></i>'
        for state, number in counts.items()
    )
    words = "".join(f"<span>{dot(state)}{count(number)} {state}</span>" for state, number in counts.items())
    total = "" if status.total is None else f"<span>of {count(status.total)} runs</span>"
    problems = [*status.damaged, *(histories.problems if histories is not None else ())]
    more = len(problems) - _MOST_PROBLEMS
    shown = [*problems[:_MOST_PROBLEMS], *([f"and {count(more)} more"] if more > 0 else [])]
    damaged = "".join(f'<p class="damaged">{escape(problem)}</p>' for problem in shown)
    return f'<section><div class="bar">{bar}</div><p class="legend">{words}{total}</p>{damaged}</section>'
