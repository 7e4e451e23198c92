"""Tables for people, papers and scripts: text, Markdown, LaTeX, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dysweep.results.columns import as_values, cell_text, pandas
from dysweep.results.tables import averaged_over, groups, marks, pivoted
from dysweep.results.trials import Trials
from dysweep.text import harmless, inert, strict

FORMATS = ("text", "markdown", "latex", "csv", "json")
_MARKED = (
    "the best of each column is bold; what does not differ from it significantly (Welch's t-test, p ≥ 0.05, "
    "each with n ≥ 2) is underlined"
)
_TEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "±": r"$\pm$", "≥": r"$\ge$",
    "<": r"\textless{}", ">": r"\textgreater{}", **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "[": "{[}", "]": "{]}", "|": r"\textbar{}",  # after a line's end `[` would begin a length
}  # fmt: skip
_MARKDOWN = re.compile(r"([\\`*_|<>\[\]~#])")


@dataclass(frozen=True)
class Cell:
    """One cell of a table for people."""

    text: str
    bold: bool = False
    underlined: bool = False


@dataclass(frozen=True)
class Table:
    """A table for people, and its numbers for scripts.

    Args:
        header: the columns' names.
        rows: the cells.
        caption: what is shown.
        notes: what is not.
        records: the rows for scripts, by the columns' names.
        numeric: how many columns at the end hold numbers.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str
    notes: tuple[str, ...]
    records: tuple[Mapping[str, Any], ...]
    numeric: int = 0


def runs_as_table(trials: Trials, frame: Any, caption: str, notes: Sequence[str] = ()) -> Table:
    """Return a table of runs, the best of them bold."""
    frame = frame.reset_index()
    missing = trials.missing.set_axis(trials.frame["run_id"])[frame["run_id"]]
    best = trials.values.max() if trials.goal == "maximize" else trials.values.min()
    value = trials.values.set_axis(trials.frame["run_id"])[frame["run_id"]]
    cells = {name: [Cell(cell_text(each)) for each in frame[name]] for name in frame}
    if trials.metric in cells:
        cells[trials.metric] = [
            Cell("nan" if why == "with NaN" else cell_text(logged), trials.goal is not None and own == best)
            for logged, why, own in zip(frame[trials.metric], missing, value, strict=True)
        ]
    columns = {name: as_values(frame[name], trials.originals.get(name, {})) for name in frame}
    return Table(
        tuple(frame.columns),
        tuple(zip(*cells.values(), strict=True)),
        caption,
        (*trials.notes, *notes),
        _records(columns),
        numeric=1 if frame.columns[-1] == trials.metric else 0,
    )


def groups_as_table(trials: Trials, by: Sequence[str], order: Callable[[Any], Any], is_marked: bool) -> Table:
    """Return a table with a row for each combination of parameters.

    Args:
        trials: the runs.
        by: the parameters.
        order: what sorts and cuts the groups.
        is_marked: whether the best, and what does not differ from them, is marked.
    """
    found = order(groups(trials, by))
    bold, alike = _marks(trials, found, is_marked)
    digits = _digits(found["std"], found["mean"])
    bounds = _digits(found["high"] - found["mean"], found["mean"])
    rows = []
    for (key, row), is_best, is_alike in zip(found.iterrows(), bold, alike, strict=True):
        interval = f"[{bounds(row['low'])}, {bounds(row['high'])}]" if row["n"] > 1 else "-"
        measured = Cell(_mean(row, digits), bool(is_best), bool(is_alike))
        numbers = [str(int(row["n"])), digits(row["median"]), interval]
        rows.append((*map(Cell, _key(key)), measured, *map(Cell, numbers)))
    flat = found.reset_index(allow_duplicates=True)
    names = [f"parameter.{name}" if name in found.columns else name for name in found.index.names]
    flat.columns = [*names, *found.columns]
    originals = dict(zip(names, (trials.originals.get(name, {}) for name in found.index.names), strict=True))
    columns = {name: as_values(flat[name], originals.get(name, {})) for name in flat}
    return Table(
        (*found.index.names, trials.metric, "n", "median", "95 % CI"),
        tuple(rows),
        _caption(trials, by, is_marked and trials.goal is not None),
        _notes(trials, [found]),
        _records(columns),
        numeric=4,
    )


def pivot_as_table(trials: Trials, by: Sequence[str], pivot: str, is_marked: bool) -> Table:
    """Return the table of a paper: one parameter spread into columns, the best of each marked."""
    parts = pivoted(trials, by, pivot)
    every = pandas.concat(parts.values())
    digits = _digits(every["std"], every["mean"])
    usual = int(every["n"].mode().iloc[-1])
    columns = []
    for part in parts.values():
        bold, alike = _marks(trials, part, is_marked)
        columns.append(
            [
                Cell(_mean(row, digits) + _few(int(row["n"]), usual), bool(is_best), bool(is_alike))
                for (_, row), is_best, is_alike in zip(part.iterrows(), bold, alike, strict=True)
            ]
        )
    index = next(iter(parts.values())).index
    rows = [(*map(Cell, _key(key)), *cells) for key, *cells in zip(index, *columns, strict=True)]
    heads = tuple(f"{pivot}={value}" for value in parts)
    records = []
    for place, key in enumerate(index):
        own = dict(zip(index.names, key if isinstance(key, tuple) else (key,), strict=True))
        row = {name: trials.originals.get(name, {}).get(value, value) for name, value in own.items()}
        for head, part in zip(heads, parts.values(), strict=True):
            row |= {f"{head}.{name}": part[name].iloc[place] for name in part}
        records.append({name: None if pandas.isna(value) else value for name, value in row.items()})
    return Table(
        (*index.names, *heads),
        tuple(rows),
        _caption(
            trials,
            [*index.names, pivot],
            is_marked and trials.goal is not None,
            f"n = {usual} where nothing else is said",
        ),
        _notes(trials, list(parts.values())),
        _records({name: [record[name] for record in records] for name in records[0]}),
        numeric=len(heads),
    )


def frame_as_table(frame: Any, caption: str, notes: Sequence[str] = (), numeric: int = 0) -> Table:
    """Return any DataFrame as a table, without its index."""
    rows = tuple(tuple(Cell(cell_text(each)) for each in row) for row in frame.itertuples(index=False))
    columns = {name: as_values(frame[name], {}) for name in frame}
    return Table(tuple(frame.columns), rows, caption, tuple(notes), _records(columns), numeric)


def written(table: Table, form: str) -> str:
    """Write a table in one of the formats."""
    return {"text": _text, "markdown": _markdown, "latex": _latex, "csv": _csv, "json": _json}[form](table)


def _marks(trials: Trials, part: Any, is_marked: bool) -> tuple[Any, Any]:
    if is_marked and trials.goal is not None:
        return marks(part, trials.goal)
    unmarked = pandas.Series(False, index=part.index)
    return unmarked, unmarked


def _caption(trials: Trials, by: Sequence[str], is_marked: bool, more: str = "") -> str:
    over = averaged_over(trials, by)
    goal = f" ({trials.goal})" if trials.goal else ""
    whose = f" over {', '.join(over)}" if over else ""
    parts = [f"{trials.metric}{goal}: mean ± standard deviation{whose}"]
    return "; ".join(filter(None, [*parts, more, _MARKED if is_marked else ""]))


def _notes(trials: Trials, parts: Sequence[Any]) -> tuple[str, ...]:
    empty = sum(int((part["n"] == 0).sum()) for part in parts)
    cells = sum(len(part) for part in parts)
    return (
        *trials.notes,
        *([f"{empty} of {cells} cells {'is' if empty == 1 else 'are'} empty"] if empty else []),
    )


def _mean(row: Any, digits: Callable[[float], str]) -> str:
    if row["n"] < 2:
        return digits(row["mean"]) + (" (n = 1)" if row["n"] == 1 else "")
    return f"{digits(row['mean'])} ± {digits(row['std'])}"


def _few(n: int, usual: int) -> str:
    return "" if n in (0, 1, usual) else f" (n = {n})"


def _key(key: Any) -> list[str]:
    return [cell_text(each) for each in (key if isinstance(key, tuple) else (key,))]


def _digits(deviations: Any, means: Any) -> Callable[[float], str]:
    """Return how numbers are written: the deviations with two digits, the means with as many decimals."""
    typical = deviations[deviations > 0].median()
    if pandas.isna(typical):
        return cell_text
    decimals = 1 - math.floor(math.log10(typical))
    if not 0 <= decimals <= 6 or means.abs().max() >= 1e9:
        return lambda number: "-" if pandas.isna(number) else f"{number:.4g}"
    return lambda number: "-" if pandas.isna(number) else f"{number:.{decimals}f}"


def _records(columns: Mapping[str, Sequence[Any]]) -> tuple[Mapping[str, Any], ...]:
    return tuple(dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))


def _text(table: Table) -> str:
    lines = [table.header, *(tuple(cell.text for cell in row) for row in table.rows)]
    lines = [tuple(harmless(cell).replace("\n", "\\n") for cell in line) for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    words = len(widths) - table.numeric
    aligned = [
        "  ".join(
            cell.ljust(width) if place < words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    notes = (f"note: {note}" for note in table.notes)
    return "\n".join([*aligned, table.caption, *notes, ""])


def _markdown(table: Table) -> str:
    def escaped(text: str) -> str:
        return _MARKDOWN.sub(r"\\\1", harmless(text).replace("\n", " "))

    def cell_of(cell: Cell) -> str:
        text = escaped(cell.text)
        return f"**{text}**" if cell.bold else f"<ins>{text}</ins>" if cell.underlined else text

    words = len(table.header) - table.numeric
    rules = ["---" if place < words else "---:" for place in range(len(table.header))]
    lines = [map(cell_of, map(Cell, table.header)), rules, *(map(cell_of, row) for row in table.rows)]
    body = [f"| {' | '.join(line)} |" for line in lines]
    about = ". ".join([table.caption, *table.notes])
    return "\n".join([*body, "", f"{escaped(about)}.", ""])


def _latex(table: Table) -> str:
    def escaped(text: str) -> str:
        return "".join(_TEX.get(sign, sign) for sign in harmless(text).replace("\n", " "))

    def cell_of(cell: Cell) -> str:
        text = escaped(cell.text)
        return rf"\textbf{{{text}}}" if cell.bold else rf"\underline{{{text}}}" if cell.underlined else text

    def line(cells: Iterable[str]) -> str:
        return rf"    {' & '.join(cells)} \\"

    columns = "l" * (len(table.header) - table.numeric) + "r" * table.numeric
    about = ". ".join([table.caption, *table.notes])
    return "\n".join(
        [
            r"\begin{table}  % needs \usepackage{booktabs}",
            r"  \centering",
            rf"  \caption{{{escaped(about)}.}}",
            rf"  \begin{{tabular}}{{{columns}}}",
            r"    \toprule",
            line(map(escaped, table.header)),
            r"    \midrule",
            *(line(map(cell_of, row)) for row in table.rows),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def _csv(table: Table) -> str:
    text = io.StringIO(newline="")
    header = list(table.records[0]) if table.records else list(table.header)
    rows = [[inert(cell) for cell in record.values()] for record in table.records]
    csv.writer(text).writerows([[inert(name) for name in header], *rows])
    return text.getvalue()


def _json(table: Table) -> str:
    content = {"caption": table.caption, "notes": table.notes, "rows": table.records}
    return json.dumps(strict(content), indent=1, allow_nan=False, default=_plain) + "\n"


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else str(value)
