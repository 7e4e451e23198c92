"""A parameter's values as a column of a table: numbers as numbers, everything else as an ordered category."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from dysweep.errors import ConfigError
from dysweep.text import short_value

try:
    import pandas as pandas  # for the other modules too
except ImportError:
    raise ConfigError('results need pandas and scipy: pip install "dysweep[results]"') from None

NOT_SET = object()
_EXACT = 2**53  # whole numbers up to here are exact as floats


def is_number(value: Any) -> bool:
    """Return whether a value is a number that a column of numbers holds exactly."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return isinstance(value, float) or abs(value) <= _EXACT


def key_of(value: Any) -> str:
    """Return what tells values apart: 1, "1" and true are three."""
    return json.dumps(value, sort_keys=True, default=str)


def column_of(values: Sequence[Any], declared: Sequence[Any] = ()) -> tuple[Any, dict[str, Any]]:
    """Return a column, and what its labels stand for if it is a category.

    Args:
        values: one for each run; NOT_SET where the parameter does not apply.
        declared: the values in the order in which the sweep declares them.
    """
    chosen = [value for value in values if value is not NOT_SET]
    if chosen and all(map(is_number, chosen)):
        whole = all(isinstance(value, int) for value in chosen) and len(chosen) < len(values)
        cells = [None if value is NOT_SET else value for value in values]
        return pandas.Series(cells, dtype="Int64" if whole else None), {}
    originals = _labelled([*declared, *chosen])
    label_of = {key_of(value): label for label, value in originals.items()}
    labels = [None if value is NOT_SET else label_of[key_of(value)] for value in values]
    return pandas.Series(pandas.Categorical(labels, categories=list(originals), ordered=True)), originals


def _labelled(values: Sequence[Any]) -> dict[str, Any]:
    """Return the different values by their labels: their texts, or JSON where two have the same text."""
    different = {key_of(value): value for value in values}
    if len({short_value(value) for value in different.values()}) == len(different):
        return {short_value(value): value for value in different.values()}
    return different


def as_values(column: Any, originals: Mapping[str, Any]) -> list[Any]:
    """Return a column's cells as they were chosen; None where there is none."""
    cells = column.astype(object).where(column.notna(), None)
    return [cell if cell is None else originals.get(cell, cell) for cell in cells]


def cell_text(value: Any) -> str:
    """Return a cell for people; `-` where there is none."""
    return "-" if pandas.isna(value) else short_value(value)


def typed(rows: Sequence[Sequence[Any]], header: Sequence[str], chosen: Sequence[str]) -> Any:
    """Return the rows of all runs as a DataFrame whose columns have their types.

    Args:
        rows: the rows.
        header: the columns' names.
        chosen: those of the parameters.
    """
    if not rows:
        return pandas.DataFrame(columns=list(header))
    columns = []
    for name, values in zip(header, zip(*rows, strict=True), strict=True):
        if name in chosen:
            column, _ = column_of([NOT_SET if value is None else value for value in values])
        elif name in ("started", "ended"):
            column = pandas.to_datetime(pandas.Series(values), utc=True, format="ISO8601")
        elif name in ("state", "host", "stopped_early"):
            column = pandas.Series(pandas.Categorical(values))
        else:
            column = pandas.Series(values)
        columns.append(column)
    return pandas.concat(columns, axis=1, keys=range(len(header))).set_axis(list(header), axis=1)
