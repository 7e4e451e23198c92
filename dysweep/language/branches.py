"""In which runs of a grid each value occurs: how many there are, and the first of them."""

from __future__ import annotations

import math
from collections import Counter
from functools import cached_property

from dysweep.language.points import Grid
from dysweep.language.shuffle import shuffled
from dysweep.language.space import Space

_COUNTED_RUNS = 10_000

Value = tuple[int, int]  # the place of a parameter in `Space.flat`, and that of the value


class Branches:
    """Counts the runs of a grid by what its parameters can be; no grid is enumerated.

    Args:
        space: the compiled space.
        grid: its points.
    """

    def __init__(self, space: Space, grid: Grid) -> None:
        self._grid = grid
        self._sizes = [axis.size for axis in grid.axes]
        self._axis_of: dict[int, int] = {}
        self._alone: set[int] = set()
        self._positions: dict[Value, list[int]] = {}
        places = {parameter.name: place for place, parameter in enumerate(space.flat)}
        for number, parameter in enumerate(space.swept):
            if not parameter.picks:
                self._axis_of[places[parameter.name]] = number
                self._alone.add(places[parameter.name])
            for position, picked in enumerate(parameter.picks):
                for value in picked.items():
                    self._axis_of[value[0]] = number
                    self._positions.setdefault(value, []).append(position)

    @property
    def whole(self) -> int:
        """The number of points without `run_cap`."""
        return math.prod(self._sizes)

    @property
    def sees_all(self) -> bool:
        """Whether `first` looks at all runs; of a grid in random order only at its beginning."""
        return self._grid.seed is None or self._grid.size <= _COUNTED_RUNS

    @property
    def is_exact(self) -> bool:
        """Whether `runs` counts what is run; of a large choice at random it counts the whole grid."""
        return self.sees_all or self._grid.size == self.whole

    def is_alone(self, place: int) -> bool:
        """Return whether W&B gets a parameter as it is, not one for it and others."""
        return place in self._alone

    def runs(self, value: Value) -> int:
        """Return in how many runs a value occurs."""
        positions = self._positions_of(value)
        return sum(self._runs_at(self._axis_of[value[0]], position) for position in positions)

    def first(self, value: Value) -> int | None:
        """Return the index of the first run in which a value occurs; None if there is none, or it is far."""
        positions = self._positions_of(value)
        if not positions:
            return None
        axis = self._axis_of[value[0]]
        if self._grid.seed is None:
            index = min(positions) * self._block(axis)
            return index if index < self._grid.size else None
        return min(
            (self._firsts[axis][each] for each in positions if each in self._firsts[axis]), default=None
        )

    def _positions_of(self, value: Value) -> list[int]:
        return [value[1]] if value[0] in self._alone else self._positions.get(value, [])

    def _block(self, axis: int) -> int:
        return math.prod(self._sizes[axis + 1 :])

    def _at(self, axis: int, place: int) -> int:
        return place // self._block(axis) % self._sizes[axis]

    def _runs_at(self, axis: int, position: int) -> int:
        is_cut = self._grid.size < self.whole
        if is_cut and self._grid.seed is not None and self.is_exact:
            return self._counts[axis][position]
        block = self._block(axis)
        cut = self._grid.size if is_cut and self._grid.seed is None else self.whole
        cycles, rest = divmod(cut, block * self._sizes[axis])
        return cycles * block + min(max(rest - position * block, 0), block)

    @cached_property
    def _counts(self) -> list[Counter[int]]:
        axes = range(len(self._sizes))
        return [Counter(self._at(axis, place) for place in self._shuffled) for axis in axes]

    @cached_property
    def _firsts(self) -> list[dict[int, int]]:
        found: list[dict[int, int]] = [{} for _ in self._sizes]
        for index, place in enumerate(self._shuffled):
            for axis, known in enumerate(found):
                known.setdefault(self._at(axis, place), index)
        return found

    @cached_property
    def _shuffled(self) -> list[int]:
        """Which points of the unshuffled grid the first runs are."""
        seed, looked_at = self._grid.seed, range(min(self._grid.size, _COUNTED_RUNS))
        return [] if seed is None else [shuffled(self.whole, seed, index) for index in looked_at]
