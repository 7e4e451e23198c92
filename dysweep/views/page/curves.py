"""Learning curves: the best runs among all, and the median and quartiles for each value of a parameter."""

from __future__ import annotations

import math
from bisect import bisect_right
from statistics import quantiles

import plotly.graph_objects as go

from dysweep.language.parameter import Parameter
from dysweep.text import short
from dysweep.views.page.parameters import choices
from dysweep.views.page.theme import GREY, SERIES, escaped, evenly, having, is_finite, label
from dysweep.views.runs import RunStatus

Curve = list[tuple[int, float]]
MOST_GREY = 100
MOST_CHOICES = 6
_MOST_VALUES = len(SERIES)
_MOST_STEPS = 200
_STEPS_OF_QUARTILES = 60


def learning_curves(curves: dict[str, Curve], best: list[RunStatus], metric: str) -> go.Figure:
    """Draw the best runs in colours over others in grey; a cross is where a run logged NaN or infinity.

    Args:
        curves: for each run its steps and values.
        best: the runs to colour, the best first.
        metric: the metric's name.
    """
    figure = go.Figure()
    coloured = {run.run_id for run in best}
    others = evenly([curve for run_id, curve in curves.items() if run_id not in coloured], MOST_GREY)
    steps: list[int | None] = []
    values: list[float | None] = []
    for curve in others:
        for step, value in evenly(curve, _MOST_STEPS):
            steps.append(step)
            values.append(value)
        steps.append(None)  # the line of one run ends here
        values.append(None)
    grey = {"color": GREY, "width": 1}
    if others:
        figure.add_scatter(
            x=steps, y=values, mode="lines", line=grey, name="other runs", hoverinfo="skip", connectgaps=False
        )
    for colour, run in zip(SERIES, best, strict=False):
        shown = evenly(curves.get(run.run_id, []), _MOST_STEPS)
        figure.add_scatter(
            x=[step for step, _ in shown],
            y=[value for _, value in shown],
            mode="lines" if len(shown) > 1 else "markers",
            line={"color": colour, "width": 2},
            name=escaped(run.run_id),
            hovertext=escaped(label(short(run.assignment))),
        )
    _mark_what_is_not_finite(figure, curves)
    figure.update_xaxes(title_text="step")
    figure.update_yaxes(title_text=escaped(metric))
    legend = {"orientation": "h", "y": -0.25, "yanchor": "top", "x": 0}
    return figure.update_layout(
        height=440, legend=legend, showlegend=True, margin={"l": 60, "r": 20, "t": 30, "b": 50}
    )


def _mark_what_is_not_finite(figure: go.Figure, curves: dict[str, Curve]) -> None:
    marks = []
    for run_id, curve in curves.items():
        place = next((place for place, (_, value) in enumerate(curve) if not math.isfinite(value)), None)
        if place is not None:
            before = next((value for _, value in reversed(curve[:place]) if math.isfinite(value)), None)
            step, value = curve[place]
            marks.append((step, before, f"{escaped(run_id)}: {value} at step {step}"))
    shown = evenly([mark for mark in marks if mark[1] is not None], MOST_GREY)
    if shown:
        x, y, texts = zip(*shown, strict=True)
        figure.add_scatter(
            x=x,
            y=y,
            mode="markers",
            marker={"symbol": "x", "size": 9, "color": "#d64550"},
            name="NaN or infinity",
            hovertext=texts,
            hoverinfo="text",
        )


def quartiles(
    curves: dict[str, Curve], parameters: list[Parameter], runs: list[RunStatus], metric: str
) -> go.Figure:
    """Draw for each value of a parameter, which is chosen in the page, the median and quartiles of its runs.

    Args:
        curves: for each run its steps and values.
        parameters: those to choose from.
        runs: the runs.
        metric: the metric's name.
    """
    finite = {
        run_id: [point for point in curve if math.isfinite(point[1])] for run_id, curve in curves.items()
    }
    at = evenly(sorted({step for curve in finite.values() for step, _ in curve}), _STEPS_OF_QUARTILES)
    sampled = {run_id: _sampled(curve, at) for run_id, curve in finite.items()}
    figure = go.Figure()
    owners: list[int] = []
    for place, parameter in enumerate(parameters):
        shown = having([parameter], [run for run in runs if run.run_id in sampled])
        chosen, labels = choices(parameter, shown)
        for colour, text in zip(SERIES, labels[:_MOST_VALUES], strict=False):
            own = [sampled[run.run_id] for run, value in zip(shown, chosen, strict=True) if value == text]
            for trace in _band(at, own, escaped(text), colour):
                figure.add_trace(trace.update(visible=place == 0))
                owners.append(place)
    if len(parameters) > 1:
        buttons = [
            {
                "label": escaped(label(parameter.name)),
                "method": "restyle",
                "args": ["visible", [owner == place for owner in owners]],
            }
            for place, parameter in enumerate(parameters)
        ]
        figure.update_layout(
            updatemenus=[{"buttons": buttons, "x": 0, "xanchor": "left", "y": 1.04, "yanchor": "bottom"}]
        )
    figure.update_xaxes(title_text="step")
    figure.update_yaxes(title_text=escaped(metric))
    legend = {"orientation": "h", "y": -0.25, "yanchor": "top", "x": 0}
    margin = {"l": 60, "r": 20, "t": 60, "b": 50}
    return figure.update_layout(height=460, legend=legend, showlegend=True, margin=margin)


def _sampled(curve: Curve, at: list[int]) -> list[float | None]:
    """Return a run's last value at each of the steps; None before its first one, and after its end."""
    steps = [step for step, _ in curve]
    values: list[float | None] = []
    for step in at:
        place = bisect_right(steps, step) - 1
        values.append(curve[place][1] if place >= 0 and step <= steps[-1] else None)
    return values


def _band(at: list[int], curves: list[list[float | None]], name: str, colour: str) -> list[go.Scatter]:
    rows = []
    for place, step in enumerate(at):
        values = [curve[place] for curve in curves if is_finite(curve[place])]
        if values:
            known = [value for value in values if value is not None]
            low, middle, high = quantiles(known, n=4, method="inclusive") if len(known) > 1 else known * 3
            rows.append((step, low, middle, high))
    if not rows:
        return []
    steps, lows, middles, highs = map(list, zip(*rows, strict=True))
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    band = go.Scatter(
        x=[*steps, *reversed(steps)],
        y=[*highs, *reversed(lows)],
        fill="toself",
        fillcolor=f"rgba({red},{green},{blue},0.18)",
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
        legendgroup=name,
    )
    line = go.Scatter(
        x=steps,
        y=middles,
        mode="lines" if len(steps) > 1 else "markers",
        line={"color": colour, "width": 2},
        name=f"{name} ({len(curves)})",
        legendgroup=name,
    )
    return [band, line]
