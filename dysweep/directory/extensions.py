"""What a sweep is in all: as it was created, and what has extended it since."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from dysweep.directory.sweep import Sweep, SweepDirectory
from dysweep.errors import DirectoryError
from dysweep.files import publish_json, read_json
from dysweep.language.points import Points, points_of, size_of


@dataclass(frozen=True)
class Extension:
    """One definition of a sweep, and what is run of it.

    Args:
        sweep: the sweep as it is defined from then on.
        first: the number of its first run.
        indices: which points of its grid are new; None for all, and if its points are drawn.
    """

    sweep: Sweep
    first: int = 1
    indices: Sequence[int] | None = None


@dataclass(frozen=True)
class Definitions:
    """All definitions of a sweep; as `Points`, the points of all its grids, or what is drawn by the last.

    Args:
        extensions: the definition that it was created with, and the later ones.
    """

    extensions: tuple[Extension, ...]

    @classmethod
    def of(cls, directory: SweepDirectory) -> Definitions:
        """Read them.

        Raises:
            NotFoundError: no sweep is here.
            DirectoryError: one is damaged.
        """
        found = [Extension(directory.sweep)]
        while True:
            path = directory.definition_path(len(found) + 1)
            try:
                stored = read_json(path)
                extension = Extension(Sweep.from_stored(stored), stored["first"], stored["indices"])
                if type(extension.first) is not int:
                    raise ValueError("first is a number")
            except FileNotFoundError:
                return cls(tuple(found))
            except (KeyError, TypeError, ValueError) as error:
                raise DirectoryError(f"{path}: damaged or unreadable ({error})") from None
            found.append(extension)

    @property
    def last(self) -> Sweep:
        """The sweep as it is defined now."""
        return self.extensions[-1].sweep

    @property
    def is_grid(self) -> bool:
        """Whether its points are those of grids."""
        return bool(self.last.sweep_configuration.get("method", "grid") == "grid")

    @cached_property
    def _points(self) -> list[Points | None]:
        return [
            points_of(each.sweep.compiled, each.sweep.sweep_configuration, each.sweep.sweep_id)
            for each in self.extensions
        ]

    @cached_property
    def _sizes(self) -> list[int | None]:
        return [
            size_of(each.sweep.compiled, each.sweep.sweep_configuration, each.sweep.mode)
            if each.indices is None
            else len(each.indices)
            for each in self.extensions
        ]

    @cached_property
    def size(self) -> int | None:
        """The number of points; None if nobody knows, or if they are endless."""
        return sum(filter(None, self._sizes)) if self.is_grid else self._sizes[-1]

    def number(self, index: int) -> int:
        """Return which definition a point that nobody has started is of, 1 for the first."""
        if not self.is_grid:
            return len(self.extensions)
        return bisect_right([each.first for each in self.extensions], index + 1)

    def assignment(self, index: int) -> dict[str, Any]:
        """Return the assignment of the point with this index, 0 for the first."""
        number = self.number(index) - 1
        extension, points = self.extensions[number], self._points[number]
        place = index - extension.first + 1 if self.is_grid else index
        assert points is not None  # what bayes suggests is not known before
        return points.assignment(place if extension.indices is None else extension.indices[place])

    def now(self, directory: SweepDirectory) -> Definitions:
        """Return them as they are now: mostly the same, which costs one look."""
        is_extended = directory.definition_path(len(self.extensions) + 1).exists()
        return Definitions.of(directory) if is_extended else self

    def add(self, directory: SweepDirectory, extension: Extension) -> bool:
        """Extend the sweep; return whether it was not extended by another process meanwhile."""
        path = directory.definition_path(len(self.extensions) + 1)
        stored = {**asdict(extension.sweep), "first": extension.first, "indices": extension.indices}
        with directory.shared():
            return publish_json(path, stored)
