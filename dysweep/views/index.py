"""Ended runs are read once: what was read is kept in a file beside them, which may be deleted at any time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from heapq import merge
from itertools import chain, groupby
from tempfile import SpooledTemporaryFile
from typing import Any
from zlib import crc32

from dysweep import __version__
from dysweep.directory.runs import RunDirectory, is_given_up
from dysweep.directory.sweep import SweepDirectory
from dysweep.files import read_lines, replace_lines
from dysweep.language.hyperband import StoppedEarly
from dysweep.views.runs import AttemptStatus, RunStatus

_ENOUGH = 200  # runs that are worth a file
_SHARE = 0.1  # of those in the file: less are read again, so that writing never outweighs reading
_LONGEST = 2**20  # bytes of a line; what an error says can be long
_MOST_BYTES_KEPT = 16 * 2**20
# What another release has read may lack a field, or mean another.
_HEADER = [__version__, *(field.name for kind in (RunStatus, AttemptStatus) for field in fields(kind))]


@dataclass(frozen=True)
class Entry:
    """What was read of an ended run.

    Args:
        run_id: its id.
        files: the names of its attempts' files. None is ever changed, and a new attempt adds one:
            while the names are the same, the run is as it was.
        changed: when the last of them was added, in ns since 1970. A run that was deleted, and then executed
            again under its id, has files of the same names.
        stored: its status as mappings and lists.
    """

    run_id: str
    files: list[str]
    changed: int
    stored: dict[str, Any]

    def status(self, max_attempts: int) -> RunStatus:
        """Return what was read.

        Args:
            max_attempts: how often a run may fail or crash before it is given up.
        """
        early = self.stored["stopped_early"]
        history = tuple(AttemptStatus(**each) for each in self.stored["history"])
        later = {
            "stopped_early": None if early is None else StoppedEarly(**early),
            "history": history,
            "set_aside": is_given_up([each.outcome for each in history], max_attempts),
        }
        return RunStatus(**{**self.stored, **later})


class Index:
    """The file of what was read of a sweep's ended runs, in the order of their ids."""

    def __init__(self, directory: SweepDirectory) -> None:
        self._path = directory.path / "ended.jsonl"
        self._read = 0
        self._new = 0
        self._kept = SpooledTemporaryFile(_MOST_BYTES_KEPT)

    def beside(self, runs: Iterator[RunDirectory]) -> Iterator[tuple[RunDirectory, Entry | None]]:
        """Return each run with its entry, if it has one.

        Args:
            runs: in the order of their ids.
        """
        entries = self._entries()
        entry = next(entries, None)
        for run in runs:
            while entry is not None and entry.run_id < run.run_id:
                entry = next(entries, None)
            yield run, entry if entry is not None and entry.run_id == run.run_id else None

    def add(self, files: list[str], changed: int, status: RunStatus) -> None:
        """Keep what was read of an ended run."""
        line = _line([status.run_id, files, changed, status.to_stored()])
        if len(line) <= _LONGEST:
            self._new += 1
            self._kept.write(line)

    def write(self) -> None:
        """Write the file if enough was added."""
        if self._new < max(_ENOUGH, _SHARE * self._read):
            return
        self._kept.seek(0)
        both = merge(self._kept, self._lines(), key=_run_id)
        newest = (next(lines) for _, lines in groupby(both, key=_run_id))  # of two of a run the first is new
        with suppress(OSError):  # who may only look, or has no room left, reads the runs again
            replace_lines(self._path, chain([_line(_HEADER)], newest))

    def close(self) -> None:
        """Forget what was added."""
        self._kept.close()

    def _entries(self) -> Iterator[Entry]:
        """Read the file up to the first line that is not an entry."""
        with suppress(ValueError, TypeError, RecursionError):
            yield from (Entry(*json.loads(line[9:-1])) for line in self._lines())

    def _lines(self) -> Iterator[bytes]:
        """Read the file up to the first line that is not as it was written."""
        self._read = 0
        # It is not flushed to the disk, so that a power failure may leave anything.
        with suppress(OSError, ValueError):
            lines = read_lines(self._path, _LONGEST)
            if next(lines, b"") != _line(_HEADER):
                return
            for line in lines:
                if line[:8] != b"%08x" % crc32(line[9:-1]):
                    return
                self._read += 1
                yield line


def _line(content: list[Any]) -> bytes:
    text = json.dumps(content).encode()
    return b"%08x %b\n" % (crc32(text), text)


def _run_id(line: bytes) -> bytes:
    return line.partition(b'"')[2].partition(b'"')[0]  # JSON writes it as it is
