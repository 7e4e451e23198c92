"""The ruler: process trees and what they cost, rounds in which all take turns, and the rows of the table."""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from tempfile import mkdtemp
from typing import Any

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "programs"
HAS_STRACE = shutil.which("strace") is not None
_BECOME_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)
_FILE_CALLS = (
    "open openat openat2 creat stat lstat newfstatat statx access faccessat faccessat2 readlink readlinkat "
    "mkdir mkdirat rmdir rename renameat renameat2 link linkat symlink symlinkat unlink unlinkat chmod "
    "fchmodat fsync fdatasync flock"
).split()
_CALL = re.compile(r"\d+ +(\w+)\(")
_ABSOLUTE = re.compile(r'AT_FDCWD<[^>]*>, "/')  # where the working directory means nothing


class BenchmarkError(Exception):
    """A measured program has failed; the message holds the end of what it printed."""


@dataclass(frozen=True)
class Cost:
    """What a process tree has cost.

    Args:
        wall: seconds until the last of the programs that were started had ended.
        cpu: user and system seconds of all processes, services and workers included.
        peak: MB of the largest process.
        said: what the programs printed.
    """

    wall: float
    cpu: float
    peak: float
    said: str = ""

    @property
    def json(self) -> Any:
        """The last line that was printed, as JSON."""
        return json.loads(self.said.splitlines()[-1])


@dataclass(frozen=True)
class Goal:
    """What a row is held against.

    Args:
        limit: how large the value may be at most.
        of: what it is a multiple of: `peer`, `floor`, `baseline`, or `` for the number itself.
        at_least: the value has to be that large instead.
    """

    limit: float
    of: str = ""
    at_least: bool = False

    def __str__(self) -> str:
        sign = ">=" if self.at_least else "<="
        of = "before" if self.of == "baseline" else self.of
        return f"{sign} {self.limit:g}{f' x {of}' if of else ''}"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Args:
        what: what is measured.
        unit: of all numbers of the row.
        ours: dysweep's number.
        peer_name: what it is compared with.
        peer: the peer's number; None if it is not installed, or if there is none.
        floor: the least that this can cost.
        baseline: dysweep's number before the work on speed, see `baseline.py`.
        goal: what is asked for.
        note: what explains the numbers.
    """

    what: str
    unit: str
    ours: float
    peer_name: str = ""
    peer: float | None = None
    floor: float | None = None
    baseline: float | None = None
    goal: Goal | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours to what the goal compares with; without a goal to the peer, or to the floor."""
        if self.goal is not None and self.goal.of:
            other = getattr(self, self.goal.of)
        else:
            other = self.peer if self.peer_name else self.floor
        return self.ours / other if other else None

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None if there is none, or nothing to compare with."""
        if self.goal is None:
            return None
        value = self.ratio if self.goal.of else self.ours
        if value is None:
            return None
        return value >= self.goal.limit if self.goal.at_least else value <= self.goal.limit


@dataclass
class Plan:
    """How to measure.

    Args:
        rounds: how often everything takes its turn.
        quick: sizes that only show that a benchmark works; goals and baselines are left out.
        folder: where everything is written.
        warnings: what could not be measured, and why.
        most: how many runs a directory may have; larger ones are left out.
    """

    rounds: int
    quick: bool
    folder: Path
    warnings: list[str] = field(default_factory=list)
    most: int = 100_000

    def size(self, full: int, quick: int) -> int:
        """Return one of two sizes."""
        return quick if self.quick else full

    def sizes(self, full: tuple[int, ...], quick: tuple[int, ...]) -> list[int]:
        """Return numbers of runs in a directory."""
        return [size for size in (quick if self.quick else full) if size <= self.most]

    def goal(self, limit: float, of: str = "", *, at_least: bool = False) -> Goal | None:
        """Return a goal; None for sizes that it is not about."""
        return None if self.quick else Goal(limit, of, at_least)

    def baseline(self, number: float) -> float | None:
        """Return a number of `baseline.py`; None for sizes that it is not about."""
        return None if self.quick else number

    def new_folder(self, name: str) -> Path:
        """Create an empty folder."""
        return Path(mkdtemp(prefix=f"{name}-", dir=self.folder))

    def warn(self, text: str) -> None:
        """Say once that something cannot be measured."""
        if text not in self.warnings:
            self.warnings.append(text)
            print(f"warning: {text}", file=sys.stderr, flush=True)

    def has(self, package: str) -> bool:
        """Return whether a peer is installed."""
        return find_spec(package) is not None

    def in_turn(self, measures: dict[str, Callable[[], Any] | None]) -> dict[str, list[Any]]:
        """Let everything take its turn in each round, every other round backwards; None is left out."""
        kept = {name: measure for name, measure in measures.items() if measure is not None}
        found: dict[str, list[Any]] = {name: [] for name in kept}
        for number in range(self.rounds):
            for name in list(kept)[:: -1 if number % 2 else 1]:
                found[name].append(kept[name]())
        return found


def middle(costs: list[Cost] | None, of: str = "cpu") -> float | None:
    """Return the median of one of the costs; None if nothing was measured."""
    return median(getattr(cost, of) for cost in costs) if costs else None


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Return a lean environment: nothing of whoever runs the benchmarks, and no network."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(map(str, (PROGRAMS, ROOT))),
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_CONFIG_DIR": str(folder / ".config/wandb"),
        **more,
    }


def python(*words: object) -> list[str]:
    """Return a command of this Python."""
    return [sys.executable, *map(str, words)]


def dysweep(*words: object) -> list[str]:
    """Return a command of dysweep."""
    return python("-m", "dysweep", *words)


def program(name: str, *words: object) -> list[str]:
    """Return the command of one of the programs beside."""
    return python(PROGRAMS / f"{name}.py", *words)


def become_subreaper() -> None:
    """Let processes whose parents have ended become children of this one, so that their cost is known."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_BECOME_SUBREAPER, 1, 0, 0, 0)


def run(
    *commands: list[str], folder: Path, timeout: float = 3600,
    while_running: Callable[[int], None] | None = None, **more: str,
) -> Cost:  # fmt: skip
    """Run programs beside each other until they and all that they have started have ended.

    Args:
        commands: what to run.
        folder: where.
        timeout: seconds; then all are ended.
        while_running: called once with the first program's number.
        more: variables of the environment.

    Raises:
        BenchmarkError: a program has failed, or did not end.
    """
    said = folder / "said"
    begun, ended, status, cpu, peak = time.monotonic(), 0.0, {}, 0.0, 0.0
    with said.open("w") as out:
        started = [
            subprocess.Popen(
                command, cwd=folder, env=environment(folder, **more), stdin=subprocess.DEVNULL, stdout=out,
                stderr=subprocess.STDOUT, start_new_session=True,
            )
            for command in commands
        ]  # fmt: skip
        try:
            with _alarm(timeout):
                if while_running is not None:
                    while_running(started[0].pid)
                while True:
                    pid, code, usage = os.wait4(-1, 0)
                    cpu += usage.ru_utime + usage.ru_stime
                    peak = max(peak, usage.ru_maxrss / 1024)
                    status[pid] = os.waitstatus_to_exitcode(code)
                    if all(each.pid in status for each in started) and not ended:
                        ended = time.monotonic()
        except ChildProcessError:
            pass  # all have ended
        except BaseException:
            _end(started)
            raise
        for each in started:
            each.returncode = status[each.pid]
    text = _end_of(said)
    if failed := [command for command, each in zip(commands, started, strict=True) if each.returncode != 0]:
        raise BenchmarkError(f"{' '.join(failed[0])} failed:\n{text[-2000:]}")
    return Cost(ended - begun, cpu, peak, text)


def _end_of(file: Path) -> str:
    """Read the end of a file; all of a large one would count as memory of what is started next."""
    with file.open("rb") as content:
        content.seek(max(0, file.stat().st_size - 100_000))
        return content.read().decode(errors="replace")


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(*_: Any) -> None:
        raise BenchmarkError(f"no end after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _end(started: list[subprocess.Popen[bytes]]) -> None:
    for each in started:
        try:
            os.killpg(each.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    try:
        with _alarm(10):
            while True:
                os.wait4(-1, 0)
    except (ChildProcessError, BenchmarkError):
        pass


def calls(
    command: list[str], folder: Path, below: Path, plan: Plan, **more: str
) -> list[tuple[str, str]] | None:
    """List the calls of a process tree on files below a folder: call and line, in their order.

    Reading, writing, listing and closing of what is open are not among them.

    Returns:
        None where strace is missing, or may not be used.
    """
    if not HAS_STRACE:
        plan.warn("strace is missing: no file operations, no fsyncs")
        return None
    trace = folder / "trace"
    words = [
        "strace",
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-y",
        "-e",
        f"trace=?{',?'.join(_FILE_CALLS)}",
        "-o",
        str(trace),
    ]
    try:
        run([*words, *command], folder=folder, **more)
    except BenchmarkError as error:
        if "ptrace" not in str(error):
            raise
        plan.warn("strace may not be used here: no file operations, no fsyncs")
        return None
    found = []
    with trace.open(errors="replace") as lines:
        for line in lines:
            line = _ABSOLUTE.sub('"/', line)
            match = _CALL.match(line)
            # An empty path is fstat of what is open, which goes nowhere on a network file system.
            if match and str(below) in line and ', "",' not in line:
                found.append((match[1], line))
    return found


def fsyncs(found: list[tuple[str, str]]) -> int:
    """Count what makes something durable."""
    return Counter(name.replace("fdatasync", "fsync") for name, _ in found)["fsync"]


def files(folder: Path) -> int:
    """Count files and links below a folder."""
    return sum(len(names) for _, _, names in os.walk(folder))


def measured_by(name: str, plan: Plan) -> tuple[list[Row], list[str]]:
    """Return the rows of a family, and what could not be measured."""
    become_subreaper()
    return list(importlib.import_module(f"tests.benchmarks.{name}").measure(plan)), plan.warnings
