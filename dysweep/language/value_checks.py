"""Every declared value is upserted once, so that a broken one is found before any machine works."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from dysweep.language.evaluate import carries_code, is_plain
from dysweep.language.flat import by_branch
from dysweep.language.parameter import Parameter
from dysweep.language.placed import Placed
from dysweep.language.space import Space
from dysweep.language.tree import INDEX_KEY, TreePath, is_word
from dysweep.limits import is_surely_small

logger = logging.getLogger("dysweep")


def check_values(space: Space, base_config: Mapping[str, Any], allow_eval: bool) -> None:
    """Resolve for every declared value a config that has it, with the first of all others.

    Args:
        space: the compiled space.
        base_config: the tree that every run starts from.
        allow_eval: whether code in the space (`dy__eval`) may be run.

    Raises:
        LanguageError: a value does not fit the base.
    """
    has_code = carries_code(space.tree)
    if has_code and not allow_eval:
        logger.warning(
            "the sweep carries code (dy__eval): its agents need --allow_eval True, and it was not checked"
        )
        return
    space.resolve(base_config, space.example, allow_eval)
    outermost = _outermost(space)
    outer_places = [place for place, outer in enumerate(outermost) if place == outer]
    branches = by_branch(space.flat)
    are_apart = not has_code and not _has_words(space.tree) and is_surely_small(space.tree, base_config)
    for place, parameter in enumerate(space.flat):
        indices = [index for index in range(len(parameter.values)) if _may_break(parameter, index)]
        if not indices:
            continue
        starts, parts = outer_places, [(space, base_config)]
        if are_apart:
            starts = [outermost[place]]
            parts = [_cut(space, base_config, path) for path in space.flat[starts[0]].paths]
        for index in indices:
            chosen = _chosen(space, place, index)
            places = list(_active(starts, chosen, branches))
            for part, base in parts:
                part.resolve_choices(base, [_choice(space, each, chosen) for each in places], allow_eval)


def _may_break(parameter: Parameter, index: int) -> bool:
    """Return whether a value has not been resolved with the first ones, and may not fit."""
    if index == 0 and parameter.within is None:
        return False
    # A number or text replaces what is there, whatever that is.
    in_place = not parameter.zipped and not any(map(is_word, parameter.path))
    return not (in_place and is_plain(parameter.values[index]))


def _has_words(tree: Any) -> bool:
    """Return whether settings can depend on others: a word of the language is outside of all values."""
    if isinstance(tree, dict):
        if "sweep" in tree:
            return False
        return any(is_word(key) or INDEX_KEY.fullmatch(key) for key in tree) or any(
            map(_has_words, tree.values())
        )
    return isinstance(tree, list) and any(map(_has_words, tree))


def _outermost(space: Space) -> list[int]:
    """Return for each parameter in whose values it is, however deep; its own place if in none's."""
    found: list[int] = []
    for place, parameter in enumerate(space.flat):  # each after the one that it is in
        found.append(place if parameter.within is None else found[parameter.within[0]])
    return found


def _cut(space: Space, base_config: Mapping[str, Any], path: TreePath) -> tuple[Space, Mapping[str, Any]]:
    """Leave out of a space and of its base config all that is not on the way to a place, or at it."""
    inside = path[len(space.path) :]
    return replace(space, tree=_on_the_way(space.tree, inside)), _on_the_way(base_config, inside)


def _on_the_way(tree: Any, path: TreePath) -> Any:
    if not path or not isinstance(tree, dict):
        return tree
    return {path[0]: _on_the_way(tree[path[0]], path[1:])} if path[0] in tree else {}


def _chosen(space: Space, place: int, index: int) -> dict[int, int]:
    """Return the place of a value of a parameter, and of those that it is in."""
    chosen = {place: index}
    while (within := space.flat[place].within) is not None:
        place, index = within
        chosen[place] = index
    return chosen


def _active(
    places: list[int], chosen: Mapping[int, int], branches: Mapping[tuple[int, int], list[int]]
) -> Iterator[int]:
    """Return parameters, and those in the values that are chosen for them."""
    for place in places:
        yield place
        yield from _active(branches.get((place, chosen.get(place, 0)), []), chosen, branches)


def _choice(space: Space, place: int, chosen: Mapping[int, int]) -> tuple[Parameter, int | Placed]:
    parameter = space.flat[place]
    if not parameter.values:
        return parameter, Placed(parameter.first, parameter.path)
    return parameter, chosen.get(place, 0)
