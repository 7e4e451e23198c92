"""The table: of people, of the documentation, and as JSON."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from tests.benchmarks import baseline
from tests.benchmarks.ruler import Plan, Row, program, run

HEADER = ("what", "ours", "peer", "floor", "before", "ratio", "goal", "met")
BEGIN, END = "<!-- measured: begin -->\n", "<!-- measured: end -->\n"


def machine(plan: Plan) -> dict[str, Any]:
    """Describe where and with what is measured."""
    return {
        "date": date.today().isoformat(),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)),
        "processor": _processor(),
        "system": f"{platform.system()} {platform.release()}",
        "load": round(os.getloadavg()[0], 1),
        "rounds": plan.rounds,
        "quick": plan.quick,
        "versions": run(program("versions"), folder=plan.folder).json,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), "unknown")


def cells(row: Row) -> list[str]:
    """Return a row's cells, in the order of the header."""
    peer = _number(row.peer, row.unit) if row.peer is not None else "not installed"
    return [
        row.what,
        _number(row.ours, row.unit),
        f"{peer} ({row.peer_name})" if row.peer_name else "",
        _number(row.floor, row.unit),
        _number(row.baseline, row.unit),
        "" if row.ratio is None else f"{row.ratio:.2f}",
        "" if row.goal is None else str(row.goal),
        {True: "yes", False: "no", None: ""}[row.met],
    ]


def _number(number: float | None, unit: str) -> str:
    if number is None:
        return ""
    text = f"{number:.3g}" if abs(number) < 100 else f"{number:,.0f}"
    return f"{text} {unit}".rstrip()


def lines(rows: list[Row]) -> list[str]:
    """Return the table as aligned text."""
    table = [list(HEADER), *map(cells, rows)]
    widths = [max(len(line[place]) for line in table) for place in range(len(HEADER))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    ]


def markdown(rows: list[Row], about: dict[str, Any]) -> str:
    """Return what stands in the documentation."""
    versions = ", ".join(f"{name} {number or 'not installed'}" for name, number in about["versions"].items())
    table = [HEADER, ["---"] * len(HEADER), *map(cells, rows)]
    head = (
        f"Measured on {about['date']}, {about['rounds']} rounds, medians; {about['cores']} cores of "
        f"{about['processor']}, {about['system']}, load {about['load']} at the beginning; "
        f'Python {about["python"]}; {versions}. "before" is {baseline.DATE}, on two cores.\n\n'
    )
    return head + "".join(f"| {' | '.join(line)} |\n" for line in table)


def write(path: Path, rows: list[Row], about: dict[str, Any]) -> None:
    """Replace the table in a page, between its two marks."""
    head, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path}: has no place for the table ({BEGIN.strip()} ... {END.strip()})")
    path.write_text(f"{head}{BEGIN}\n{markdown(rows, about)}\n{END}{tail}", encoding="utf-8")


def as_json(rows: list[tuple[str, Row]], about: dict[str, Any], warnings: list[str]) -> str:
    """Return everything as JSON."""
    shown = [
        {
            "benchmark": name, **asdict(row), "ratio": row.ratio, "met": row.met,
            "goal": None if row.goal is None else str(row.goal),
        }
        for name, row in rows
    ]  # fmt: skip
    return json.dumps({**about, "warnings": warnings, "rows": shown}, indent=1)
