"""A sweep as one HTML page that needs no network: progress, charts, and a table of its runs."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timezone
from html import escape
from pathlib import Path
from typing import Any

from dysweep.directory.runs import State
from dysweep.errors import ConfigError, closest
from dysweep.language.metric import Metric
from dysweep.language.parameter import Parameter
from dysweep.text import count, duration, harmless, last_line, short, short_path, short_value
from dysweep.views.runs import RunStatus
from dysweep.views.status import SweepStatus

try:
    import plotly.graph_objects as go
    from plotly.io import to_html
    from plotly.offline import get_plotlyjs
    from plotly.subplots import make_subplots
except ImportError:
    raise ConfigError('--html: it needs plotly: pip install "dysweep[report]"') from None

_COLOURS = {
    State.FINISHED.value: "#2f9e6e",
    State.RUNNING.value: "#2b8cbe",
    State.PREEMPTED.value: "#e8a33d",
    State.FAILED.value: "#d64550",
    State.CRASHED.value: "#8c2d5b",
    State.KILLED.value: "#7a6bb0",
    State.GONE.value: "#a3a8b3",
    State.PENDING.value: "#d5d9e0",
}
_ACCENT = "#35608f"
_FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
_LONGEST_LABEL = 28
_LONGEST_KEY = 80
_MOST_PARAMETERS = 12
_MOST_BOXES = 12
_MOST_TICKS = 30
_SHOWN_POINTS = 1_000
_SPREAD = 0.3  # of the lines through one value, so that each is seen


def report(status: SweepStatus, metric: str | None = None) -> str:
    """Draw a sweep as one self-contained HTML page.

    Args:
        status: the sweep, read with its details.
        metric: name of the metric that the charts are about; the sweep's own by default, or else the one that
            differs between runs and that most of them have.

    Raises:
        ConfigError: no run has this metric.
    """
    status = _one_by_one(status)
    metric = _metric(status, metric)
    measured = [run for run in status.runs if metric is not None and _is_finite(run.metrics.get(metric))]
    parts = [_head(status, metric, measured), _progress(status)]
    varying = [parameter for parameter in status.parameters if _varies(parameter, measured)]
    parameters = varying[:_MOST_PARAMETERS]
    few = (
        f"The first {len(parameters)} of {len(varying)} parameters. "
        if len(varying) > len(parameters)
        else ""
    )
    if metric is None or not measured:
        parts.append("<section>No run has logged a number yet, so there is nothing to compare.</section>")
    elif parameters:
        measured.sort(key=lambda run: run.metrics[metric])
        always = [parameter for parameter in parameters if parameter.within is None]
        if always and (whole := _having(always, measured)):
            parts.append(_section(f"Parameters and {metric}", _parallel(always, metric, whole), few))
        note = few + "A box's line is the median, the dashed one the mean."
        parts.append(_section(f"{metric} by parameter", _by_parameter(parameters, metric, measured), note))
    if any(run.history for run in status.runs):
        parts.append(_section("Attempts by agent", _time_line(status.runs)))
    parts.append(f"<section><h2>Runs</h2>{_table(status)}</section>")
    title = escape(f"{_name(status)} - dysweep")
    page = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
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


def _is_finite(number: float | None) -> bool:
    return number is not None and math.isfinite(number)


def _varies(parameter: Parameter, runs: list[RunStatus]) -> bool:
    return len({_key(run.assignment[parameter.name]) for run in _having([parameter], runs)}) > 1


def _having(parameters: list[Parameter], runs: list[RunStatus]) -> list[RunStatus]:
    """Leave out runs of which something is not known, as of those that dysweep 0.1 began."""
    return [run for run in runs if all(parameter.name in run.assignment for parameter in parameters)]


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def _name(status: SweepStatus) -> str:
    return str(status.sweep.sweep_configuration.get("name") or status.sweep.sweep_id)


def _head(status: SweepStatus, metric: str | None, measured: list[RunStatus]) -> str:
    sweep = status.sweep
    place = sweep.address.place if sweep.online else sweep.mode
    seen = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    where = " · ".join(
        map(escape, (f"sweep {sweep.sweep_id}", place, str(short_path(status.directory)), seen))
    )
    facts = []
    declared = Metric.of(sweep.sweep_configuration)
    if measured and metric is not None and declared is not None and declared.logged_as([metric]) == metric:
        choose = max if declared.goal == "maximize" else min
        best = choose(measured, key=lambda run: run.metrics[metric])
        chosen = f"{best.run_id}: {short(best.assignment)}"
        facts.append((f"best {metric}", f"{best.metrics[metric]:.4g}", chosen))
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


def _progress(status: SweepStatus) -> str:
    counts = {state: status.counts[state] for state in _COLOURS if state in status.counts}
    bar = "".join(
        f'<i style="flex:{number};background:{_COLOURS[state]}" title="{count(number)} {state}"></i>'
        for state, number in counts.items()
    )
    words = "".join(f"<span>{_dot(state)}{count(number)} {state}</span>" for state, number in counts.items())
    total = "" if status.total is None else f"<span>of {count(status.total)} runs</span>"
    damaged = "".join(f'<p class="damaged">{escape(problem)}</p>' for problem in status.damaged)
    return f'<section><div class="bar">{bar}</div><p class="legend">{words}{total}</p>{damaged}</section>'


def _dot(state: str) -> str:
    return f'<i style="background:{_COLOURS[state]}"></i>'


def _section(title: str, figure: go.Figure, note: str = "") -> str:
    figure.update_layout(font={"family": _FONT, "size": 13, "color": "#1c2530"}, template="plotly_white")
    config = {
        "displaylogo": False,
        "responsive": True,
        "modeBarButtonsToRemove": ["sendChartToCloud"],  # it would upload the chart
        "plotlyServerURL": "",
    }
    chart = to_html(figure, config=config, include_plotlyjs=False, full_html=False)
    return f"<section><h2>{escape(title)}</h2>{f'<p>{note}</p>' if note else ''}{chart}</section>"


def _escaped(text: str) -> str:
    """Keep plotly from taking a text for markup; only the ticks of parallel coordinates are no markup."""
    return escape(text, quote=False)


def _text(value: Any) -> str:
    return short_value(value, _LONGEST_LABEL)


def _choices(parameter: Parameter, runs: list[RunStatus]) -> tuple[list[str], list[str]]:
    """Return the text of each run's value, and all texts in the order in which the values were declared."""
    chosen = [run.assignment[parameter.name] for run in runs]
    declared = [parameter.encode(index) for index in range(len(parameter.values))]
    texts = {_key(value): _text(value) for value in (*declared, *chosen)}
    present = {_key(value) for value in chosen}
    often = Counter(texts[key] for key in present)
    labels = {
        key: text if often[text] == 1 else key if len(key) <= _LONGEST_KEY else f"{text} ({place})"
        for place, (key, text) in enumerate(texts.items(), start=1)
        if key in present
    }
    return [labels[_key(value)] for value in chosen], list(labels.values())


def _numbers(parameter: Parameter, runs: list[RunStatus]) -> list[float] | None:
    """Return the numbers that were chosen for the runs; None for texts, and for a few declared numbers."""
    chosen = [run.assignment[parameter.name] for run in runs]
    numbers = [float(each) for each in chosen if _is_number(each)]
    few = 0 < len(parameter.values) <= _MOST_BOXES
    return None if few or len(numbers) < len(chosen) else numbers


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_logarithmic(parameter: Parameter, numbers: list[float]) -> bool:
    return "log" in str(parameter.node.get("distribution", "")) and min(numbers) > 0


def _parallel(parameters: list[Parameter], metric: str, runs: list[RunStatus]) -> go.Figure:
    results = [run.metrics[metric] for run in runs]
    axes = [_axis(parameter, runs) for parameter in parameters]
    axes.append({"label": _escaped(metric), "values": results})
    line = {"color": results, "colorscale": "Viridis", "showscale": True, "colorbar": {"thickness": 12}}
    figure = go.Figure(go.Parcoords(dimensions=axes, line=line, tickfont={"size": 12}))
    return figure.update_layout(height=420, margin={"l": 110, "r": 40, "t": 60, "b": 30})


def _axis(parameter: Parameter, runs: list[RunStatus]) -> dict[str, Any]:
    """Return an axis of the parallel coordinates; runs come in the order of their results."""
    axis: dict[str, Any] = {"label": _escaped(parameter.name)}
    numbers = _numbers(parameter, runs)
    if numbers is None:
        chosen, labels = _choices(parameter, runs)
        place_of = {label: place for place, label in enumerate(labels)}
        beside = (_SPREAD * (rank / len(runs) - 0.5) for rank in range(len(runs)))
        places = [place_of[label] + offset for label, offset in zip(chosen, beside, strict=True)]
        ends = [-_SPREAD, len(labels) - 1 + _SPREAD]
        ticks = [*range(0, len(labels), math.ceil(len(labels) / _MOST_TICKS))]
        return axis | {
            "values": places,
            "range": ends,
            "tickvals": ticks,
            "ticktext": [labels[tick] for tick in ticks],
        }
    if _is_logarithmic(parameter, numbers):
        exponents = [math.log10(number) for number in numbers]
        ticks = [*range(math.floor(min(exponents)), math.ceil(max(exponents)) + 1)]
        texts = [f"{10.0**tick:g}" for tick in ticks]
        return axis | {"values": exponents, "tickvals": ticks, "ticktext": texts}
    return axis | {"values": numbers}


def _by_parameter(parameters: list[Parameter], metric: str, runs: list[RunStatus]) -> go.Figure:
    columns = len(parameters) if len(parameters) <= 4 else 3
    rows = math.ceil(len(parameters) / columns)
    titles = [_escaped(parameter.name) for parameter in parameters]
    gaps = {"vertical_spacing": 0.22 / rows, "horizontal_spacing": 0.04}
    figure = make_subplots(rows, columns, subplot_titles=titles, shared_yaxes="all", **gaps)
    for place, parameter in enumerate(parameters):
        shown = _having([parameter], runs)
        results = [run.metrics[metric] for run in shown]
        row, column = divmod(place, columns)
        where = {"row": row + 1, "col": column + 1}
        numbers = _numbers(parameter, shown)
        if numbers is None:
            chosen, labels = _choices(parameter, shown)
            figure.add_trace(_boxes([_escaped(label) for label in chosen], results), **where)
            order = {"categoryorder": "array", "categoryarray": [_escaped(label) for label in labels]}
            figure.update_xaxes(type="category", **order, **where)
        else:
            marker = {"color": _ACCENT, "opacity": 0.6, "size": 6}
            figure.add_trace(go.Scattergl(x=numbers, y=results, mode="markers", marker=marker), **where)
            scale = "log" if _is_logarithmic(parameter, numbers) else "linear"
            figure.update_xaxes(type=scale, **where)
    figure.update_yaxes(title_text=_escaped(metric), col=1)
    margin = {"l": 60, "r": 20, "t": 50, "b": 40}
    return figure.update_layout(height=90 + 260 * rows, showlegend=False, margin=margin)


def _boxes(chosen: list[str], results: list[float]) -> go.Box:
    return go.Box(
        x=chosen,
        y=results,
        boxmean=True,
        boxpoints="all" if len(results) <= _SHOWN_POINTS else False,
        jitter=0.5,
        pointpos=0,
        fillcolor="rgba(53,96,143,0.15)",
        line={"color": _ACCENT, "width": 1.5},
        marker={"size": 4, "opacity": 0.5, "color": _ACCENT},
    )


def _time_line(runs: Iterable[RunStatus]) -> go.Figure:
    now = datetime.now(timezone.utc)
    rows = []
    for run in runs:
        for number, attempt in enumerate(run.history, start=1):
            if attempt.started is None:
                continue
            begun = datetime.fromisoformat(attempt.started)
            ended = now if attempt.outcome == State.RUNNING else begun  # of a crash nobody may know when
            if attempt.ended is not None:
                ended = datetime.fromisoformat(attempt.ended)
            job = f"job {attempt.slurm_job_id}" if attempt.slurm_job_id else ""
            agent = _escaped(" · ".join(filter(None, (attempt.host, str(attempt.pid or ""), job))))
            chosen = _escaped(_text(short(run.assignment)))
            told = f"{run.run_id}, attempt {number}: {attempt.outcome}<br>{chosen}"
            milliseconds = max(0.0, (ended - begun).total_seconds() * 1000)
            rows.append((attempt.outcome, agent, attempt.started, milliseconds, told))
    rows.sort(key=lambda row: row[2])
    agents = list(dict.fromkeys(agent for _, agent, *_ in rows))
    figure = go.Figure()
    for outcome in _COLOURS:
        bars = [row for row in rows if row[0] == outcome]
        if bars:
            _, names, starts, lengths, texts = zip(*bars, strict=True)
            marker = {"color": _COLOURS[outcome], "line": {"color": "white", "width": 0.5}}
            figure.add_bar(
                y=names,
                base=starts,
                x=lengths,
                orientation="h",
                name=outcome,
                marker=marker,
                hovertext=texts,
                hoverinfo="text",
            )
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=agents, autorange="reversed")
    figure.update_xaxes(type="date")
    legend = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0}
    margin = {"l": 20, "r": 20, "t": 40, "b": 40}
    height = 120 + min(30 * len(agents), 1200)
    return figure.update_layout(
        barmode="overlay", height=height, showlegend=True, legend=legend, margin=margin
    )


def _table(status: SweepStatus) -> str:
    parameters = [parameter.name for parameter in status.parameters]
    metrics = sorted({name for run in status.runs for name in run.metrics})
    head = ["run", "state", *parameters, *metrics, "attempts", "duration", "started", "host", "error"]
    titles = "".join(f"<th><button>{escape(title)}</button></th>" for title in head)
    rows = "\n".join(_row(run, parameters, metrics) for run in status.runs)
    return f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table></div>'


def _row(run: RunStatus, parameters: list[str], metrics: list[str]) -> str:
    aside = ", given up" if run.set_aside else ""
    aside += f", {run.stopped_early}" if run.stopped_early is not None else ""
    error = f"{run.error['type']}: {run.error['message']}" if run.error else ""
    cells = [
        f"<td>{escape(run.run_id)}</td>",
        f"<td>{_dot(run.state)}{run.state}{aside}</td>",
        *(_cell(run.assignment.get(name)) for name in parameters),
        *(_cell(run.metrics.get(name)) for name in metrics),
        _cell(run.attempts),
        _cell(run.seconds, "" if run.seconds is None else duration(run.seconds)),
        _cell(run.started, (run.started or "")[:19].replace("T", " ")),
        _cell(run.host),
        _cell(error, last_line(error)),
    ]
    return f"<tr>{''.join(cells)}</tr>"


def _cell(value: Any, shown: str | None = None) -> str:
    whole = "" if value is None else str(value)
    kind = ' class="number"' if isinstance(value, (int, float)) and not isinstance(value, bool) else ""
    short_text = short_value("" if value is None else value) if shown is None else shown
    return f'<td{kind} data-value="{escape(whole)}" title="{escape(whole)}">{escape(short_text)}</td>'
