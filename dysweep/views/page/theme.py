"""What all parts of the page share: colours, sections, texts, and how a figure comes into the page."""

from __future__ import annotations

import json
import math
from html import escape
from typing import Any

import plotly.graph_objects as go

from dysweep.directory.runs import State
from dysweep.language.parameter import Parameter
from dysweep.text import short_value
from dysweep.views.runs import RunStatus

COLOURS = {
    State.FINISHED.value: "#2f9e6e",
    State.RUNNING.value: "#2b8cbe",
    State.PREEMPTED.value: "#e8a33d",
    State.FAILED.value: "#d64550",
    State.CRASHED.value: "#a23b72",
    State.KILLED.value: "#7a6bb0",
    State.GONE.value: "#a3a8b3",
    State.PENDING.value: "#c3c8d1",
}
# After Okabe and Ito's, which people with any colour vision can tell apart; seen on white and on black.
SERIES = ("#2f87d0", "#d8642a", "#1f9e77", "#c96fa8", "#c98f00", "#45b5c6", "#8c6bd1", "#8a8a2a")
ACCENT = "#4c83bd"
GREY = "rgba(128,136,148,0.35)"
_LONGEST_LABEL = 28
MOST_DRAWN = 2_000
"""Of more runs a chart shows as many, evenly drawn, or what they amount to."""


def section(title: str, content: str, note: str = "") -> str:
    """Write a section; its content is markup, its note text."""
    words = f"<p>{escape(note)}</p>" if note else ""
    return f"<section><h2>{escape(title)}</h2>{words}{content}</section>"


def chart(figure: go.Figure, least_width: int = 0) -> str:
    """Write a figure as markup; the page draws it in its own colours.

    Args:
        figure: the figure.
        least_width: in pixels; a narrower window scrolls.
    """
    figure.update_layout(template="none")
    height = figure.layout.height or 400
    # `<` is written as \\u003c, so that no text in it ends the element.
    return (
        f'<div class="wide"><div class="plotly-graph-div" '
        f'style="height:{height}px;min-width:{least_width}px"><script type="application/json">'
        f"{as_json(figure.to_plotly_json())}</script></div></div>"
    )


def as_json(tree: Any) -> str:
    """Write data for a script element."""
    text = json.dumps(_plain(tree), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _plain(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _plain(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_plain(value) for value in tree]
    if isinstance(tree, float):
        return float(f"{tree:.6g}") if math.isfinite(tree) else None
    return tree


def escaped(text: str) -> str:
    """Keep plotly from taking a text for markup; only the ticks of parallel coordinates are no markup."""
    return escape(text, quote=False)


def label(value: Any) -> str:
    return short_value(value, _LONGEST_LABEL)


def dot(state: str) -> str:
    return f'<i class="dot" style="background:{COLOURS[state]}"></i>'


def key(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def is_finite(number: float | None) -> bool:
    return number is not None and math.isfinite(number)


def having(parameters: list[Parameter], runs: list[RunStatus]) -> list[RunStatus]:
    """Leave out runs of which something is not known, as of those that dysweep 0.1 began."""
    return [run for run in runs if all(parameter.name in run.assignment for parameter in parameters)]


def evenly(things: list[Any], most: int) -> list[Any]:
    """Return at most so many of them, the first and the last included, evenly drawn."""
    if len(things) <= most:
        return things
    return [things[round(place * (len(things) - 1) / (most - 1))] for place in range(most)]
