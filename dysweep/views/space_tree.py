"""A space with conditions, zips, exclusions or repeats as a tree, with the number of runs of each branch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dysweep.language.alternatives import Alternatives
from dysweep.language.branches import Branches, Value
from dysweep.language.flat import Flat, by_branch, flat_parameters
from dysweep.language.labels import flow, scalar_text
from dysweep.language.nodes import sweep_nodes
from dysweep.language.tree import format_path
from dysweep.text import count, counted, short_value
from dysweep.views.preview import Preview, values_of

_WIDTH = 80
_LONGEST_NAME = 32
_LEAST_ROOM = 24
_BRANCHES = 20


@dataclass(frozen=True)
class SpaceTree:
    """A space as people read it.

    Args:
        runs: how many runs there are, and of how many; None if they are drawn.
        rows: the parameters and branches, each in two columns, the first one indented.
    """

    runs: str | None
    rows: list[tuple[str, str]]


def space_tree(seen: Preview) -> SpaceTree | None:
    """Return a sweep's space as a tree; None if it is flat."""
    space = seen.definition.space
    if not any(each.within or each.zipped or each.is_repeat for each in space.flat) and not any(
        each.picks for each in space.swept
    ):
        return None
    method = seen.definition.sweep_configuration["method"]
    flat = flat_parameters(sweep_nodes(space.tree, space.path), method)
    branches = None if seen.counted_grid is None else Branches(space, seen.counted_grid)
    rows = list(_Tree(flat, branches).rows())
    width = max(len(row.name) for row in rows)
    runs = None if branches is None else _runs(seen, branches, flat)
    return SpaceTree(runs, [(row.name, row.text(_WIDTH - width - 2)) for row in rows])


def _runs(seen: Preview, branches: Branches, flat: Sequence[Flat]) -> str:
    whole, size = branches.whole, seen.size or 0
    is_cut = size < whole
    text = f"{count(size)} of {counted(whole, 'run')} (run_cap)" if is_cut else counted(whole, "run")
    alternatives = Alternatives(flat)
    outer = [place for place, each in enumerate(flat) if each.parameter.within is None]
    excluded = math.prod(map(alternatives.count, outer)) - whole
    text += f", {count(excluded)} excluded" if excluded else ""
    is_exact = seen.points == seen.counted_grid and branches.is_exact
    return f"{text}; the numbers below are those of all {count(whole)}" if is_cut and not is_exact else text


@dataclass(frozen=True)
class _Row:
    """A line: a name, what is said of it, and its values, as many as there is room for."""

    name: str
    note: str = ""
    values: tuple[str, ...] = ()

    def text(self, room: int) -> str:
        room = max(room, _LEAST_ROOM) - len(self.note)
        whole = " | ".join(self.values)
        if len(whole) <= room:
            return self.note + whole
        more = f" | ... ({len(self.values)} values)"
        shown = self.values[:1]
        while len(" | ".join(self.values[: len(shown) + 1]) + more) <= room:
            shown = self.values[: len(shown) + 1]
        return self.note + " | ".join(shown) + more


@dataclass(frozen=True)
class _Entry:
    """A value of a parameter, and the places of the parameters inside of it; a whole range has no value."""

    text: str
    value: Value | None
    inside: tuple[int, ...] = ()


class _Tree:
    def __init__(self, flat: Sequence[Flat], branches: Branches | None) -> None:
        self._flat = flat
        self._branches = branches
        self._inside = by_branch([each.parameter for each in flat])

    def rows(self) -> Iterator[_Row]:
        for place, each in enumerate(self._flat):
            if each.parameter.within is None:
                yield from self._parameter(place, each.parameter.name, 1)

    def _parameter(self, place: int, name: str, depth: int) -> Iterator[_Row]:
        flat, entries = self._flat[place], self._entries(place)
        shown = _indented(name, depth)
        together = ", ".join(member.shown for member in flat.members)
        if any(entry.inside for entry in entries):
            yield _Row(shown, f"{together} together" if flat.is_zip else "")
            for entry in entries[:_BRANCHES]:
                yield from self._branch(entry, depth + 1)
            if len(entries) > _BRANCHES:
                yield _Row(_indented("...", depth + 1), f"{len(entries)} values")
            return
        values = self._counted(entries)
        if flat.is_zip and not flat.is_aliased and values == tuple(entry.text for entry in entries):
            yield _Row(shown, f"{len(entries)} values together")
        else:
            yield _Row(shown, f"{len(entries)} repeats: " if flat.parameter.is_repeat else "", values)
        for member in flat.members if flat.is_zip else ():
            texts = tuple(short_value(flow(value)) for value in member.node.spec["values"])
            yield _Row(_indented(member.shown, depth + 1), values=texts)

    def _branch(self, entry: _Entry, depth: int) -> Iterator[_Row]:
        runs = self._runs(entry)
        yield _Row(_indented(entry.text, depth), "" if runs is None else counted(runs, "run"))
        for place in entry.inside if runs != 0 else ():
            flat = self._flat[place]
            node = flat.members[0].node
            shown = flat.parameter.name if flat.is_zip else flat.members[0].shown
            yield from self._parameter(place, shown or format_path(node.inside) or "value", depth + 1)

    def _entries(self, place: int) -> list[_Entry]:
        """Return the values of a parameter; one that is a sweep node itself, without alias, by its own."""
        flat = self._flat[place]
        parameter = flat.parameter
        if not parameter.values and (self._branches is None or self._branches.is_alone(place)):
            return [_Entry(values_of(parameter.node), None)]
        entries: list[_Entry] = []
        for index in range(parameter.size):
            inside = tuple(self._inside.get((place, index), ()))
            is_node = len(inside) == 1 and not self._flat[inside[0]].members[0].node.inside
            if is_node and not flat.is_aliased and not flat.is_zip:
                entries += self._entries(inside[0])
            else:
                text = short_value(scalar_text(parameter.encode(index)))
                entries.append(_Entry(text, (place, index), inside))
        return entries

    def _runs(self, entry: _Entry) -> int | None:
        return None if self._branches is None or entry.value is None else self._branches.runs(entry.value)

    def _counted(self, entries: list[_Entry]) -> tuple[str, ...]:
        """Return the values, with the numbers of their runs if these differ."""
        runs = [self._runs(entry) for entry in entries]
        if len(set(runs)) == 1:
            return tuple(entry.text for entry in entries)
        return tuple(f"{entry.text} ({number})" for entry, number in zip(entries, runs, strict=True))


def _indented(name: str, depth: int) -> str:
    return f"{'  ' * depth}{short_value(name, _LONGEST_NAME)}"
