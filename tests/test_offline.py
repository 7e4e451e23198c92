"""The grid of a sweep that its own directory serves."""

import itertools
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dysweep import ConfigError, LanguageError, Space
from dysweep.agents.offline import DirectoryServer
from dysweep.agents.sources import Claims
from dysweep.directory.heartbeat import Watch
from dysweep.directory.sweep import Sweep, SweepDirectory
from dysweep.language.points import Grid


def grid_of(parameters, **configuration):
    nodes = {name: {"sweep": True, **node} for name, node in parameters.items()}
    return Grid.of(Space.compile(nodes), configuration)


def test_the_grid_is_the_product_of_the_values():
    axes = {"a": [1, 2, 3], "b": ["x", None], "c": [True, 0.5]}
    grid = grid_of({name: {"values": values} for name, values in axes.items()})
    points = [tuple(grid.assignment(index).values()) for index in range(grid.size)]
    assert points == list(itertools.product(*axes.values()))


@pytest.mark.parametrize(
    ("node", "values"),
    [
        ({"value": 4}, [4]),
        ({"min": 2, "max": 5}, [2, 3, 4, 5]),
        ({"min": 2, "max": 5, "distribution": "int_uniform"}, [2, 3, 4, 5]),
        ({"min": 0.0, "max": 1.0, "q": 0.25, "distribution": "q_uniform"}, [0, 0.25, 0.5, 0.75, 1.0]),
        ({"min": 0, "max": 0.3, "q": 0.1, "distribution": "q_uniform"}, [0, 0.1, 0.2, 0.3]),
        ({"values": [{"a": 1}, [2]]}, ["a: 1", "[2]"]),
    ],
)
def test_what_one_parameter_adds(node, values):
    grid = grid_of({"p": node})
    assert [grid.assignment(index)["p"] for index in range(grid.size)] == values


@pytest.mark.parametrize(
    "node",
    [
        {"min": 0.0, "max": 1.0},
        {"distribution": "normal", "mu": 0, "sigma": 1},
        {"min": 3, "max": 1},
        {"min": 0, "max": 1, "q": 0, "distribution": "q_uniform"},
        {"min": "0", "max": 1, "distribution": "int_uniform"},
    ],
)
def test_infinitely_many_values_are_no_grid(node):
    with pytest.raises(LanguageError, match=r"^sweep_configuration\.p: a grid needs finitely many values"):
        grid_of({"p": node})


def test_a_grid_without_end_is_read_at_any_point():
    grid = grid_of(
        {name: {"values": list(range(1000))} for name in "abcd"} | {"e": {"min": 1, "max": 10**30}}
    )
    assert grid.size == 10**42
    assert grid.assignment(10**42 - 1) == {"a": 999, "b": 999, "c": 999, "d": 999, "e": 10**30}


def test_run_cap_limits_the_grid():
    assert grid_of({"p": {"values": [1, 2, 3]}}, run_cap=2).size == 2
    with pytest.raises(ConfigError, match="run_cap: 0 must be at least 1"):
        grid_of({"p": {"values": [1]}}, run_cap=0)


@settings(derandomize=True, deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_every_point_is_given_once(sizes):
    grid = grid_of({f"p{number}": {"values": list(range(size))} for number, size in enumerate(sizes)})
    points = {tuple(grid.assignment(index).values()) for index in range(grid.size)}
    assert len(points) == grid.size == math.prod(sizes)


def test_agents_that_take_turns_share_the_points():
    space = Space.compile({"lr": {"sweep": True, "values": list(range(7))}})
    sweep = Sweep("abcd", "offline", None, "project", None, {}, {"method": "grid"}, space.to_json())
    SweepDirectory(Path("sweep")).create(sweep)
    directory = SweepDirectory(Path("sweep"))
    claims = Claims(directory, lambda assignment, config: None, False, 3, False, Watch(60), beat=5)
    agents = [DirectoryServer(claims).new_runs().claims() for _ in range(3)]
    taken = [point for turn in itertools.zip_longest(*agents) for point in turn if point is not None]
    assert sorted(point.place for point in taken) == list(range(1, 8))
    assert [point.config for point in taken] == [{"lr": point.place - 1} for point in taken]
