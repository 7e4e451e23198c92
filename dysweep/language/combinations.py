"""The combinations of values of a space in which parameters can depend on the values of others."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dysweep.language.distributions import multiple, multiples
from dysweep.language.parameter import Parameter
from dysweep.language.space import Space


@dataclass(frozen=True)
class Combinations:
    """All combinations of values of a space that is searched, each with the parameters of its branches alone.

    Args:
        space: the space; a parameter with infinitely many values counts as one value.
    """

    space: Space

    @cached_property
    def size(self) -> int:
        """The number of combinations."""
        return math.prod(self._size_of(place) for place in self._outer)

    @property
    def runs(self) -> int | None:
        """The number of runs that have different points, each repeated; None if there are infinitely many."""
        if any(_count(parameter) is None for parameter in self.space.flat):
            return None
        repeats = repeats_of(self.space)
        return self.size * (repeats.size if repeats else 1)

    def point(self, index: int) -> dict[str, Any | None]:
        """Return a combination, 0 for the first; None for what has infinitely many values."""
        point: dict[str, Any] = {}
        for place in reversed(self._outer):
            index, rest = divmod(index, self._size_of(place))
            self._put(place, rest, point)
        return {each.name: point[each.name] for each in self.space.flat if each.name in point}

    def _put(self, place: int, rest: int, point: dict[str, Any]) -> None:
        parameter = self.space.flat[place]
        if place not in self._inner:
            point[parameter.name] = _value(parameter, rest)
            return
        for choice, branch in enumerate(self._inner[place]):
            many = math.prod(map(self._size_of, branch))
            if rest < many:
                point[parameter.name] = parameter.encode(choice)
                for inner in reversed(branch):
                    rest, position = divmod(rest, self._size_of(inner))
                    self._put(inner, position, point)
                return
            rest -= many

    def _size_of(self, place: int) -> int:
        if place not in self._inner:
            return _count(self.space.flat[place]) or 1
        return sum(math.prod(map(self._size_of, branch)) for branch in self._inner[place])

    @cached_property
    def _outer(self) -> list[int]:
        flat = enumerate(self.space.flat)
        return [place for place, each in flat if each.within is None and not each.is_repeat]

    @cached_property
    def _inner(self) -> dict[int, list[list[int]]]:
        """The places of the parameters inside the values of others: by whose, and by which value."""
        inner: dict[int, list[list[int]]] = {}
        for place, each in enumerate(self.space.flat):
            if each.within is not None:
                outer, choice = each.within
                branches = inner.setdefault(outer, [[] for _ in self.space.flat[outer].values])
                branches[choice].append(place)
        return inner


def _count(parameter: Parameter) -> int | None:
    """Return the number of values; None if there are infinitely many."""
    if parameter.values:
        return len(parameter.values)
    numbers = multiples(parameter.node)
    return None if numbers is None else len(numbers)


def _value(parameter: Parameter, index: int) -> Any:
    if parameter.values:
        return parameter.encode(index)
    numbers = multiples(parameter.node)
    return None if numbers is None else multiple(parameter.node, numbers[index])


def repeats_of(space: Space) -> Parameter | None:
    """Return the parameter that repeats what is drawn, if there is one."""
    return next((parameter for parameter in space.flat if parameter.is_repeat), None)


def choose(space: Space, value_of: Callable[[Parameter], Any]) -> dict[str, Any]:
    """Choose a value for each parameter but the repeats; inside the values of others only where it counts.

    Args:
        space: the space, of a sweep that draws or searches.
        value_of: gives what W&B would get for the value of a parameter.
    """
    point: dict[str, Any] = {}
    indices: dict[int, int | None] = {}
    for place, parameter in enumerate(space.flat):
        within = parameter.within
        if not parameter.is_repeat and (within is None or indices.get(within[0]) == within[1]):
            point[parameter.name] = sent = value_of(parameter)
            indices[place] = parameter.index_of(sent)
    return point
