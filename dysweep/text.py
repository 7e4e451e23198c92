"""Text for people: values, durations, counts and paths in one short line; a log as a terminal shows it."""

from __future__ import annotations

import math
import re
import signal
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

_MOST = 40
_TAIL = 12
_LONGEST_FLOAT = 10
_LARGEST_COUNT = 10**12
_LONGEST_ESTIMATE = 30 * 86400
# Control characters of ASCII, of Latin-1, and those that turn the direction of writing.
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_BEGINS_A_FORMULA = ("=", "+", "-", "@", "\t", "\n", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")
_COLOURS = re.compile(r"\x1b\[[0-9;:]*m")
_CONTROL = re.compile(r"(\n|\r|\x08|\x1b\[[0-9;?]*[ -/]*[@-~])")
_MOVES = re.compile(r"[\r\x08]|\x1b\[[0-9;?]*[A-HJK]")


def short_value(value: Any, most: int = _MOST) -> str:
    """Write a value in at most this many characters of one line: `0.1`, `Read the passage...\\non a line`."""
    if isinstance(value, float):
        exact = str(value)
        return exact if len(exact) <= _LONGEST_FLOAT else f"{value:.4g}"
    text = value if isinstance(value, str) else _written(value)
    if len(text) > most:
        tail = min(_TAIL, most // 3)
        head = _escaped(text[:most])[: most - tail - 3]
        return f"{head}...{_escaped(text[-tail:])[-tail:]}"
    text = _escaped(text)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _written(value: Any) -> str:
    try:
        return str(value)
    except ValueError:  # Python writes no whole numbers of more than 4,300 digits
        return count(value) if isinstance(value, int) else f"a {type(value).__name__}"


def _escaped(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def harmless(text: str) -> str:
    """Return a text with what would steer a terminal written out: `\\x1b[2J`. Lines and tabs stay."""
    return text if text.isprintable() else _STEERING.sub(lambda found: repr(found[0])[1:-1], text)


def inert(cell: Any) -> Any:
    """Return a cell of CSV that no spreadsheet takes for a formula.

    What begins one: https://owasp.org/www-community/attacks/CSV_Injection.
    """
    if cell is None or isinstance(cell, (bool, int, float)):
        return cell
    text = harmless(str(cell))
    return f"'{text}" if text.startswith(_BEGINS_A_FORMULA) else text


def strict(tree: Any) -> Any:
    """Return a tree as every parser of JSON takes it, which knows no NaN and no infinity."""
    if isinstance(tree, Mapping):
        return {key: strict(value) for key, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [strict(value) for value in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def key_in_a_line(key: object) -> str:
    """Write a key of a mapping for a message of one line: in quotes if it has blanks."""
    text = str(key)
    return text if re.fullmatch(r"\S+", text) else repr(text)


def short(items: Mapping[str, Any]) -> str:
    """Write an assignment or metrics in one line: `lr=0.1, model=net`."""
    return ", ".join(f"{short_value(name)}={short_value(value)}" for name, value in items.items())


def last_line(text: str, most: int = 200) -> str:
    """Return the last line of a message, shortened."""
    lines = text.strip().splitlines()
    return short_value(lines[-1], most) if lines else ""


def count(number: int) -> str:
    """Write a number of things: `48`, `1.0e20`."""
    if number < _LARGEST_COUNT:
        return str(number)
    exponent = int(math.log10(number))
    return f"{number / 10**exponent:.1f}e{exponent}"


def counted(number: int, noun: str) -> str:
    """Write how many there are of something: `1 run`, `48 runs`."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def signal_name(number: int) -> str:
    """Write a signal: `SIGKILL`, or `signal 40`, as most real-time ones have no names."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def duration(seconds: float) -> str:
    """Write a duration: `0.4 s`, `3 min 20 s`, `5 h 10 min`, `4 d 2 h`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def estimate(seconds: float, times: int = 1) -> str:
    """Write how long something of this duration takes so many times: `5 min 2 s`, `more than 30 d`."""
    if times > _LONGEST_ESTIMATE / max(seconds, 1e-6):  # the product may be beyond any float
        return f"more than {_LONGEST_ESTIMATE // 86400} d"
    return duration(seconds * times)


def ago(started: str | None) -> str:
    """Write how long ago a time was: `40 s`, `12 min`, `3 h 5 min`, `2 d 4 h`."""
    if started is None:
        return "?"
    seconds = int((datetime.now(timezone.utc) - datetime.fromisoformat(started)).total_seconds())
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{max(0, seconds)} s"


def short_path(path: Path) -> Path:
    """Return a path as people write it, from the working directory on if it is below."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def as_on_a_terminal(text: str) -> str:
    """Return what a terminal shows of a text in the end, without colours: a progress bar's last state."""
    text = _COLOURS.sub("", text.replace("\r\n", "\n"))
    if not _MOVES.search(text):
        return harmless(text)
    rows, row, column = [""], 0, 0
    for part in _CONTROL.split(text):
        line = rows[row]
        if part == "\n":
            row, column = row + 1, 0
            if row == len(rows):
                rows.append("")
        elif part == "\r":
            column = 0
        elif part == "\b":
            column = max(0, column - 1)
        elif part.startswith("\x1b["):
            number = int(part[2:-1]) if part[2:-1].isdecimal() else 0
            if part[-1] == "A":
                row = max(0, row - max(1, number))
            elif part[-1] == "B":
                row = min(len(rows) - 1, row + max(1, number))
            elif part[-1] == "G":
                column = max(0, number - 1)
            elif part[-1] == "K":
                kept = line[:column] if number == 0 else " " * column + line[column:] if number == 1 else ""
                rows[row] = kept
        elif part:
            rows[row] = line[:column].ljust(column) + part + line[column + len(part) :]
            column += len(part)
    return harmless("\n".join(line.rstrip() for line in rows))
