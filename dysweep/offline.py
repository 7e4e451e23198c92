"""A sweep that its own directory serves: the grid, and who takes which of its points."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from dysweep.checkpoint import SweepDirectory
from dysweep.errors import ConfigError, LanguageError
from dysweep.runs import Attempt
from dysweep.space import Parameter, Space
from dysweep.tree import format_path

NameOf = Callable[[dict[str, Any], "dict[str, Any] | None"], "str | None"]

_LOCK_SECONDS = 10


@dataclass(frozen=True)
class Grid:
    """All combinations of the parameters' values, the last changing fastest; nothing is ever enumerated.

    Args:
        names: the parameters' names.
        axes: the values that W&B would get, one sequence for each parameter.
        cap: `run_cap`, how many points at most.
    """

    names: tuple[str, ...]
    axes: tuple[Axis, ...]
    cap: int | None = None

    @classmethod
    def of(cls, space: Space, sweep_configuration: Mapping[str, Any]) -> Grid:
        """Make the grid of a sweep.

        Raises:
            LanguageError: a parameter has infinitely many values.
            ConfigError: the method is not grid, or run_cap is no number.
        """
        method = sweep_configuration.get("method", "grid")
        if method != "grid":
            raise ConfigError(
                f"sweep_configuration.method: {method!r} cannot be served without W&B; use method: grid"
            )
        cap = sweep_configuration.get("run_cap")
        if cap is not None and (type(cap) is not int or cap < 1):
            raise ConfigError(f"sweep_configuration.run_cap: {cap!r} is no number of runs; give 1 or more")
        return cls(tuple(p.name for p in space.swept), tuple(map(_axis, space.swept)), cap)

    @property
    def size(self) -> int:
        """The number of points."""
        size = math.prod(axis.size for axis in self.axes)
        return size if self.cap is None else min(size, self.cap)

    def assignment(self, index: int) -> dict[str, Any]:
        """Give the point with this index, 0 for the first."""
        chosen = []
        for axis in reversed(self.axes):
            index, position = divmod(index, axis.size)
            chosen.append(axis.value(position))
        return dict(zip(self.names, reversed(chosen), strict=True))


@dataclass(frozen=True)
class Axis:
    """The values of one parameter: declared ones, or `start + position * step`."""

    size: int
    declared: tuple[Any, ...] = ()
    start: float = 0
    step: float = 1

    def value(self, position: int) -> Any:
        """Give the value at this position."""
        if self.declared:
            return self.declared[position]
        value = self.start + position * self.step
        return float(f"{value:.12g}") if isinstance(value, float) else value


def _axis(parameter: Parameter) -> Axis:
    if "probabilities" in parameter.node:
        raise LanguageError(
            f"{format_path(parameter.path)}.probabilities",
            "a grid takes every value once; leave them out, or choose method: random",
        )
    if parameter.values:
        values = tuple(parameter.encode(index) for index in range(len(parameter.values)))
        return Axis(len(values), values)
    node = parameter.node
    low: Any = node.get("min")
    high: Any = node.get("max")
    step: Any = node.get("q", 1)
    kind = node.get("distribution", "int_uniform" if type(low) is int and type(high) is int else "uniform")
    finite = (
        kind in ("int_uniform", "q_uniform")
        and all(isinstance(n, (int, float)) and math.isfinite(n) for n in (low, high, step))
        and step > 0
        and low <= high
    )
    if not finite:
        raise LanguageError(
            format_path(parameter.path),
            f"a grid needs finitely many values, and {kind!r} has not; "
            "give `values`, or whole numbers as min and max",
        )
    step = 1 if kind == "int_uniform" else step
    whole = all(type(n) is int for n in (low, high, step))
    steps = (high - low) // step if whole else math.floor((high - low) / step + 1e-9)
    return Axis(int(steps) + 1, (), low, step)


@dataclass(frozen=True)
class Taken:
    """A grid point that this process has taken.

    Args:
        place: 1 for the first point.
        attempt: the claim.
        config: the run's config; None if it could not be resolved.
        error: why not.
    """

    place: int
    attempt: Attempt
    config: dict[str, Any] | None
    error: LanguageError | None = None


def take_points(
    directory: SweepDirectory,
    grid: Grid,
    allow_eval: bool,
    name_of: NameOf,
) -> Iterator[Taken]:
    """Take one free point of the grid after the other; each goes to one process only.

    Args:
        directory: the sweep's directory.
        grid: its grid.
        allow_eval: whether code in the space may run.
        name_of: function (assignment, config) -> the run's name, or None.
    """
    sweep = directory.sweep
    started = directory.run_ids()
    size, index = grid.size, 0
    while index < size:
        run_id = f"{sweep.sweep_id}-{index + 1:04d}"
        if run_id in started:
            index += 1
            continue
        taken = None
        with _briefly_alone(directory.lock_path):
            if not (directory.runs_path / run_id).exists():
                assignment = grid.assignment(index)
                config, problem = None, None
                try:
                    config = sweep.compiled.resolve(sweep.base_config, assignment, allow_eval)
                except LanguageError as error:
                    problem = error
                name = name_of(assignment, config)
                attempt = directory.start_run(run_id, assignment, name, config)
                if attempt is not None:
                    taken = Taken(index + 1, attempt, config, problem)
        index += 1
        if taken is not None:
            yield taken


@contextmanager
def _briefly_alone(path: Path) -> Iterator[None]:
    """Keep other agents from trying the same point; where locks do not work, they try and one wins."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=_LOCK_SECONDS)
    except (Timeout, OSError, NotImplementedError):
        yield
        return
    try:
        yield
    finally:
        lock.release()
