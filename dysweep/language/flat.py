"""The flat parameters of a tree: one for each sweep node, one for the nodes of a zip, with their names.

Names and zip labels that the user has chosen are reserved first, then the outer nodes get theirs in document
order, and then those in the values of others: what is put into a branch renames nothing outside.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dysweep.errors import LanguageError, closest
from dysweep.language.labels import numbered, scalar_text, unless_taken
from dysweep.language.nodes import Node
from dysweep.language.parameter import Parameter, check_node, labels_of, wandb_part
from dysweep.language.tree import (
    INDEX_KEY,
    INSERT,
    OPERATIONS,
    OVERWRITE,
    REMOVE,
    TreePath,
    format_path,
)

TAKEN_BY_WANDB = frozenset(["", "dy_config", "_wandb"])


@dataclass(frozen=True)
class Member:
    """A sweep node of a flat parameter.

    Args:
        node: the node.
        name: its name, which in a zip only labels and `sweep_exclude` use.
        shown: its name in the labels of the branch that it is in; empty if it is the branch itself.
        labels: the texts for its values, None where the value itself is sent.
    """

    node: Node
    name: str
    shown: str
    labels: tuple[str | None, ...]

    @property
    def is_aliased(self) -> bool:
        return "sweep_alias" in self.node.spec


@dataclass(frozen=True)
class Flat:
    """A flat parameter, and the sweep nodes that it is made of: one, or those of a zip."""

    parameter: Parameter
    members: tuple[Member, ...]

    @property
    def is_zip(self) -> bool:
        return len(self.members) > 1

    @property
    def is_aliased(self) -> bool:
        """Whether it has an alias for each value: a zip takes those of the only node that has some."""
        return sum(member.is_aliased for member in self.members) == 1


def flat_parameters(nodes: list[Node], method: str) -> tuple[Flat, ...]:
    """Name the sweep nodes, and make the flat parameters.

    Args:
        nodes: the sweep nodes in document order.
        method: of the sweep.

    Returns:
        the outer ones, those in the values of others, and the repeats, each in document order.

    Raises:
        LanguageError: a node is malformed, or a name or a label does not fit.
    """
    for node in nodes:
        check_node(node)
    _check_repeats(nodes)
    units = list(_units(nodes))
    taken = _reserve(nodes)
    outer = [unit for unit in units if unit[0].parent is None]
    inner = [unit for unit in units if unit[0].parent is not None]
    named = {node.path: _own_name(node, taken) for node in nodes if node.parent is None}
    flat: list[Flat] = []
    for unit in sorted(outer, key=_is_repeat):
        members = tuple(
            Member(node, named[node.path], named[node.path], labels_of(node.spec, node.path)) for node in unit
        )
        flat.append(_flat(members, None, method))
    repeats = flat.pop() if flat and flat[-1].parameter.is_repeat else None
    place_of = {member.node.path: place for place, each in enumerate(flat) for member in each.members}
    in_branch: dict[tuple[int, int], set[str]] = {}
    for unit in inner:
        parent = place_of[unit[0].parent or ()]
        branch = parent, unit[0].index
        names = in_branch.setdefault(branch, set())
        members = tuple(_inner_member(node, flat[parent], names, taken) for node in unit)
        place_of |= {node.path: len(flat) for node in unit}
        flat.append(_flat(members, branch, method))
    return (*flat, *filter(None, [repeats]))


def _is_repeat(unit: tuple[Node, ...]) -> bool:
    return "sweep_repeats" in unit[0].spec


def _check_repeats(nodes: list[Node]) -> None:
    repeated = [node for node in nodes if "sweep_repeats" in node.spec]
    if len(repeated) > 1:
        raise LanguageError(
            f"{format_path(repeated[1].path)}.sweep_repeats",
            f"{format_path(repeated[0].path)} has repeats already; one place is enough",
        )


def _units(nodes: list[Node]) -> Iterator[tuple[Node, ...]]:
    """Return the nodes that become one parameter each, where the first of them is."""
    zips: dict[str, list[Node]] = {}
    for node in nodes:
        if "sweep_zip" in node.spec:
            zips.setdefault(_zip_label(node), []).append(node)
    for label, zipped in zips.items():
        _check_zip(label, zipped, list(zips))
    for node in nodes:
        if "sweep_zip" not in node.spec:
            yield (node,)
        elif zips[node.spec["sweep_zip"]][0] is node:
            yield tuple(zips[node.spec["sweep_zip"]])


def _zip_label(node: Node) -> str:
    label, where = node.spec["sweep_zip"], f"{format_path(node.path)}.sweep_zip"
    if not isinstance(label, str) or label in TAKEN_BY_WANDB:
        raise LanguageError(where, f"a label is text, as `size`, got {json.dumps(label, default=str)}")
    if not isinstance(node.spec.get("values"), list):
        raise LanguageError(where, "needs `values` beside it; only values can advance together")
    if "probabilities" in node.spec:
        raise LanguageError(where, "takes no probabilities; leave them out")
    return label


def _check_zip(label: str, zipped: list[Node], labels: list[str]) -> None:
    first, *others = zipped
    if not others:
        meant = closest(label, [each for each in labels if each != label])
        raise LanguageError(f"{format_path(first.path)}.sweep_zip", f"{label!r} is on this node alone{meant}")
    for node in others:
        if node.branch != first.branch:
            raise LanguageError(
                f"{format_path(node.path)}.sweep_zip",
                f"zipped nodes are in one branch, or outside of all; {format_path(first.path)} is elsewhere",
            )
        counts = [len(each.spec["values"]) for each in (node, first)]
        if counts[0] != counts[1]:
            raise LanguageError(
                f"{format_path(node.path)}.values",
                f"{counts[0]} values, and {format_path(first.path)} of the same sweep_zip {label!r} has "
                f"{counts[1]}; zipped nodes need equally many",
            )


def _reserve(nodes: list[Node]) -> set[str]:
    """Return the names that the user has chosen, and those that W&B uses itself."""
    taken = set(TAKEN_BY_WANDB)
    for node in nodes:
        identifier = node.spec.get("sweep_identifier")
        if identifier is None:
            continue
        where = format_path((*node.path, "sweep_identifier"))
        if not isinstance(identifier, str):
            raise LanguageError(where, f"an identifier is text, as `{json.dumps(str(identifier))}`")
        if identifier in TAKEN_BY_WANDB:
            raise LanguageError(where, f"{identifier!r} is used by W&B or dysweep itself; choose another one")
        if identifier in taken:
            raise LanguageError(
                where, f"sweep_identifier {identifier!r} is used twice; give each parameter its own"
            )
        taken.add(identifier)
    labels = {node.spec["sweep_zip"]: node for node in nodes if "sweep_zip" in node.spec}
    for label, node in labels.items():
        if label in taken:
            raise LanguageError(
                f"{format_path(node.path)}.sweep_zip", f"{label!r} is a name already; choose another label"
            )
    return taken.union(labels)


def _own_name(node: Node, taken: set[str]) -> str:
    name = node.spec.get("sweep_identifier") or _free_name(node.inside, taken)
    taken.add(name)
    return str(name)


def _inner_member(node: Node, parent: Flat, in_branch: set[str], taken: set[str]) -> Member:
    identifier = node.spec.get("sweep_identifier")
    shown = identifier or _free_end(node.inside, in_branch)
    in_branch.add(shown)
    outer = parent.parameter.name
    branch = scalar_text(parent.parameter.encode(node.index)) if parent.is_aliased else str(node.index)
    inside = f"{branch}.{shown}" if shown else branch
    candidates = [f"{outer}.{inside}"]
    if parent.is_aliased and shown:
        candidates.insert(0, inside)
    name = identifier or next((each for each in candidates if each not in taken), None)
    name = name or unless_taken(candidates[-1], taken)
    taken.add(name)
    return Member(node, name, shown, labels_of(node.spec, node.path))


def _flat(members: tuple[Member, ...], within: tuple[int, int] | None, method: str) -> Flat:
    node = members[0].node
    if len(members) > 1:
        aliased = [member for member in members if member.is_aliased]
        labels = aliased[0].labels if len(aliased) == 1 else zip_labels(members)
        parameter = Parameter(
            node.spec["sweep_zip"],
            node.path,
            {"values": list(labels)},
            (None,) * len(labels),
            tuple(member.node.path for member in members[1:]),
            within,
        )
        return Flat(parameter, members)
    described = wandb_part(node.spec)
    # W&B's grid leaves the largest value of q_uniform out.
    in_full = method == "grid" and described.get("distribution") == "q_uniform"
    is_repeat = "sweep_repeats" in node.spec
    name, labels = members[0].name, members[0].labels
    return Flat(Parameter(name, node.path, described, labels, (), within, is_repeat, in_full), members)


def zip_labels(members: Sequence[Member]) -> list[str]:
    """Return the labels of a zip without aliases of its own: `width=64, depth=2`."""
    return numbered(
        (
            ", ".join(f"{member.shown}={member_text(member, place)}" for member in members)
            for place in range(len(members[0].node.spec["values"]))
        ),
        set(),
    )


def member_text(member: Member, place: int) -> str:
    """Return the text of a node's value."""
    label = member.labels[place]
    return scalar_text(member.node.spec["values"][place]) if label is None else label


def _free_name(path: TreePath, taken: set[str]) -> str:
    return _free_end(path, taken) or unless_taken(".".join(map(str, _pieces(path))), taken)


def _free_end(path: TreePath, taken: set[str]) -> str:
    """Return the shortest end of a path that begins with a text and is free: `lr`, else `optimizer.lr`.

    Below a list alone there is none: the first gets an empty name, others their place.
    """
    pieces = tuple(_pieces(path))
    for start in range(len(pieces) - 1, -1, -1):
        if isinstance(pieces[start], str) and pieces[start] not in (INSERT, REMOVE, OVERWRITE):
            name = ".".join(map(str, pieces[start:]))
            if name not in taken:
                return name
    whole = ".".join(map(str, pieces))
    if any(isinstance(piece, str) for piece in pieces):
        return unless_taken(whole, taken)
    return "" if "" not in taken else unless_taken(whole, taken)


def _pieces(path: TreePath) -> Iterator[str | int]:
    """Return what a name is made of: n instead of `__IDX__n`, and not which of a list's operations it is."""
    for place, part in enumerate(path):
        if isinstance(part, int):
            if place == 0 or path[place - 1] != OPERATIONS:
                yield part
        elif element := INDEX_KEY.fullmatch(part):
            yield int(element[1])
        elif part != OPERATIONS or len(path) == 1:
            yield from part.split("__CUSTOM_SEPERATOR__")  # dysweep 0.1 joined paths with it


def by_branch(flat: Sequence[Parameter]) -> dict[tuple[int, int], list[int]]:
    """Return the parameters in each branch: which place's which value, and the places of those in it."""
    branches: dict[tuple[int, int], list[int]] = {}
    for place, parameter in enumerate(flat):
        if parameter.within is not None:
            branches.setdefault(parameter.within, []).append(place)
    return dict(sorted(branches.items()))
