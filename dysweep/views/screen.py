"""What `dysweep_status` draws: a bar, counts, and tables."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from datetime import datetime, timezone
from itertools import islice
from typing import TypeVar

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from dysweep.directory.probe import Finding
from dysweep.directory.runs import State
from dysweep.directory.slurm import Job, jobs_of
from dysweep.directory.sweep import SweepDirectory
from dysweep.errors import LanguageError
from dysweep.text import ago, count, counted, duration, harmless, last_line, short, short_path, short_value
from dysweep.views.preview import Preview, differences
from dysweep.views.runs import RunStatus
from dysweep.views.space_tree import space_tree
from dysweep.views.status import SweepStatus

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
_WIDTH_OF_FILES = 1000
_BAR_WIDTH = 40
_LONGEST_TEXT = 100
_LONGEST_TREE = 400
_LONGEST_PATH = 80
_SHOWN = 20
_SECONDS_BETWEEN_LOOKS = 2.0
_SECONDS_OF_SILENCE = 60


class _Console(Console):
    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render; what a run, an error or a host is called does not steer the terminal."""
        for part in super().render(renderable, options):
            yield part if part.control else Segment(harmless(part.text), part.style)

    def on_broken_pipe(self) -> None:
        """Let the command end as it does where rich has no part in it; rich itself exits with 1."""
        raise BrokenPipeError


def show(drawn: RenderableType) -> None:
    """Draw on stdout; lines are not broken where they go to a file or a pipe."""
    console().print(drawn)


def console() -> Console:
    """Return the console that writes to stdout."""
    return _Console(
        width=None if sys.stdout.isatty() else _WIDTH_OF_FILES,
        highlight=False,
        soft_wrap=False,
        markup=False,  # a value may hold [/INST] or :smile:
        emoji=False,
    )


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
            status = look()
            over = is_over(status)
            if over:
                status = look()  # with what was recorded in between
            if live is not None:
                live.update(sweep(status, last_logged(status)), refresh=True)
            elif status.counts != before:  # a file or a pipe gets what is new
                screen.print(sweep(status, last_logged(status)))
            before = status.counts
            if over:
                return status
            time.sleep(_SECONDS_BETWEEN_LOOKS)


def sweep(status: SweepStatus, logged: Mapping[str, str] | None = None) -> Group:
    """Draw a sweep: a bar and counts, then what needs attention, then what is running.

    Args:
        status: the sweep.
        logged: what running runs have logged last.
    """
    name = status.sweep.sweep_configuration.get("name")
    title = Text(f"sweep {status.sweep.sweep_id}", style="bold")
    title.append(f"  {name}" if name else "", style="not bold")
    title.append(f"  {status.sweep.mode}  {short_path(status.directory)}", style="not bold dim")
    parts: list[RenderableType] = [title, _bar(status)]
    attention = [run for run in status.runs if run.state in (State.FAILED, State.CRASHED, State.PREEMPTED)]
    parts += _section("needs attention", attention, _attention_row)
    parts += [Text(each, style="red") for each in status.damaged]
    running = [run for run in status.runs if run.state == State.RUNNING]
    parts += _section("running", running, lambda run: _running_row(run, (logged or {}).get(run.run_id, "")))
    parts += _section("SLURM jobs", jobs_of(status.sweep.sweep_id), _job_row)
    return Group(*parts)


def preview(seen: Preview, most: int) -> Group:
    """Draw a sweep that is not made yet: its parameters, and where its first configs differ from the base."""
    table = Table.grid(padding=(0, 2))
    tree = space_tree(seen)
    if tree is not None:
        for row in tree.rows:
            table.add_row(*row)
    for name, path, values in seen.parameters() if tree is None else ():
        table.add_row(f"  {short_value(name)}", Text(short_value(path, _LONGEST_PATH), style="dim"), values)
    parts: list[RenderableType] = [Text((tree and tree.runs) or _how_many(seen), style="bold"), table]
    for place, assignment in enumerate(islice(seen.assignments(), most), start=1):
        title = "for example" if seen.points is None else f"run {place}"
        parts.append(Text(f"{title}: {short(assignment)}", style="bold"))
        try:
            config = seen.config(assignment)
        except LanguageError as error:
            parts.append(Text(f"  will fail: {error}", style="red"))
            continue
        for path, *changed in differences(seen.definition.base_config, config):
            old, new = map(_tree, changed)
            line = Text(f"  {short_value(path, _LONGEST_PATH)}: ")
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


def _bar(status: SweepStatus) -> RenderableType:
    counts = status.counts
    finished = counts.get(State.FINISHED.value, 0)
    shown = Table.grid(padding=(0, 2))
    words = Text()
    for state, number in counts.items():
        words.append(f"{count(number)} {state}", style=_COLOURS[state]).append("  ")
    if status.total is None:
        shown.add_row(words)
    else:
        done = _COLOURS[State.FINISHED.value]
        bar = ProgressBar(status.total, finished, width=_BAR_WIDTH, complete_style=done, finished_style=done)
        shown.add_row(bar, f"{finished}/{count(status.total)}", words)
    return shown


def _section(title: str, shown: list[T], row: Callable[[T], Iterable[str | Text]]) -> list[RenderableType]:
    if not shown:
        return []
    table = Table.grid(padding=(0, 2))
    for each in shown[:_SHOWN]:
        table.add_row(*row(each))
    more = len(shown) - _SHOWN
    left = [Text(f"  and {more} more; --runs lists all", style="dim")] if more > 0 else []
    return [Text(f"{title}:", style="bold"), table, *left]


def _job_row(job: Job) -> list[str | Text]:
    return [f"  {job.job}", job.state, job.nodes or job.reason]


def _state(run: RunStatus) -> Text:
    return Text(run.state, style=_COLOURS[run.state])


def _attention_row(run: RunStatus) -> list[str | Text]:
    attempts = f"{run.attempts} attempt{'s' if run.attempts != 1 else ''}"
    reason = f"{run.error['type']}: {run.error['message']}" if run.error else f"on {run.host}"
    return [
        f"  {run.run_id}",
        _state(run),
        f"given up after {attempts}" if run.set_aside else attempts,
        f"{ago(run.ended or run.started)} ago",
        last_line(reason),
    ]


def _running_row(run: RunStatus, logged: str) -> list[str | Text]:
    job = f"job {run.slurm_job_id}" if run.slurm_job_id else ""
    place = f"{run.host} {job}".strip()
    far = f", {logged}" if logged else ""
    silent = f", silent for {ago(run.sign_of_life)}" if _is_silent(run) else ""
    return [f"  {run.run_id}", place, f"since {ago(run.started)}{silent}{far}", short(run.assignment)]


def _is_silent(run: RunStatus) -> bool:
    if run.sign_of_life is None:
        return False
    quiet = datetime.now(timezone.utc) - datetime.fromisoformat(run.sign_of_life)
    return quiet.total_seconds() > _SECONDS_OF_SILENCE


def runs(status: SweepStatus) -> Table:
    """Draw all runs, one in a line."""
    table = Table.grid(padding=(0, 2))
    for run in status.runs:
        table.add_row(
            run.run_id,
            _state(run),
            f"{run.attempts}x",
            "" if run.seconds is None else duration(run.seconds),
            short(run.assignment),
            short(run.metrics),
            *([] if run.stopped_early is None else [str(run.stopped_early)]),
        )
    return table


def findings(found: list[Finding]) -> Table:
    """Draw what a file system gives, one property in a line."""
    table = Table.grid(padding=(0, 2))
    for each in found:
        answer = "yes" if each.given else "no"
        style = "green" if each.given else "red" if each.needed else "yellow"
        needed = "" if each.given else "needed" if each.needed else "not needed"
        table.add_row(each.what, Text(answer, style=style), needed, Text(each.detail, style="dim"))
    return table


def sweeps(found: list[SweepStatus]) -> Table:
    """Draw sweeps, one in a line."""
    table = Table.grid(padding=(0, 2))
    for status in found:
        counts = status.counts
        of_all = "" if status.total is None else f"/{count(status.total)}"
        others = ", ".join(
            f"{count(number)} {state}" for state, number in counts.items() if state != State.FINISHED
        )
        table.add_row(
            status.sweep.sweep_id,
            str(status.sweep.sweep_configuration.get("name") or ""),
            status.sweep.mode,
            Text(f"{counts.get(State.FINISHED.value, 0)}{of_all} finished", style="green"),
            others,
        )
    return table
