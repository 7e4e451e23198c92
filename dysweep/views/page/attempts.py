"""When which agent has executed what."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from itertools import accumulate

import plotly.graph_objects as go

from dysweep.directory.runs import State
from dysweep.text import short
from dysweep.views.page.theme import ACCENT, COLOURS, MOST_DRAWN, escaped, evenly, label
from dysweep.views.runs import RunStatus


def time_line(runs: Iterable[RunStatus]) -> go.Figure:
    """Draw each attempt as a bar in its agent's row; of very many only how many there were at a time."""
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
            agent = escaped(" · ".join(filter(None, (attempt.host, str(attempt.pid or ""), job))))
            chosen = escaped(label(short(run.assignment)))
            told = f"{run.run_id}, attempt {number}: {attempt.outcome}<br>{chosen}"
            milliseconds = max(0.0, (ended - begun).total_seconds() * 1000)
            rows.append((attempt.outcome, agent, attempt.started, milliseconds, told))
    rows.sort(key=lambda row: row[2])
    if len(rows) > MOST_DRAWN:
        return _at_a_time([(row[2], row[3]) for row in rows])
    agents = list(dict.fromkeys(agent for _, agent, *_ in rows))
    figure = go.Figure()
    for outcome in COLOURS:
        bars = [row for row in rows if row[0] == outcome]
        if bars:
            _, names, starts, lengths, texts = zip(*bars, strict=True)
            marker = {"color": COLOURS[outcome], "line": {"color": "rgba(128,128,128,0.5)", "width": 0.5}}
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


def _at_a_time(spans: list[tuple[str, float]]) -> go.Figure:
    changes: list[tuple[datetime, int]] = []
    for started, milliseconds in spans:
        begun = datetime.fromisoformat(started)
        changes += [(begun, 1), (begun + timedelta(milliseconds=milliseconds), -1)]
    changes.sort()
    counts = list(accumulate(change for _, change in changes))
    points = evenly(
        [(moment, number) for (moment, _), number in zip(changes, counts, strict=True)], MOST_DRAWN
    )
    figure = go.Figure(
        go.Scatter(
            x=[moment.isoformat() for moment, _ in points],
            y=[number for _, number in points],
            line={"shape": "hv", "color": ACCENT, "width": 1},
            fill="tozeroy",
        )
    )
    figure.update_yaxes(title_text="attempts at a time", rangemode="tozero")
    return figure.update_layout(height=300, margin={"l": 60, "r": 20, "t": 20, "b": 40})
