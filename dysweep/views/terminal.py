"""How things are drawn: as wide as a terminal is, and whole into files and pipes."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, compress
from typing import TypeAlias

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from dysweep.text import harmless, short_value

_WIDTH_OF_FILES = 1_000_000
_LONGEST_NAME = 500
_LEAST_WIDTH = 8
_NARROW_WIDTH = 3
_GAP = "  "
_BLANKS_AT_ENDS = re.compile(r" +(?=(?:\x1b\[[0-9;]*m)*$)", re.MULTILINE)


class _Console(Console):
    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render; what a run, an error or a host is called does not steer the terminal."""
        for part in super().render(renderable, options):
            yield part if part.control else Segment(harmless(part.text), part.style)

    def on_broken_pipe(self) -> None:
        """Let the command end as it does where rich has no part in it; rich itself exits with 1."""
        raise BrokenPipeError


def console() -> Console:
    """Return the console that writes to stdout."""
    return _Console(
        width=None if sys.stdout.isatty() else _WIDTH_OF_FILES,
        highlight=False,
        soft_wrap=False,
        markup=False,  # a value may hold [/INST] or :smile:
        emoji=False,
    )


def show(drawn: RenderableType) -> None:
    """Draw on stdout; for a file or a pipe no line is broken or cut, and none ends with blanks."""
    screen = console()
    if sys.stdout.isatty():
        screen.print(drawn)
        return
    with screen.capture() as captured:
        screen.print(drawn, crop=False)
    sys.stdout.write(_BLANKS_AT_ENDS.sub("", captured.get()))
    sys.stdout.flush()


@dataclass(frozen=True)
class Name:
    """A text of one line that loses its middle where it has no room, as both its ends tell it from others.

    Args:
        text: the text.
        style: rich's style for it.
    """

    text: str
    style: str = ""

    @property
    def shown(self) -> str:
        return short_value(self.text, _LONGEST_NAME)

    @property
    def width(self) -> int:
        return cell_len(self.shown)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[Text]:
        yield Text(elided(self.shown, options.max_width), self.style, no_wrap=True, overflow="ellipsis")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return _measured(self.width)


class Words:
    """A text whose lines are broken between words; a word that is longer than a line loses its middle.

    Args:
        text: the text.
        style: rich's style for it.
    """

    def __init__(self, text: str, style: str = "") -> None:
        self._parts = [(harmless(text), style)]

    @property
    def shown(self) -> str:
        return "".join(text for text, _ in self._parts)

    @property
    def width(self) -> int:
        return cell_len(self.shown)

    def append(self, text: str, style: str) -> Words:
        """Add to the end, in another style."""
        self._parts.append((harmless(text), style))
        return self

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterable[Text]:
        room = options.max_width
        whole = Text()
        for text, style in self._parts:
            whole.append(" ".join(elided(word, room) for word in text.split(" ")), style)
        yield whole

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return _measured(self.width)


def elided(text: str, width: int) -> str:
    """Return a text in at most this many columns of a terminal: `checkpo…7341076f`."""
    if cell_len(text) <= width:
        return text
    tail = max(0, (width - 1) // 2)
    head = max(0, width - 1 - tail)
    # Where half of a wide character would be left, there is a blank instead.
    return f"{set_cell_size(text, head).rstrip()}…{set_cell_size(text[::-1], tail)[::-1].lstrip()}"


Cell: TypeAlias = "str | Text | Name | Words"


@dataclass(frozen=True)
class Columns:
    """Rows of columns that are as wide as what is in them; where they have no room, the widest are cut first.

    Args:
        rows: the cells; a text is cut at its end, a `Name` in its middle, and `Words` go on in the next line.
        header: the columns' names; a column in which nothing is has none.
        whole: the columns that are cut last.
        extra: the columns that are cut first.
    """

    rows: Sequence[Sequence[Cell]]
    header: Sequence[str] = ()
    whole: Collection[str] = ()
    extra: Collection[str] = ()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if console.color_system is None and not options.is_terminal:
            texts = [[_text(cell) for cell in row] for row in self.rows]
            if all(map(str.isprintable, chain.from_iterable(texts))):
                yield Segment(self._for_a_file(texts))
                return
        cells = [[_cell(cell) for cell in row] for row in self.rows]
        natural = [max(map(_width, column)) for column in zip(*cells, strict=True)]
        shown = [place for place, width in enumerate(natural) if width]
        names = [self.header[place] if self.header else "" for place in shown]
        wanted = [max(natural[place], cell_len(name)) for place, name in zip(shown, names, strict=True)]
        widths = self._widths(names, wanted, options.max_width)
        rows = [[row[place] for place in shown] for row in cells]
        if self.header:
            rows.insert(0, [Name(name, "bold") for name in names])
        if not any(isinstance(cell, Words) for row in rows for cell in row):
            yield from (_line(row, widths) for row in rows)  # rich's tables take ten times as long
            return
        table = Table(box=None, padding=(0, len(_GAP), 0, 0), pad_edge=False, show_header=False)
        for width in widths:
            table.add_column(width=width)
        for row in rows:
            table.add_row(*row)
        yield table

    def _for_a_file(self, rows: list[list[str]]) -> str:
        """Write the rows whole and without colours; of 10,000 rich would take five times as long."""
        filled = [any(column) for column in zip(*rows, strict=True)]
        lines = [[*compress(row, filled)] for row in ([self.header, *rows] if self.header else rows)]
        widths = [max(map(_columns, column)) for column in zip(*lines, strict=True)]
        return "".join(
            _GAP.join(
                text + " " * (width - _columns(text)) for text, width in zip(line, widths, strict=True)
            ).rstrip()
            + "\n"
            for line in lines
        )

    def _widths(self, names: Sequence[str], wanted: Sequence[int], room: int) -> list[int]:
        room -= len(_GAP) * (len(wanted) - 1)
        ranks = [0 if name in self.whole else 2 if name in self.extra else 1 for name in names]
        widths = list(wanted)
        for rank in range(3):
            places = [place for place, its in enumerate(ranks) if its == rank]
            later = [(place, its) for place, its in enumerate(ranks) if its > rank]
            kept = sum(min(wanted[place], _LEAST_WIDTH) if its == 1 else 1 for place, its in later)
            if sum(wanted[place] for place in places) > room - kept:
                kept = min(kept, _NARROW_WIDTH * len(later))
            level = max((wanted[place] for place in places), default=0)
            while level > 1 and sum(min(wanted[place], level) for place in places) > room - kept:
                level -= 1
            for place in places:
                widths[place] = min(wanted[place], level)
            room -= sum(widths[place] for place in places)
        return widths


def _cell(cell: Cell) -> Text | Name | Words:
    return Text(harmless(cell), no_wrap=True, overflow="ellipsis") if isinstance(cell, str) else cell


def _text(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell.plain if isinstance(cell, Text) else cell.shown


def _columns(text: str) -> int:
    return len(text) if text.isascii() else cell_len(text)


def _width(cell: Text | Name | Words) -> int:
    return cell.cell_len if isinstance(cell, Text) else cell.width


def _line(row: Sequence[Text | Name | Words], widths: Sequence[int]) -> Text:
    line = Text(no_wrap=True, overflow="crop")
    for cell, width in zip(row, widths, strict=True):
        text = Text(elided(cell.shown, width), cell.style) if isinstance(cell, Name) else cell
        assert isinstance(text, Text)
        text.truncate(width, overflow="ellipsis", pad=True)
        line.append_text(text).append(_GAP)
    line.rstrip()
    return line


def _measured(width: int) -> Measurement:
    return Measurement(min(width, _LEAST_WIDTH), width)
