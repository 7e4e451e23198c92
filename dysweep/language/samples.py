"""Points of a sweep in which every declared value occurs once that may be more than a number or a text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from dysweep.language.branches import Branches
from dysweep.language.evaluate import is_plain
from dysweep.language.parameter import Parameter
from dysweep.language.points import Grid
from dysweep.language.space import Space
from dysweep.language.tree import CLASS_KEYS, TreePath, is_word
from dysweep.text import short_value


@dataclass(frozen=True)
class Sample:
    """A point of a sweep.

    Args:
        assignment: its assignment.
        run: its number, 1 for the first; None if it is not known.
    """

    assignment: dict[str, Any]
    run: int | None


def samples(space: Space, grid: Grid | None) -> Iterator[Sample]:
    """Return points in which every value occurs once, in the order of their runs.

    Numbers and texts are left out where they change nothing but themselves.

    Args:
        space: the compiled space.
        grid: its points; None if they are drawn.
    """
    values = [
        (place, index)
        for place, parameter in enumerate(space.flat)
        for index in range(len(parameter.values))
        if _matters(parameter, index)
    ]
    if grid is None:
        yield Sample(space.example, None)
        for value in values:
            yield Sample({**space.example, **_chosen(space, *value)}, None)
        return
    branches = Branches(space, grid)
    first = {value: branches.first(value) for value in values}
    for index in sorted({0, *(index for index in first.values() if index is not None)}):
        yield Sample(grid.assignment(index), index + 1)
    if not branches.sees_all:
        straight = replace(grid, seed=None, cap=None)
        in_order = Branches(space, straight)
        for value in (value for value, index in first.items() if index is None):
            if (place := in_order.first(value)) is not None:
                yield Sample(straight.assignment(place), None)


def chosen_at(space: Space, path: TreePath) -> str:
    """Write which value of a parameter a part of the YAML belongs to: `model=cnn`, `every run` if to none."""
    found = "every run"
    for parameter in space.flat:  # each before those in its values
        for place in parameter.paths:
            size = len(place)
            if size < len(path) and path[:size] == place and path[size] in ("values", "value"):
                index = path[size + 1] if path[size] == "values" and len(path) > size + 1 else 0
                found = f"{short_value(parameter.name)}={short_value(parameter.encode(int(index)))}"
    return found


def _matters(parameter: Parameter, index: int) -> bool:
    if parameter.zipped or parameter.path[-1] in CLASS_KEYS or any(map(is_word, parameter.path)):
        return True
    return not is_plain(parameter.values[index])


def _chosen(space: Space, place: int, index: int) -> dict[str, Any]:
    """Return the assignment of a value, and of those that it is in."""
    assignment = {}
    value: tuple[int, int] | None = (place, index)
    while value is not None:
        parameter = space.flat[value[0]]
        assignment[parameter.name] = parameter.encode(value[1])
        value = parameter.within
    return assignment
