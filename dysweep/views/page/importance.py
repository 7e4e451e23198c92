"""Which parameters matter for the metric: their importance, and the mean for each value of the first."""

from __future__ import annotations

import random
from html import escape
from importlib.util import find_spec
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from dysweep.errors import ConfigError
from dysweep.language.parameter import Parameter
from dysweep.results.study import FEWEST_RUNS, Study, StudyRun
from dysweep.text import count
from dysweep.views.page.theme import ACCENT, chart, escaped, is_finite, label, section
from dysweep.views.runs import RunStatus

_MOST_BARS = 12
_MOST_EFFECTS = 4
_SAMPLE = 400
_LINES = "#8a929d"  # seen on the bars, on white and on black
_EXTRA = ("pandas", "scipy", "sklearn")


def importance_section(parameters: list[Parameter], metric: str, runs: list[RunStatus]) -> list[str]:
    """Write how much the parameters matter; nothing where too few runs or parameters can tell.

    Args:
        parameters: those of the sweep, repeats included.
        metric: the metric.
        runs: the runs; those that have finished or were stopped and have a number count.
    """
    counting = [
        run for run in runs if run.state in ("finished", "killed") and is_finite(run.metrics.get(metric))
    ]
    if len(counting) < FEWEST_RUNS:
        return []
    title = f"Importance for {metric}"
    if not all(map(find_spec, _EXTRA)):
        return [section(title, "", 'The importance of the parameters needs pip install "dysweep[results]".')]
    from dysweep.results.importance import importance
    from dysweep.results.trials import trials_of

    # Evenly chosen runs of a grid may all have the same value of a parameter.
    drawn = random.Random(0).sample(counting, min(_SAMPLE, len(counting)))
    studied = tuple(StudyRun(run.run_id, run.state, run.assignment, run.metrics) for run in drawn)
    try:
        found = importance(trials_of([Study("", None, tuple(parameters), studied)], metric))
    except ConfigError:  # no parameter varies
        return []
    of_sample = f"{count(len(drawn))} of {count(len(counting))} runs, drawn at random"
    note = (
        f"The share of the variance of {metric} in which a parameter has a part, alone or with others, "
        f"and its standard deviation. All parameters together explain {found.explained:.0%}"
        f"{' in ' + of_sample if len(drawn) < len(counting) else ''}. "
        "Below, the mean for each value with its 95 % confidence interval."
    )
    together = found.interaction
    line = f"<p>{escape(together[:1].upper() + together[1:])}.</p>" if together else ""
    effects = _effects(found, metric)
    width = 200 * min(len(found.parameters), _MOST_EFFECTS)
    return [section(title, line + chart(_bars(found)) + chart(effects, width), note)]


def _bars(found: Any) -> go.Figure:
    shown = found.parameters.head(_MOST_BARS).iloc[::-1]
    bars = go.Bar(
        x=list(shown["importance"]),
        y=[escaped(label(name)) for name in shown["parameter"]],
        orientation="h",
        marker={"color": ACCENT},
        error_x={"type": "data", "array": list(shown["std"]), "color": _LINES, "thickness": 1.5, "width": 4},
    )
    figure = go.Figure(bars)
    figure.update_xaxes(rangemode="tozero", tickformat=".0%")
    figure.update_yaxes(type="category")
    margin = {"l": 20, "r": 20, "t": 34, "b": 40}
    return figure.update_layout(height=84 + 34 * len(shown), showlegend=False, margin=margin, bargap=0.35)


def _effects(found: Any, metric: str) -> go.Figure:
    names = list(found.parameters["parameter"].head(_MOST_EFFECTS))
    titles = [escaped(label(name)) for name in names]
    figure = make_subplots(1, len(names), subplot_titles=titles, shared_yaxes="all", horizontal_spacing=0.04)
    for place, name in enumerate(names, start=1):
        its = found.effects[found.effects["parameter"] == name]
        half = its["high"] - its["mean"]
        points = go.Scatter(
            x=[escaped(label(value)) for value in its["value"]],
            y=list(its["mean"]),
            error_y={"type": "data", "array": list(half), "thickness": 1.5, "width": 5},
            mode="markers",
            marker={"color": ACCENT, "size": 8},
        )
        figure.add_trace(points, row=1, col=place)
        figure.update_xaxes(type="category", row=1, col=place)
    figure.update_yaxes(title_text=escaped(metric), col=1)
    margin = {"l": 60, "r": 20, "t": 60, "b": 40}
    return figure.update_layout(height=340, showlegend=False, margin=margin)
