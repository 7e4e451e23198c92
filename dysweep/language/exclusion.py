"""The points of a grid that are not run (`sweep_exclude`): W&B gets the others, as one parameter's values."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from dysweep.errors import LanguageError, closest
from dysweep.language.alternatives import Alternative, Alternatives, piece_of
from dysweep.language.flat import TAKEN_BY_WANDB, Flat, Member
from dysweep.language.labels import flow, lookup_key, scalar_text, unless_taken
from dysweep.language.parameter import Parameter, check_alternatives
from dysweep.language.tree import TreePath, format_key, format_path

Point = tuple[Alternative, ...]


@dataclass(frozen=True)
class Clause:
    """What one key of an entry asks of a point.

    Args:
        root: the place of the outer parameter that it is about.
        matches: tells whether an alternative of that one has one of the values.
    """

    root: int
    matches: Callable[[Alternative], bool]


@dataclass(frozen=True)
class Entry:
    """An entry of `sweep_exclude`: a point is out if all its clauses match."""

    path: TreePath
    clauses: tuple[Clause, ...]

    @property
    def roots(self) -> set[int]:
        """The outer parameters that it connects."""
        return {clause.root for clause in self.clauses}

    def matches(self, point: Mapping[int, Alternative]) -> bool:
        """Return whether a point, an alternative for each of the roots, is out."""
        return all(clause.matches(point[clause.root]) for clause in self.clauses)


class Exclusion:
    """Reads `sweep_exclude`, and joins the parameters that its entries connect.

    Args:
        flat: the flat parameters.
        alternatives: writes them out.
        path: where `sweep_exclude` is in the YAML.
    """

    def __init__(self, flat: Sequence[Flat], alternatives: Alternatives, path: TreePath) -> None:
        self.flat = flat
        self.path = path
        self._alternatives = alternatives
        self._root_of = {
            inner: place
            for place, each in enumerate(flat)
            if each.parameter.within is None
            for inner in alternatives.members_of(place)
        }
        self._options: dict[int, list[Alternative]] = {}
        self.without_effect: list[TreePath] = []

    def joined(self, entries: Any) -> dict[int, Parameter | None]:
        """Return what W&B gets instead of outer parameters that entries are about.

        Args:
            entries: what is in `sweep_exclude`.

        Returns:
            by the place of an outer parameter: the one that stands for it and others, at the first of them;
            None at the others.

        Raises:
            LanguageError: an entry names what there is not, or nothing is left.
        """
        if not isinstance(entries, list):
            raise LanguageError(format_path(self.path), "a list of mappings is needed, as [{width: 512}]")
        read = [self._entry(entry, (*self.path, index)) for index, entry in enumerate(entries)]
        used: set[TreePath] = set()
        joined: dict[int, Parameter | None] = {}
        taken = {each.parameter.name for each in self.flat} | TAKEN_BY_WANDB
        for group in _connected([entry.roots for entry in read]):
            roots = sorted(group)
            about = [entry for entry in read if entry.roots <= group]
            kept = self._kept(roots, about, used)
            if not kept:
                raise LanguageError(format_path(self.path), "nothing is left to run; exclude less")
            joined |= dict.fromkeys(roots)
            joined[roots[0]] = self._parameter(roots, kept, taken)
        self.without_effect = [entry.path for entry in read if entry.path not in used]
        return joined

    def options(self, root: int) -> list[Alternative]:
        """Return the alternatives of an outer parameter."""
        if root not in self._options:
            self._options[root] = self._alternatives.of(root)
        return self._options[root]

    def _kept(self, roots: list[int], about: list[Entry], used: set[TreePath]) -> list[Point]:
        kept = []
        for point in product(*map(self.options, roots)):
            out = [entry for entry in about if entry.matches(dict(zip(roots, point, strict=True)))]
            used.update(entry.path for entry in out)
            if not out:
                kept.append(point)
                if len(roots) > 1:
                    check_alternatives(len(kept), self.path)
        return kept

    def _parameter(self, roots: list[int], kept: list[Point], taken: set[str]) -> Parameter:
        parameters = [self.flat[root].parameter for root in roots]
        if len(roots) == 1:
            return joint(parameters[0], [alternative for [alternative] in kept])
        name = unless_taken("-".join(each.name for each in parameters), taken)
        taken.add(name)
        labels: set[str] = set()
        alternatives = []
        for point in kept:
            pieces = [piece_of(self.flat[root], each.text) for root, each in zip(roots, point, strict=True)]
            label = unless_taken(", ".join(pieces), labels)
            labels.add(label)
            picks = {place: index for each in point for place, index in each.picks.items()}
            alternatives.append(Alternative(label, picks))
        return joint(parameters[0], alternatives, name)

    def _entry(self, entry: Any, path: TreePath) -> Entry:
        if not isinstance(entry, dict):
            raise LanguageError(format_path(path), "a mapping is needed, as {width: 512, depth: 1}")
        if not entry:
            raise LanguageError(format_path(path), "an empty entry excludes everything; name a parameter")
        return Entry(path, tuple(self._clause(name, wanted, path) for name, wanted in entry.items()))

    def _clause(self, name: Any, wanted: Any, path: TreePath) -> Clause:
        where = format_key(format_path(path), str(name))
        place, member = self._named(name, where)
        values = wanted if isinstance(wanted, list) else [wanted]
        if not values:
            raise LanguageError(where, "an empty list matches nothing; name a value")
        declared = self._declared(place, member)
        root = self._root_of[place]
        labels = {each.text for each in self.options(root)} if place == root and member is None else set()
        indices: set[int] = set()
        whole: set[str] = set()
        for value in values:
            found = [index for index, keys in enumerate(declared) if not keys.isdisjoint(_keys(value))]
            if not found and scalar_text(value) not in labels:
                shown = [flow(self._value(place, member, index)) for index in range(min(len(declared), 20))]
                raise LanguageError(where, f"no value {flow(value)}; there are {', '.join(shown)}")
            indices.update(found)
            whole |= {scalar_text(value)} if not found else set()
        return Clause(root, lambda each: each.picks.get(place) in indices or each.text in whole)

    def _named(self, name: Any, where: str) -> tuple[int, Member | None]:
        """Return the place of the parameter that a name means, and which member of a zip it is."""
        places = {
            each.parameter.name: place for place, each in enumerate(self.flat) if not each.parameter.is_repeat
        }
        members = {
            member.name: (place, member)
            for place, each in enumerate(self.flat)
            if each.is_zip
            for member in each.members
        }
        if name in places:
            return places[name], None
        if name in members:
            return members[name]
        raise LanguageError(where, f"unknown parameter{closest(str(name), [*places, *members])}")

    def _value(self, place: int, member: Member | None, index: int) -> Any:
        flat = self.flat[place]
        spec = (member or flat.members[0]).node.spec
        if "values" not in spec or (member is None and flat.is_zip):
            return flat.parameter.values[index] if flat.parameter.values else flat.parameter.encode(index)
        return spec["values"][index]

    def _declared(self, place: int, member: Member | None) -> list[set[Any]]:
        """Return for each value the keys under which it is named: its own, and that of its alias."""
        flat = self.flat[place]
        check_alternatives(flat.parameter.size, flat.parameter.path)
        declared: list[set[Any]] = [{_key(self._value(place, member, i))} for i in range(flat.parameter.size)]
        labels = (member or flat.members[0]).labels
        for keys, label in zip(declared, labels, strict=False):
            keys.add(("label", label))
        if flat.is_zip and member is None:
            for keys in declared:
                keys |= {("label", text) for kind, text in list(keys) if kind == "text"}
        return declared


def joint(first: Parameter, alternatives: list[Alternative], name: str | None = None) -> Parameter:
    """Return the parameter that W&B gets for others.

    Args:
        first: the first of them.
        alternatives: its values.
        name: its name, that of the first by default.
    """
    sent = [alternative.sent for alternative in alternatives]
    picks = tuple(alternative.picks for alternative in alternatives)
    return Parameter(name or first.name, first.path, {"values": sent}, (None,) * len(sent), picks=picks)


def _connected(groups: list[set[int]]) -> list[set[int]]:
    """Unite the sets that have an element in common."""
    united: list[set[int]] = []
    for group in groups:
        apart = [each for each in united if not each & group]
        united = [*apart, group.union(*(each for each in united if each & group))]
    return sorted(united, key=min)


def _key(value: Any) -> Any:
    found = lookup_key(value)
    return ("tree", json.dumps(value, sort_keys=True)) if found is None else found


def _keys(value: Any) -> tuple[Any, Any]:
    """Return the keys of what was written: it may be a value, or the text of an alias."""
    return _key(value), ("label", scalar_text(value))
