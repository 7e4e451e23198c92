"""Charts of the metric over the parameters: parallel coordinates, and one chart for each parameter."""

from __future__ import annotations

import math
from collections import Counter
from statistics import fmean, quantiles
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dysweep.language.parameter import Parameter
from dysweep.views.page.theme import ACCENT, MOST_DRAWN, escaped, evenly, having, key, label
from dysweep.views.runs import RunStatus

_LONGEST_KEY = 80
_MOST_BOXES = 12
_MOST_TICKS = 30
_SHOWN_POINTS = 1_000
_SPREAD = 0.3  # of the lines through one value, so that each is seen


def choices(parameter: Parameter, runs: list[RunStatus]) -> tuple[list[str], list[str]]:
    """Return the text of each run's value, and all texts in the order in which the values were declared."""
    chosen = [run.assignment[parameter.name] for run in runs]
    declared = [parameter.encode(index) for index in range(len(parameter.values))]
    texts = {key(value): label(value) for value in (*declared, *chosen)}
    present = {key(value) for value in chosen}
    often = Counter(texts[key] for key in present)
    labels = {
        key: text if often[text] == 1 else key if len(key) <= _LONGEST_KEY else f"{text} ({place})"
        for place, (key, text) in enumerate(texts.items(), start=1)
        if key in present
    }
    return [labels[key(value)] for value in chosen], list(labels.values())


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


def parallel(parameters: list[Parameter], metric: str, runs: list[RunStatus]) -> go.Figure:
    runs = evenly(runs, MOST_DRAWN)
    results = [run.metrics[metric] for run in runs]
    axes = [_axis(parameter, runs) for parameter in parameters]
    axes.append({"label": escaped(metric), "values": results})
    line = {"color": results, "colorscale": "Viridis", "showscale": True, "colorbar": {"thickness": 12}}
    figure = go.Figure(go.Parcoords(dimensions=axes, line=line, tickfont={"size": 12}))
    return figure.update_layout(height=420, margin={"l": 110, "r": 40, "t": 60, "b": 30})


def _axis(parameter: Parameter, runs: list[RunStatus]) -> dict[str, Any]:
    """Return an axis of the parallel coordinates; runs come in the order of their results."""
    axis: dict[str, Any] = {"label": escaped(parameter.name)}
    numbers = _numbers(parameter, runs)
    if numbers is None:
        chosen, labels = choices(parameter, runs)
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


def by_parameter(parameters: list[Parameter], metric: str, runs: list[RunStatus]) -> go.Figure:
    columns = len(parameters) if len(parameters) <= 4 else 3
    rows = math.ceil(len(parameters) / columns)
    titles = [escaped(parameter.name) for parameter in parameters]
    gaps = {"vertical_spacing": 0.22 / rows, "horizontal_spacing": 0.04}
    figure = make_subplots(rows, columns, subplot_titles=titles, shared_yaxes="all", **gaps)
    for place, parameter in enumerate(parameters):
        shown = having([parameter], runs)
        results = [run.metrics[metric] for run in shown]
        row, column = divmod(place, columns)
        where = {"row": row + 1, "col": column + 1}
        numbers = _numbers(parameter, shown)
        if numbers is None:
            chosen, labels = choices(parameter, shown)
            texts = [escaped(each) for each in chosen]
            boxes = _boxes if len(results) <= MOST_DRAWN else _boxes_of_many
            figure.add_trace(boxes(texts, results), **where)
            order = {"categoryorder": "array", "categoryarray": [escaped(each) for each in labels]}
            figure.update_xaxes(type="category", **order, **where)
        else:
            marker = {"color": ACCENT, "opacity": 0.6, "size": 6}
            points = evenly(list(zip(numbers, results, strict=True)), MOST_DRAWN)
            x, y = ([point[axis] for point in points] for axis in (0, 1))
            figure.add_trace(go.Scattergl(x=x, y=y, mode="markers", marker=marker), **where)
            scale = "log" if _is_logarithmic(parameter, numbers) else "linear"
            figure.update_xaxes(type=scale, **where)
    figure.update_yaxes(title_text=escaped(metric), col=1)
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
        fillcolor="rgba(76,131,189,0.2)",
        line={"color": ACCENT, "width": 1.5},
        marker={"size": 4, "opacity": 0.5, "color": ACCENT},
    )


def _boxes_of_many(chosen: list[str], results: list[float]) -> go.Box:
    """Return the boxes computed here, as plotly does, so that the page does not hold every result."""
    grouped: dict[str, list[float]] = {}
    for text, result in zip(chosen, results, strict=True):
        grouped.setdefault(text, []).append(result)
    boxes = []
    for values in grouped.values():
        lower, middle, upper = quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3
        reach = 1.5 * (upper - lower)
        inside = [value for value in values if lower - reach <= value <= upper + reach]
        boxes.append((lower, middle, upper, min(inside), max(inside), fmean(values)))
    lowers, medians, uppers, least, most, means = map(list, zip(*boxes, strict=True))
    return go.Box(
        x=list(grouped),
        q1=lowers,
        median=medians,
        q3=uppers,
        lowerfence=least,
        upperfence=most,
        mean=means,
        boxmean=True,
        fillcolor="rgba(76,131,189,0.2)",
        line={"color": ACCENT, "width": 1.5},
    )
