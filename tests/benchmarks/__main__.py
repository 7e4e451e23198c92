"""Measure dysweep beside its peers, all in turn, and print one table."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

from tests.benchmarks import table
from tests.benchmarks.ruler import BenchmarkError, Plan, measured_by

NAMES = (
    "imports", "resolve", "creation", "disk", "claim", "views", "memory", "offline", "latency", "agents",
    "online",
)  # fmt: skip


def main() -> int:
    """Measure, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=NAMES, metavar="NAME", help=f"of {', '.join(NAMES)}"
    )
    parser.add_argument(
        "--quick", action="store_true", help="one round of tiny sizes, to see that all of it works"
    )
    parser.add_argument("--rounds", type=int, default=5, help="how often all take their turn (default: 5)")
    parser.add_argument(
        "--most", type=int, default=100_000, metavar="RUNS", help="leave out directories with more runs"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows as JSON")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="replace the table in this page")
    parser.add_argument("--folder", type=Path, help="a folder on the disk to measure")
    given = parser.parse_args()
    rows, warnings, failed = [], [], []
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        plan = Plan(1 if given.quick else given.rounds, given.quick, Path(folder), warnings, given.most)
        about = table.machine(plan)
    if about["load"] > about["cores"] / 2 and not given.quick:
        plan.warn(f"load {about['load']}: wall times are of a busy machine; CPU and counts hold")
    for name in given.only or NAMES:
        begun = time.monotonic()
        # In a small process of its own: what it starts begins with its memory as the peak so far.
        with (
            tempfile.TemporaryDirectory(dir=given.folder) as folder,
            ProcessPoolExecutor(1, get_context("spawn")) as fresh,
        ):
            try:
                found, warned = fresh.submit(measured_by, name, replace(plan, folder=Path(folder))).result()
            except BenchmarkError as error:  # the others have taken an hour
                print(f"{name}: {error}", file=sys.stderr, flush=True)
                failed.append(name)
                continue
        warnings += [text for text in warned if text not in warnings]
        rows += [(name, row) for row in found]
        if given.json is not None:
            given.json.write_text(table.as_json(rows, about, warnings))
        print(f"{name}: {len(found)} rows in {time.monotonic() - begun:.0f} s", file=sys.stderr, flush=True)
    measured = [row for _, row in rows]
    print("\n".join(table.lines(measured)))
    if given.write is not None and not failed:
        table.write(given.write, measured, about)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
