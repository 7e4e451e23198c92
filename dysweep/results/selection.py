"""Conditions on runs, as `dataset=wine` or `lr<=0.01`."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dysweep.errors import ConfigError, closest
from dysweep.results.columns import is_number, key_of, pandas
from dysweep.results.trials import Trials
from dysweep.text import short_value
from dysweep.yaml_text import parse_yaml

_OPERATORS = {
    "=": operator.eq, "==": operator.eq, "!=": operator.ne,
    "<=": operator.le, ">=": operator.ge, "<": operator.lt, ">": operator.gt,
}  # fmt: skip
_MOST_VALUES = 10


@dataclass(frozen=True)
class Condition:
    """What a run must have.

    Args:
        text: as it was given.
        name: a parameter, a metric, or state, run_id or sweep_id.
        sign: how it is compared.
        value: with what.
    """

    text: str
    name: str
    sign: str
    value: str

    @classmethod
    def of(cls, text: str) -> Condition:
        """Read a condition.

        Raises:
            ConfigError: it is not one.
        """
        found = re.fullmatch(r"\s*(.+?)\s*(==|!=|<=|>=|=|<|>)\s*(.*?)\s*", text, re.DOTALL)
        if found is None:
            raise ConfigError(f"--where: {text!r} is not a condition, as dataset=wine or 'lr<=0.01'")
        return cls(text, *found.groups())

    def holds(self, trials: Trials) -> Any:
        """Return for each run whether it has it; never where the parameter does not apply.

        Raises:
            ConfigError: there is no such column, or it holds something else.
        """
        if self.name not in trials.frame:
            raise ConfigError(
                f"--where: no parameter {self.name!r}{closest(self.name, trials.frame.columns)}"
            )
        column = trials.frame[self.name]
        compare = _OPERATORS[self.sign]
        meant = parse_yaml(self.value, "--where") if self.value else ""
        if pandas.api.types.is_numeric_dtype(column):
            if not is_number(meant):
                raise ConfigError(f"--where: {self.name!r} holds numbers, got {self.text!r}")
            return (compare(column, meant) & column.notna()).fillna(False).astype(bool)
        if self.sign[0] in "<>":
            raise ConfigError(f"--where: {self.name!r} does not hold numbers, so only = and != apply")
        labels = [
            label
            for label, value in trials.originals.get(self.name, {}).items()
            if key_of(value) == key_of(meant)
        ]
        equal = column.astype(object).isin([self.value, *labels])
        return (equal if compare is operator.eq else ~equal) & column.notna()


def where(trials: Trials, conditions: Sequence[str]) -> Trials:
    """Return the runs that meet all conditions.

    Raises:
        ConfigError: a condition is not one, or no run meets them.
    """
    mask = pandas.Series(True, index=trials.frame.index)
    for text in conditions:
        condition = Condition.of(text)
        holds = condition.holds(trials)
        if not holds.any():
            raise ConfigError(f"--where: no run has {text!r}{_there_are(trials, condition)}")
        mask &= holds
    if not mask.any():
        raise ConfigError(f"--where: no run has {' and '.join(conditions)}")
    if not conditions:
        return trials
    return trials.chosen(mask, f"only runs with {', '.join(conditions)}")


def _there_are(trials: Trials, condition: Condition) -> str:
    shown = [short_value(each) for each in trials.frame[condition.name].dropna().sort_values().unique()]
    if condition.sign in ("=", "==") and len(shown) > _MOST_VALUES:
        return closest(condition.value, shown).replace("; there are", "; it is")
    more = ", ..." if len(shown) > _MOST_VALUES else ""
    return f"; {condition.name} is {', '.join(shown[:_MOST_VALUES])}{more}"
