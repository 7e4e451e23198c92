"""The table of the runs: its cells, and what a row shows when it is opened.

They come into the page as data, of which its script draws a part at a time: a browser takes longer for
10,000 rows of HTML than for all charts. The script is the page's own: a library would have to be inlined, as
a reader may have no network, and of those that are kept none comes from PyPI without pandas and IPython.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import islice
from typing import Any

from dysweep.directory.sweep import SweepDirectory
from dysweep.errors import DysweepError
from dysweep.text import count, duration, harmless, last_line, short_value
from dysweep.views.page.theme import COLOURS, as_json
from dysweep.views.preview import differences
from dysweep.views.runs import RunStatus
from dysweep.views.status import SweepStatus, last_log

_MOST_OPENED = 200
_MOST_BYTES = 400_000
_MOST_CHANGES = 100
_LONGEST_TRACEBACK = 4_000
_LONGEST_LOG = 1_500
_LONGEST_VALUE = 200
_LARGEST_EXACT = 2**53  # of a number in JavaScript


def table(status: SweepStatus, first: list[RunStatus], link: Callable[[str], str] | None) -> tuple[str, str]:
    """Write the table of the runs.

    Args:
        status: the sweep, its runs with their parameters one by one.
        first: the runs that can be opened, as far as there is room.
        link: the address of a run's page in W&B; None if there is none.

    Returns:
        the markup, and a note.
    """
    parameters = [parameter.name for parameter in status.parameters]
    metrics = sorted({name for run in status.runs for name in run.metrics})
    head = ["run", "state", *parameters, *metrics, "attempts", "duration", "started", "host", "error"]
    details = _details(status, first)
    data = {
        "head": head,
        "rows": [_row(run, parameters, metrics) for run in status.runs],
        "colours": COLOURS,
        "details": details,
        "links": {} if link is None else {run.run_id: link(run.run_id) for run in status.runs},
    }
    markup = (
        '<p class="tools"><input type="search" placeholder="Search" aria-label="Search the runs">'
        '<output></output></p><div class="scroll"><table id="runs"><thead></thead><tbody></tbody></table>'
        "</div>"
        '<p><button class="more" hidden>Show more</button></p>'
        f'<script type="application/json" id="data">{as_json(data)}</script>'
    )
    which = "Rows open" if len(details) == len(status.runs) else _some(len(details), len(status.runs))
    note = f"{which} to the config's differences from the base, the error, the attempts and the log's end."
    return markup, note if details else ""


def _some(opened: int, runs: int) -> str:
    return f"{count(opened)} of {count(runs)} rows, first the best and the failed runs, open"


def _row(run: RunStatus, parameters: list[str], metrics: list[str]) -> list[Any]:
    aside = ", given up" if run.set_aside else ""
    aside += f", {run.stopped_early}" if run.stopped_early is not None else ""
    error = f"{run.error['type']}: {run.error['message']}" if run.error else ""
    return [
        run.run_id,
        f"{run.state}{aside}",
        *(_cell(run.assignment.get(name)) for name in parameters),
        *(_cell(run.metrics.get(name)) for name in metrics),
        run.attempts,
        None if run.seconds is None else [duration(run.seconds), run.seconds],
        (run.started or "")[:19].replace("T", " "),
        harmless(run.host or ""),
        _text(error, last_line(error)),
    ]


def _cell(value: Any) -> Any:
    """Return a cell: a number, a text, or what is shown, what it is sorted by, and the whole."""
    if value is None:
        return None
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if math.isfinite(value) and abs(value) < _LARGEST_EXACT:
            return [short_value(value), value, repr(value)] if isinstance(value, float) else value
        return [short_value(value), str(value)]
    return _text(str(value), short_value(value))


def _text(whole: str, shown: str) -> Any:
    whole = harmless(whole)
    return whole if shown == whole else [harmless(shown), whole[:_LONGEST_LOG]]


def _details(status: SweepStatus, first: list[RunStatus]) -> dict[str, Any]:
    details: dict[str, Any] = {}
    room = _MOST_BYTES
    for run in first[:_MOST_OPENED]:
        detail = _detail(status, run)
        room -= len(as_json(detail))
        if room < 0 and details:
            break
        details[run.run_id] = detail
    return details


def _detail(status: SweepStatus, run: RunStatus) -> dict[str, Any]:
    base = (status.sweep, *status.extensions)[run.definition - 1].base_config
    try:
        changes = [
            [
                harmless(path),
                *(None if side is None else harmless(short_value(side, _LONGEST_VALUE)) for side in sides),
            ]
            for path, *sides in islice(differences(base, status.config(run.run_id)), _MOST_CHANGES)
        ]
        problem = ""
    except DysweepError as error:
        changes, problem = [], str(error)
    try:
        log = last_log(SweepDirectory(status.directory), run.run_id)
    except (DysweepError, OSError):  # it was not started, or has none
        log = ""
    return {
        "config": changes,
        "problem": harmless(problem),
        "traceback": harmless((run.error or {}).get("traceback") or "")[-_LONGEST_TRACEBACK:],
        "attempts": [
            [
                each.outcome,
                each.host,
                each.pid,
                (each.started or "")[:19].replace("T", " "),
                (each.ended or "")[:19].replace("T", " "),
            ]
            for each in run.history
        ],
        "log": harmless(log.rstrip())[-_LONGEST_LOG:],
    }
