"""What a run has logged over its steps, read from the W&B files that lie beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dysweep.tracking.records import records_after

Row = tuple[int, dict[str, float]]


class RunHistory:
    """The history of a run over all its attempts, which can be read on while the run logs.

    Steps are numbered as `wandb sync` numbers them: what a resumed attempt logs comes behind what was logged
    before it. A rerun from scratch replaces what was logged before.

    Args:
        path: the run's directory.
        keep: whether a name is of interest; all are by default.
        only_last: keep no rows.

    Attributes:
        rows: the steps, each with the numbers that were logged there.
        last: the last step and value of each name.
        names: all names of numbers, also of those that are not kept.
        problems: what is wrong with files; what could be read of them is in the rows.
        found: whether there is any file of the run.
    """

    def __init__(
        self, path: Path, keep: Callable[[str], bool] = lambda name: True, only_last: bool = False
    ) -> None:
        self._path = path
        self._only_last = only_last
        self._keep = keep
        self._files: dict[Path, _File] = {}
        self._next_step = 0
        self.rows: list[Row] = []
        self.last: dict[str, tuple[int, float]] = {}
        self.names: set[str] = set()

    @property
    def found(self) -> bool:
        return bool(self._files)

    @property
    def is_ended(self) -> bool:
        """Whether W&B's SDK has written the end of the run's last file."""
        last = max(self._files.values(), key=lambda file: file.order, default=None)
        return last is not None and last.is_ended

    @property
    def cut_off(self) -> list[str]:
        """The files that are not written to their end: of killed processes, or of running ones."""
        return [str(file.path) for file in self._files.values() if not file.problem and not file.is_ended]

    @property
    def problems(self) -> list[str]:
        return [f"{file.path}: {file.problem}" for file in self._files.values() if file.problem]

    def read(self) -> None:
        """Read what was written since the last time."""
        for kind in ("run", "offline-run"):
            for path in self._path.glob(f"wandb/{kind}-*/run-{self._path.name}.wandb"):
                self._files.setdefault(path, _File(path))
        new = [(file, file.read(self._keep, self.names)) for file in self._files.values()]
        for file, rows in sorted(new, key=lambda each: each[0].order):
            if rows and not file.is_joined and not file.resumes and rows[0][0] < self._next_step:
                self._next_step = 0
                self.rows.clear()
                self.last.clear()
            file.is_joined |= bool(rows)
            for step, values in rows:
                # From 0.31 on, an offline file of a resumed run counts from 0: this is how it is uploaded.
                at = max(step, self._next_step)
                self._next_step = at + 1
                if values and not self._only_last:
                    self.rows.append((at, values))
                self.last |= {name: (at, value) for name, value in values.items()}


class _File:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: str | None = None
        self.started = float("inf")
        self.resumes = False
        self.is_joined = self.is_ended = False
        self._end = 0

    def read(self, keep: Callable[[str], bool], names: set[str]) -> list[Row]:
        """Read the steps that were written since the last time."""
        rows: list[Row] = []
        if self.problem is not None:
            return rows
        try:
            if not self.path.is_file():  # a pipe would be waited for
                raise ValueError("no regular file")
            for record, end in records_after(self.path, self._end):
                self._end = end
                kind = record.WhichOneof("record_type")
                if kind == "history":
                    rows.append((record.history.step.num, _numbers(record.history.item, keep, names)))
                elif kind == "exit":
                    self.is_ended = True
                elif kind == "run" and self._is_first(record.run):
                    self.started = record.run.start_time.ToNanoseconds() / 1e9
                    self.resumes = getattr(record.run, "resume", False)  # in its messages since 0.31
        except (OSError, ValueError) as error:
            self.problem = getattr(error, "strerror", None) or str(error)
        return rows

    @property
    def order(self) -> tuple[float, str]:
        # The names of folders alone would not do: they have the local time of their hosts.
        return self.started, self.path.parent.name

    def _is_first(self, run: Any) -> bool:
        return self.started == float("inf") and run.HasField("start_time")


def _numbers(items: Any, keep: Callable[[str], bool], names: set[str]) -> dict[str, float]:
    values = {}
    for item in items:
        name = ".".join(item.nested_key) or item.key
        if name.startswith("_"):
            continue
        if name in names and not keep(name):
            continue
        value = json.loads(item.value_json)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            names.add(name)
            if keep(name):
                values[name] = value
    return values
