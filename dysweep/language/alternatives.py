"""The grid's alternatives: what W&B gets of a parameter whose values hold other parameters.

Branch by branch in document order, in a branch all combinations of what is in it, the last changing fastest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from dysweep.language.flat import Flat, Member, by_branch, member_text
from dysweep.language.labels import lookup_key, made_label, numbered, scalar_text
from dysweep.language.parameter import check_alternatives, check_equal_shares
from dysweep.language.placed import without_places
from dysweep.language.substitute import put_in


@dataclass(frozen=True)
class Alternative:
    """One value that W&B gets, and what it stands for.

    Args:
        sent: what W&B gets.
        picks: the places of the flat parameters that it sets, with the place of the value.
    """

    sent: Any
    picks: Mapping[int, int]

    @property
    def text(self) -> str:
        """What it is called inside of other labels."""
        return scalar_text(self.sent)


class Alternatives:
    """Writes out the alternatives of flat parameters."""

    def __init__(self, flat: Sequence[Flat]) -> None:
        self.flat = flat
        self._inside: dict[int, dict[int, list[int]]] = {}
        for (outer, index), places in by_branch([each.parameter for each in flat]).items():
            self._inside.setdefault(outer, {})[index] = places

    def is_plain(self, place: int) -> bool:
        """Return whether nothing is in the values of a parameter."""
        return place not in self._inside

    def members_of(self, place: int) -> Iterator[int]:
        """Return the places of a parameter and of all that is in its values."""
        yield place
        for places in self._inside.get(place, {}).values():
            for inner in places:
                yield from self.members_of(inner)

    def count(self, place: int) -> int:
        """Return how many alternatives a parameter has; nothing is written out.

        Raises:
            LanguageError: they are infinitely many.
        """
        total = 0
        parameter = self.flat[place].parameter
        branches = self._inside.get(place, {})
        for places in branches.values():
            total += math.prod(map(self.count, places))
        return total + parameter.size - len(branches)

    def of(self, place: int) -> list[Alternative]:
        """Return the alternatives of a parameter.

        Raises:
            LanguageError: they are infinitely many, too many, or have probabilities.
        """
        parameter = self.flat[place].parameter
        check_equal_shares(parameter)
        check_alternatives(self.count(place), parameter.path)
        found: list[tuple[Alternative, bool]] = []  # and whether its label may be numbered
        for index in range(parameter.size):
            inner = self._inside.get(place, {}).get(index, [])
            for chosen in product(*map(self.of, inner)):
                picks = {place: index}
                for each in chosen:
                    picks |= each.picks
                sent = self._sent(place, index, dict(zip(inner, chosen, strict=True)), picks)
                found.append((Alternative(sent, picks), bool(inner)))
        taken = {each.sent for each, is_made in found if not is_made and isinstance(each.sent, str)}
        may_change = [is_made and isinstance(each.sent, str) for each, is_made in found]
        texts = [each.sent for (each, _), is_text in zip(found, may_change, strict=True) if is_text]
        labels = iter(numbered(texts, taken))
        return [
            Alternative(next(labels), each.picks) if is_text else each
            for (each, _), is_text in zip(found, may_change, strict=True)
        ]

    def _sent(
        self, place: int, index: int, chosen: Mapping[int, Alternative], picks: Mapping[int, int]
    ) -> Any:
        flat = self.flat[place]
        if not chosen:
            return flat.parameter.encode(index)
        if flat.is_aliased:
            label = scalar_text(flat.parameter.encode(index))
            for inner, alternative in chosen.items():
                piece = self._piece(inner, alternative)
                label += f", {piece}" if self._shown(inner) else f"={piece}"
            return label
        if flat.is_zip:
            return ", ".join(f"{each.shown}={self._content(each, index, picks)}" for each in flat.members)
        [member] = flat.members
        value = _value(member, index)
        if isinstance(value, dict) and "sweep" in value:
            [alternative] = chosen.values()
            return alternative.sent
        return self._content(member, index, picks)

    def _shown(self, place: int) -> str:
        flat = self.flat[place]
        return flat.parameter.name if flat.is_zip else flat.members[0].shown

    def _piece(self, place: int, alternative: Alternative) -> str:
        flat, shown = self.flat[place], self._shown(place)
        return alternative.text if not shown or _names_itself(flat) else f"{shown}={alternative.text}"

    def _content(self, member: Member, index: int, picks: Mapping[int, int]) -> str:
        """Return a label made of the content of a value, with what is chosen in it put in."""
        value = _value(member, index)
        if member.is_aliased or lookup_key(value) is not None:
            return member_text(member, index)
        chosen = {
            path: picked for place, picked in picks.items() for path in self.flat[place].parameter.paths
        }
        path = (*member.node.path, *(("values", index) if "values" in member.node.spec else ("value",)))
        return made_label(without_places(put_in(value, path, chosen)))


def _names_itself(flat: Flat) -> bool:
    """Return whether the texts of a parameter say what they are about: those of a zip without aliases."""
    return flat.is_zip and not flat.is_aliased


def piece_of(flat: Flat, text: str) -> str:
    """Return `name=text` for an outer parameter, or its text alone if that has names already."""
    return text if _names_itself(flat) else f"{flat.parameter.name}={text}"


def _value(member: Member, index: int) -> Any:
    spec = member.node.spec
    return spec["values"][index] if "values" in spec else spec["value"]
