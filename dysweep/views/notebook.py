"""A sweep's runs as a table in a notebook."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from dysweep.language.metric import Metric
from dysweep.text import duration, moment, short_value
from dysweep.views.runs import RunStatus

_SHOWN_ROWS = 50


def table(
    runs: Sequence[RunStatus],
    parameters: Sequence[str],
    settings: Callable[[RunStatus], Mapping[str, Any]],
    metric: Metric | None,
) -> str:
    """Write a row for each run: what it is, what it was given and what it reached first; no empty columns.

    Args:
        runs: the runs.
        parameters: the names of the sweep's parameters.
        settings: returns the values of a run's parameters.
        metric: the sweep's metric; without one all metrics come before the duration.
    """
    logged = sorted({name for run in runs for name in run.metrics})
    measured = metric.logged_as(logged) if metric is not None else None
    first = logged if measured is None else [measured]
    others = [name for name in logged if name not in first]
    after = ["name", "attempts", "started", "ended", "host", "job", "stopped early", "error"]
    header = ["run", "state", *parameters, *first, "duration", *others, *after]
    rows = []
    for run in runs[:_SHOWN_ROWS]:
        chosen = settings(run)
        rows.append(
            [
                run.run_id,
                run.state,
                *(chosen.get(name) for name in parameters),
                *(run.metrics.get(name) for name in first),
                None if run.seconds is None else duration(run.seconds),
                *(run.metrics.get(name) for name in others),
                run.name,
                run.attempts,
                moment(run.started),
                moment(run.ended),
                run.host,
                run.slurm_job_id,
                run.stopped_early,
                None if run.error is None else f"{run.error['type']}: {run.error['message']}",
            ]
        )
    shown = [place for place in range(len(header)) if any(row[place] not in (None, "") for row in rows)]
    head = "".join(f"<th>{escape(short_value(header[place]))}</th>" for place in shown)
    body = "".join(f"<tr>{''.join(_cell(row[place]) for place in shown)}</tr>" for row in rows)
    more = f"<p>and {len(runs) - _SHOWN_ROWS} more runs</p>" if len(runs) > _SHOWN_ROWS else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


def _cell(value: Any) -> str:
    whole = "" if value is None else str(value)
    shown = short_value(value) if isinstance(value, float) else short_value(whole)
    title = f' title="{escape(whole)}"' if shown != whole else ""
    return f"<td{title}>{escape(shown)}</td>"
