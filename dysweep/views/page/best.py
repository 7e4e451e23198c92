"""Which runs are the best: of all, or of each group of runs that can be compared, as of one data set."""

from __future__ import annotations

import re
from html import escape

from dysweep.errors import ConfigError, closest
from dysweep.language.parameter import Parameter
from dysweep.text import count, short, short_value
from dysweep.views.page.theme import having, is_finite, key
from dysweep.views.runs import RunStatus

_OF_DATA = re.compile(r"(?<![a-z])data", re.IGNORECASE)
_MOST_GROUPS = 50


def comparable_by(parameters: list[Parameter], wanted: str | None) -> list[Parameter]:
    """Return the parameters of which each combination is a group of runs that can be compared.

    Args:
        parameters: the sweep's parameters.
        wanted: their names, with commas between; those with the word data in their names by default.

    Raises:
        ConfigError: there is no such parameter.
    """
    if wanted is None:
        return [each for each in parameters if any(map(_OF_DATA.search, (each.name, *_places(each))))]
    named = {parameter.name: parameter for parameter in parameters}
    names = [name.strip() for name in wanted.split(",")]
    for name in names:
        if name not in named:
            raise ConfigError(f"--by: no parameter {name!r}{closest(name, named)}")
    return [named[name] for name in names]


def _places(parameter: Parameter) -> list[str]:
    return [".".join(map(str, path)) for path in parameter.paths]


def ranked(runs: list[RunStatus], metric: str, goal: str | None) -> list[RunStatus]:
    """Return the finished and stopped runs with a number, the best first; none without a goal."""
    if goal is None:
        return []
    counted = [
        run for run in runs if run.state in ("finished", "killed") and is_finite(run.metrics.get(metric))
    ]
    return sorted(counted, key=lambda run: run.metrics[metric], reverse=goal == "maximize")


def best_of_groups(runs: list[RunStatus], by: list[Parameter]) -> list[tuple[RunStatus, int]]:
    """Return the best run of each group, and how many it has, in the order in which the values were declared.

    Args:
        runs: the runs, the best first.
        by: the parameters of which each combination is a group.
    """
    groups: dict[str, list[RunStatus]] = {}
    for run in having(by, runs):
        groups.setdefault(key([run.assignment[each.name] for each in by]), []).append(run)
    places = {each.name: {key(each.encode(index)): index for index in range(len(each.values))} for each in by}

    def order(run: RunStatus) -> tuple[int, ...]:
        chosen = [(places[each.name], key(run.assignment[each.name])) for each in by]
        return tuple(known.get(value, len(known)) for known, value in chosen)

    return sorted(((own[0], len(own)) for own in groups.values()), key=lambda each: order(each[0]))


def table_of_best(best: list[tuple[RunStatus, int]], by: list[Parameter], metric: str) -> tuple[str, str]:
    """Write the best run of each group; return the markup, and a note."""
    names = [each.name for each in by]
    head = "".join(
        f"<th>{escape(short_value(each))}</th>" for each in (*names, metric, "run", "of", "settings")
    )
    rows = []
    for run, many in best[:_MOST_GROUPS]:
        chosen = "".join(_cell(run.assignment[name]) for name in names)
        rest = {name: value for name, value in run.assignment.items() if name not in names}
        rows.append(
            f'<tr>{chosen}<td class="number">{run.metrics[metric]:.4g}</td><td>{escape(run.run_id)}</td>'
            f'<td class="number">{count(many)}</td>{_cell(short(rest))}</tr>'
        )
    note = 'Of the finished and stopped runs that have a number; the column "of" says how many.'
    if len(best) > _MOST_GROUPS:
        note += f" The first {_MOST_GROUPS} of {count(len(best))} groups."
    return (
        f'<div class="scroll"><table class="best"><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>",
        note,
    )


def _cell(value: object) -> str:
    shown = escape(short_value(value))
    return f'<td title="{shown}">{shown}</td>'
