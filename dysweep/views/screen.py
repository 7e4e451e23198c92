"""What `dysweep_status` draws: a bar, counts, and tables."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import islice
from typing import TypeVar

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dysweep.directory.probe import Finding
from dysweep.directory.runs import State
from dysweep.directory.slurm import Job, jobs_of
from dysweep.directory.sweep import SweepDirectory
from dysweep.errors import LanguageError
from dysweep.language.metric import Metric, best_of
from dysweep.text import ago, count, counted, duration, last_line, moment, short, short_path, short_value
from dysweep.views.preview import Preview, differences
from dysweep.views.runs import RunStatus, changed
from dysweep.views.space_tree import space_tree
from dysweep.views.status import SweepStatus
from dysweep.views.terminal import Cell, Columns, Name, Words, console, show

T = TypeVar("T")
_COLOURS = {
    State.FINISHED.value: "green",
    State.RUNNING.value: "cyan",
    State.FAILED.value: "red",
    State.CRASHED.value: "red",
    State.PREEMPTED.value: "yellow",
    State.KILLED.value: "magenta",
    State.GONE.value: "dim",
    State.PENDING.value: "dim",
}
# What needs attention comes first.
_ORDER = ("failed", "crashed", "preempted", "running", "pending", "killed", "finished", "gone")
_BAR_WIDTH = 40
_LEAST_BAR_WIDTH = 10
_LONGEST_TEXT = 100
_LONGEST_TREE = 400
_LONGEST_PATH = 80
_SHOWN = 20
_REST = 4  # times what a look takes
_SECONDS_BETWEEN_LOOKS = 2.0
_SECONDS_OF_SILENCE = 60


def _is_over(status: SweepStatus) -> bool:
    return not {State.RUNNING.value, State.PENDING.value} & status.counts.keys()


def watch(look: Callable[[], SweepStatus], is_over: Callable[[SweepStatus], bool] = _is_over) -> SweepStatus:
    """Draw a sweep again and again.

    Args:
        look: reads it.
        is_over: tells when to stop; when nothing is running or pending any more by default.
    """
    from dysweep.views.history import LastLogged  # imports wandb

    reader = LastLogged()

    def last_logged(status: SweepStatus) -> Mapping[str, str]:
        return reader.of(SweepDirectory(status.directory), status.sweep, status.runs)

    screen = console()
    before = None
    with Live(console=screen, auto_refresh=False) if screen.is_terminal else nullcontext() as live:
        while True:
            begun = time.monotonic()
            status = look()
            over = is_over(status)
            if over:
                status = look()  # with what was recorded in between
            if live is not None:
                live.update(sweep(status, last_logged(status)), refresh=True)
            elif status.counts != before:  # a file or a pipe gets what is new
                show(sweep(status, last_logged(status)))
            before = status.counts
            if over:
                return status
            # A large sweep takes long to be read; the agents beside it need the processor more.
            time.sleep(max(_SECONDS_BETWEEN_LOOKS, _REST * (time.monotonic() - begun)))


def sweep(status: SweepStatus, logged: Mapping[str, str] | None = None) -> Group:
    """Draw a sweep: a bar and counts, then what needs attention, then what is running.

    Args:
        status: the sweep.
        logged: what running runs have logged last.
    """
    name = str(status.sweep.sweep_configuration.get("name") or "")
    title: list[Cell] = [
        Name(f"sweep {status.sweep.sweep_id}", "bold"),
        *([Name(name)] if name else []),
        Text(status.sweep.mode, style="dim"),
        Name(str(short_path(status.directory)), "dim"),
    ]
    parts: list[RenderableType] = [Columns([title]), _Bar(status)]
    attention = [run for run in status.runs if run.state in (State.FAILED, State.CRASHED, State.PREEMPTED)]
    parts += _section("needs attention", attention, _attention_row)
    parts += _errors(attention, _SHOWN)
    parts += [Words(each, "red") for each in status.damaged]
    running = [run for run in status.runs if run.state == State.RUNNING]
    parts += _section("running", running, lambda run: _running_row(run, (logged or {}).get(run.run_id, "")))
    parts += _section("SLURM jobs", jobs_of(status.sweep.sweep_id), _job_row)
    return Group(*parts)


def preview(seen: Preview, most: int) -> Group:
    """Draw a sweep that is not made yet: its parameters, and where its first configs differ from the base."""
    tree = space_tree(seen)
    rows: list[Sequence[Cell]] = [] if tree is None else [*tree.rows]
    for name, path, values in seen.parameters() if tree is None else ():
        rows.append(
            [Name(f"  {short_value(name)}"), Name(short_value(path, _LONGEST_PATH), "dim"), Words(values)]
        )
    parts: list[RenderableType] = [Text((tree and tree.runs) or _how_many(seen), style="bold"), Columns(rows)]
    for place, assignment in enumerate(islice(seen.assignments(), most), start=1):
        title = "for example" if seen.points is None else f"run {place}"
        parts.append(Words(f"{title}: {short(assignment)}", "bold"))
        try:
            config = seen.config(assignment)
        except LanguageError as error:
            parts.append(Words(f"  will fail: {error}", "red"))
            continue
        for path, *both in differences(seen.definition.base_config, config):
            old, new = map(_tree, both)
            line = Words(f"  {short_value(path, _LONGEST_PATH)}: ")
            if old == new:
                parts.append(line.append(f"{old} (kept)", style="dim"))
                continue
            line.append("" if old is None else old, style="red")
            line.append(" -> " if None not in (old, new) else "", style="dim")
            parts.append(line.append(" (removed)" if new is None else new, style="green"))
    return Group(*parts)


def _how_many(seen: Preview) -> str:
    if seen.mode == "online" and seen.size is None:
        return "as many runs as W&B chooses"
    many = "no end of runs" if seen.size is None else counted(seen.size, "run")
    if seen.points is not None or seen.mode == "online":
        return many
    by_chance = seen.definition.sweep_configuration["method"] == "random"
    return f"{many}, {'drawn at random; sweep_seed shows them here' if by_chance else 'chosen one by one'}"


def _tree(written: str | None) -> str | None:
    """Shorten a tree that is written as JSON: a text to its two ends, other trees only if they are huge."""
    most = _LONGEST_TEXT if written is not None and written.startswith('"') else _LONGEST_TREE
    return None if written is None else short_value(written, most)


@dataclass(frozen=True)
class _Bar:
    """How far a sweep is, and how many runs are in each state: in one line where there is room."""

    status: SweepStatus

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[RenderableType]:
        counts, total = self.status.counts, self.status.total
        words = [Text(f"{count(number)} {state}", _COLOURS[state]) for state, number in counts.items()]
        shown = Text("  ").join(words)
        if total is None:
            yield shown
            return
        finished = counts.get(State.FINISHED.value, 0)
        of_all = f"{finished}/{count(total)}"
        room = options.max_width - len(of_all) - 2
        rest = room - shown.cell_len - 2
        in_one = rest >= _LEAST_BAR_WIDTH
        done = _COLOURS[State.FINISHED.value]
        width = min(_BAR_WIDTH, rest if in_one else room)
        bar = ProgressBar(total, finished, width=width, complete_style=done, finished_style=done)
        grid = Table.grid(padding=(0, 2))
        grid.add_row(bar, of_all, *([shown] if in_one else []))
        yield grid
        if not in_one:
            yield shown


def _section(title: str, shown: list[T], row: Callable[[T], Sequence[Cell]]) -> list[RenderableType]:
    if not shown:
        return []
    more = len(shown) - _SHOWN
    left = [Text(f"  and {more} more; --runs lists all", style="dim")] if more > 0 else []
    return [Text(f"{title}:", style="bold"), Columns([*map(row, shown[:_SHOWN])]), *left]


def _job_row(job: Job) -> Sequence[Cell]:
    return [f"  {job.job}", job.state, job.nodes or job.reason]


def _state(run: RunStatus) -> Text:
    return Text(run.state, style=_COLOURS[run.state])


def _attention_row(run: RunStatus) -> Sequence[Cell]:
    attempts = f"{run.attempts} attempt{'s' if run.attempts != 1 else ''}"
    return [
        Name(f"  {run.run_id}"),
        _state(run),
        f"given up after {attempts}" if run.set_aside else attempts,
        f"{ago(run.ended or run.started)} ago",
        "" if run.error else f"on {run.host}",
    ]


def _running_row(run: RunStatus, logged: str) -> Sequence[Cell]:
    job = f"job {run.slurm_job_id}" if run.slurm_job_id else ""
    place = f"{run.host} {job}".strip()
    far = f", {logged}" if logged else ""
    silent = f", silent for {ago(run.sign_of_life)}" if _is_silent(run) else ""
    return [Name(f"  {run.run_id}"), place, f"since {ago(run.started)}{silent}{far}", short(run.assignment)]


def _is_silent(run: RunStatus) -> bool:
    if run.sign_of_life is None:
        return False
    quiet = datetime.now(timezone.utc) - datetime.fromisoformat(run.sign_of_life)
    return quiet.total_seconds() > _SECONDS_OF_SILENCE


def runs(status: SweepStatus) -> Group:
    """Draw all runs, one in a line, those that need attention first; then their errors, equal ones once."""
    shown = sorted(status.runs, key=lambda run: (_ORDER.index(run.state), len(run.run_id), run.run_id))
    metric = Metric.of(status.sweep.sweep_configuration)
    parts: list[RenderableType] = []
    if shown:
        whole = ["run", "state", "attempts", "duration"]
        header = [*whole, metric.name if metric else "", "parameters", "metrics", "stopped early"]
        rows = [_run_row(run, metric) for run in shown]
        parts.append(Columns(rows, header, whole, extra=["metrics"]))
    parts += [Words(each, "red") for each in status.damaged]
    return Group(*parts, *_errors(shown))


def _errors(runs: Iterable[RunStatus], most: int | None = None) -> list[RenderableType]:
    """Draw each error once, with the runs that have it."""
    errors: dict[str, list[str]] = {}
    for run in runs:
        if run.error is not None:
            errors.setdefault(_error(run.error), []).append(run.run_id)
    parts: list[RenderableType] = [Text("errors:", style="bold")] if errors else []
    often = sorted(errors.items(), key=lambda each: -len(each[1]))
    for error, run_ids in often[:most]:
        parts += [Padding(Words(error, "red"), (0, 0, 0, 2), expand=False), _Runs(run_ids)]
    more = 0 if most is None else len(often) - most
    return [*parts, *([Text(f"  and {more} more; --runs lists all", style="dim")] if more > 0 else [])]


def _run_row(run: RunStatus, metric: Metric | None) -> Sequence[Cell]:
    name = None if metric is None else metric.logged_as(run.metrics)
    return [
        Name(run.run_id),
        _state(run),
        str(run.attempts),
        "" if run.seconds is None else duration(run.seconds),
        "" if name is None else short_value(run.metrics[name]),
        short(run.assignment),
        short({each: value for each, value in run.metrics.items() if each != name}),
        "" if run.stopped_early is None else str(run.stopped_early),
    ]


def _error(error: Mapping[str, str]) -> str:
    return ": ".join(filter(None, [error["type"], last_line(error["message"])]))


@dataclass(frozen=True)
class _Runs:
    """In which runs something was, as many of them as one line holds."""

    run_ids: Sequence[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[RenderableType]:
        many = len(self.run_ids)
        for shown in range(many, 0, -1):
            more = f" and {many - shown} more" if shown < many else ""
            line = f"    {counted(many, 'run')}: {', '.join(self.run_ids[:shown])}{more}"
            if len(line) <= options.max_width:
                break
        yield Columns([[line]])


def findings(found: list[Finding]) -> Columns:
    """Draw what a file system gives, one property in a line."""
    return Columns([*map(_finding_row, found)])


def _finding_row(each: Finding) -> Sequence[Cell]:
    style = "green" if each.given else "red" if each.needed else "yellow"
    needed = "" if each.given else "needed" if each.needed else "not needed"
    return [
        Words(each.what),
        Text("yes" if each.given else "no", style=style),
        needed,
        Words(each.detail, "dim"),
    ]


def sweeps(found: list[SweepStatus]) -> Columns:
    """Draw sweeps, one in a line, with what is best so far."""
    header = ["created", "sweep", "name", "finished", "others", "best", "mode"]
    return Columns(
        [*map(_sweep_row, found)], header, whole=["created", "sweep", "finished", "best"], extra=["mode"]
    )


def _sweep_row(status: SweepStatus) -> Sequence[Cell]:
    counts = status.counts
    of_all = "" if status.total is None else f"/{count(status.total)}"
    metric = Metric.of(status.sweep.sweep_configuration)
    best = None if metric is None else best_of(status.runs, metric)
    others = [f"{count(number)} {state}" for state, number in counts.items() if state != State.FINISHED]
    return [
        moment(changed(SweepDirectory(status.directory).record_path) or changed(status.directory)),
        Name(status.sweep.sweep_id),
        Name(str(status.sweep.sweep_configuration.get("name") or "")),
        Text(f"{counts.get(State.FINISHED.value, 0)}{of_all}", style=_COLOURS[State.FINISHED.value]),
        ", ".join(others),
        Name("" if metric is None or best is None else metric.shown(best.metrics)),
        Text(status.sweep.mode, style="dim"),
    ]
