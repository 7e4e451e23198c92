"""What `dysweep_results` shows, as tables for people and scripts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dysweep.errors import ConfigError, closest
from dysweep.results import tables as computed
from dysweep.results.rendering import (
    Table,
    frame_as_table,
    groups_as_table,
    pivot_as_table,
    runs_as_table,
)
from dysweep.results.trials import Trials

_MOST_INTERACTIONS = 3


def best_run(trials: Trials) -> str:
    """Return the id of the best run.

    Raises:
        ConfigError: no run has a value that counts.
    """
    return str(computed.best(trials).index[0])


def tables(
    trials: Trials,
    by: str | None = None,
    pivot: str | None = None,
    sort: str | None = None,
    top: int | None = None,
    best: int | None = None,
    importance: bool = False,
    is_marked: bool = False,
) -> Iterator[Table]:
    """Return the tables that are asked for.

    Args:
        trials: the runs.
        by: names of parameters, with commas: a row for each of their combinations.
        pivot: with by: the parameter that is spread into columns.
        sort: the column to sort by.
        top: only so many rows.
        best: only so many runs, the best ones, of each combination if by is given.
        importance: how much each parameter matters, instead.
        is_marked: whether the best, and what does not differ from it, is marked.

    Raises:
        ConfigError: they cannot be made.
    """
    names = [name.strip() for name in (by or "").split(",") if name.strip()]
    if by is not None and not names:
        raise ConfigError("--by: names of parameters are needed, as model,dataset")
    if importance:
        yield from _importance(trials)
    elif best is not None:
        found = computed.best(trials, names, best)
        yield runs_as_table(trials, found, f"the best {best} by {trials.metric} ({trials.goal})")
    elif pivot is not None:
        for option, value in (("sort", sort), ("top", top)):
            if value is not None:
                raise ConfigError(f"--{option}: not with --pivot, which keeps the order of the values")
        if not names:
            raise ConfigError("--pivot: it needs --by, the parameters of the rows")
        yield pivot_as_table(trials, names, pivot, is_marked)
    elif names:
        yield groups_as_table(trials, names, lambda found: _ordered(trials, found, sort, top), is_marked)
    else:
        frame = computed.runs_table(trials, sort)
        shown = frame if top is None else frame.head(top)
        cut = [f"the first {len(shown)} of {len(frame)} runs"] if len(shown) < len(frame) else []
        yield runs_as_table(trials, shown, f"runs by {sort or trials.metric}", cut)


def _ordered(trials: Trials, found: Any, sort: str | None, top: int | None) -> Any:
    if sort is not None:
        order = computed.Order.of(sort)
        column = "mean" if order.column == trials.metric else order.column
        known = [*found.index.names, trials.metric, *found.columns]
        if order.column not in known:
            raise ConfigError(f"--sort: no column {order.column!r}{closest(order.column, known)}")
        down = column == "mean" and trials.goal == "maximize"
        found = found.sort_values(column, ascending=not down if order.ascending is None else order.ascending)
    return found if top is None else found.head(top)


def _importance(trials: Trials) -> Iterator[Table]:
    from dysweep.results.importance import importance

    found = importance(trials)
    ranks = found.parameters.assign(
        importance=found.parameters["importance"].round(4), std=found.parameters["std"].round(4)
    )
    yield frame_as_table(ranks, f"importance for {trials.metric}", [*trials.notes, *found.notes], numeric=3)
    effects = found.effects[["parameter", "value", "n", "mean", "effect"]]
    yield frame_as_table(
        effects, f"mean {trials.metric} by value; effect: its distance from that of all runs", numeric=3
    )
    if found.interaction:
        pairs = found.interactions.head(_MOST_INTERACTIONS)
        pairs = pairs.assign(interaction=pairs["interaction"].round(4), std=pairs["std"].round(4))
        meaning = "interaction: the share of the metric's variance that two parameters explain only together"
        yield frame_as_table(pairs, found.interaction, [meaning], numeric=2)
