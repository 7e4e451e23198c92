"""Spaces that W&B cannot express: conditions, zips, exclusions, repeats and orders, by the golden data."""

import csv
import io
import json
from itertools import pairwise
from pathlib import Path

import pytest
import wandb

from dysweep import ConfigError, LanguageError, Space, dysweep_run_resume, open_sweep
from dysweep.language.definition import define
from dysweep.language.points import Grid
from dysweep.language.shuffle import shuffled

LINES = (Path(__file__).parent / "data/spaces.jsonl").read_text(encoding="utf-8").splitlines()
VECTORS = {vector["id"]: vector for vector in map(json.loads, LINES)}
RIGHT = [vector for vector in VECTORS.values() if "error" not in vector]
WRONG = [vector for vector in VECTORS.values() if "error" in vector]
PATH = ("sweep_configuration", "parameters")


def of(vectors):
    return pytest.mark.parametrize("vector", vectors, ids=lambda vector: vector["id"])


def written(tree):
    return json.dumps(tree, sort_keys=True)


def configuration(vector):
    """Give a vector's sweep configuration as a user writes it, and where its parameters are."""
    if vector.get("bare"):
        return vector["sweep_parameters"]
    return {
        **vector.get("sweep_configuration", {"method": "grid"}),
        "parameters": vector["sweep_parameters"],
    }


def settings(**given):
    return {key: (key, given.get(key)) for key in ("name", "method", "metric.name", "metric.goal")}


def defined(vector, mode="offline"):
    return define(vector["base_config"], configuration(vector), settings(), False, mode)


@of(RIGHT)
def test_what_wandb_gets_and_what_it_stands_for(vector):
    space = defined(vector).space
    assert space == Space.from_json(space.to_json())
    assert list(space.parameters) == list(vector["flat_parameters"])
    for name, expected in vector["flat_parameters"].items():
        if "made" in expected:
            sent = space.parameters[name].get("values", [space.parameters[name].get("value")])
            assert len(set(map(str, sent))) == len(sent) == expected["made"]
        else:
            assert written(space.parameters[name]) == written(expected)
    for assignment in vector.get("assignments", []):
        assert space.resolve(vector["base_config"], assignment["flat"]) == assignment["config"]


@of([vector for vector in RIGHT if "count" in vector])
def test_the_directory_serves_just_the_points_that_exist(vector):
    definition = defined(vector)
    grid = Grid.of(definition.space, definition.sweep_configuration)
    assert grid.size == vector["count"]
    whole = Grid.of(definition.space, {**definition.sweep_configuration, "run_cap": None})
    points = list(map(whole.assignment, range(whole.size)))
    assert len(set(map(written, points))) == whole.size
    if "in_order" in vector:
        assert points == vector["in_order"]
    configs = {written(definition.space.resolve(vector["base_config"], point)) for point in points}
    assert len(configs) == vector["distinct"]
    if "configs" in vector:
        assert configs == set(map(written, vector["configs"]))


@of(WRONG)
def test_a_mistake_is_named_at_its_place(vector):
    with pytest.raises((LanguageError, ConfigError)) as caught:
        defined({"base_config": {}, **vector})
    where, _, problem = str(caught.value).partition(": ")
    assert where.endswith(vector["error"]["path_ends"])
    for text in vector["error"]["says"]:
        assert text in problem


@pytest.mark.parametrize(
    ("parameters", "more", "message"),
    [
        ({"a": {"sweep": True, "sweep_zip": 3, "values": [1]}}, {}, "sweep_zip: a label is text"),
        ({"a": {"sweep_zip": "p", "values": [1]}}, {}, "sweep_zip without sweep"),
        ({"a": {"sweep": True, "sweep_repeat": 3}}, {}, "did you mean 'sweep_repeats'"),
        ({"a": {"sweep": True, "sweep_repeats": [1, 1]}}, {}, "a list of different seeds"),
        ({"m": {"sweep_seed": 1}}, {}, "it belongs beside `parameters`"),
        ({"a": {"sweep": True, "values": [1]}}, {"sweep_exclude": {"a": 1}}, "a list of mappings"),
        ({"a": {"sweep": True, "values": [1]}}, {"sweep_exclude": [3]}, "a mapping is needed"),
        ({"a": {"sweep": True, "values": [1]}}, {"sweep_exclude": [{"a": []}]}, "an empty list"),
        ({"a": {"sweep": True, "values": [1]}}, {"sweep_shufle": 1}, "did you mean 'sweep_shuffle'"),
    ],
)  # fmt: skip
def test_other_mistakes_are_named_too(parameters, more, message):
    with pytest.raises((LanguageError, ConfigError), match=message):
        define({}, {"method": "grid", "parameters": parameters, **more}, settings(), False, "offline")


def test_a_word_of_the_whole_sweep_is_known_in_the_bare_form():
    with pytest.raises(ConfigError, match="sweep_configuration.sweep_shufle: unknown word; did you mean"):
        define({}, {"a": {"sweep": True, "values": [1]}, "sweep_shufle": 1}, settings(), False, "offline")


def test_wandb_neither_shuffles_nor_repeats_what_it_draws():
    node = {"sweep": True, "values": [1, 2]}
    with pytest.raises(ConfigError, match="sweep_shuffle: W&B fixes the order"):
        define({}, {"a": node, "sweep_shuffle": 1}, settings(), False, "online")
    repeated = {"a": node, "seed": {"sweep": True, "sweep_repeats": 2}}
    with pytest.raises(LanguageError, match="seed.sweep_repeats: W&B cannot repeat what it draws"):
        define({}, {"method": "random", "parameters": repeated}, settings(), False, "online")


def test_an_entry_that_excludes_nothing_is_said(caplog):
    node = {"sweep": True, "values": [1, 2]}
    exclude = [{"a": 1, "b": 1}, {"a": 1, "b": 1, "c": 1}, {"a": 2, "b": 2, "c": 2}]
    Space.compile({"a": node, "b": node, "c": node}, exclude=[*exclude, {"a": 2, "c": 2, "b": 2}])
    assert "sweep_exclude[0]: excludes nothing" not in caplog.text
    branches = {"sweep": True, "sweep_alias": ["x", "y"], "values": [{"k": node}, {"l": node}]}
    Space.compile({"o": branches}, exclude=[{"x.k": 1, "y.l": 1}])
    assert "sweep_exclude[0]: excludes nothing" in caplog.text


def test_a_step_range_goes_to_wandb_as_values_since_its_grid_leaves_out_the_last():
    node = {"sweep": True, "distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25}
    assert Space.compile({"x": node}).parameters == {"x": {"values": [0.0, 0.25, 0.5, 0.75, 1.0]}}
    drawn = Space.compile({"x": node}, method="random").parameters
    assert drawn == {"x": {"distribution": "q_uniform", "min": 0, "max": 1, "q": 0.25}}


def test_wandb_gets_texts_for_values_that_hold_parameters():
    inner = {"sweep": True, "min": 0.01, "max": 0.1}
    parameters = {"a": {"sweep": True, "values": [0, inner, {"k": inner}, [inner]]}}
    space = Space.compile(parameters, method="random")
    assert space.parameters["a"] == {"values": [0, "min: 0.01, max: 0.1", "k: *", "[*]"]}
    assert list(space.parameters) == ["a", "a.1", "a.2.k", "a.3"]
    assert space.resolve({}, {"a": "min: 0.01, max: 0.1", "a.1": 0.05, "a.3": 1}) == {"a": 0.05}
    assert space.resolve({}, {"a": "[*]", "a.1": 0.05, "a.3": 0.02}) == {"a": [0.02]}


def test_a_long_step_range_is_served_by_its_directory_alone():
    node = {"sweep": True, "distribution": "q_uniform", "min": 0, "max": 100_000, "q": 5}
    definition = define({"x": 0}, {"x": node}, settings(), False, "offline")
    assert Grid.of(definition.space, {}).size == 20_001
    assert definition.space.parameters["x"]["max"] == 100_000
    with pytest.raises(LanguageError, match="20001 alternatives in one parameter, at most 10000"):
        define({"x": 0}, {"x": node}, settings(), False, "online")


@pytest.mark.parametrize("exclude", [(), [{"o": "b", "k": 1}]])
def test_probabilities_in_a_grid_are_an_error_however_their_parameter_is_sent(exclude):
    values = [1, {"x": 0} if exclude else {"x": {"sweep": True, "values": [1, 2]}}]
    node = {"sweep": True, "sweep_alias": ["a", "b"], "values": values, "probabilities": [0.5, 0.5]}
    with pytest.raises(LanguageError, match="o.probabilities: a grid takes every value once"):
        Space.compile({"o": node, "k": {"sweep": True, "values": [1, 2]}}, exclude=exclude)


def test_the_parameters_of_a_run_are_known_one_by_one():
    vector = VECTORS["all-together"]
    space = defined(vector).space
    point = {"optimizer-size": "optimizer=adam, lr=0.001, betas=long, size=small", "batch": 16, "seed": 1}
    assert space.settings(point) == {
        "optimizer": "adam", "size": "small", "batch": 16, "adam.lr": 0.001, "adam.betas": "long", "seed": 1
    }  # fmt: skip
    assert {path[-1]: value for _, path, value in space.places(point)} == {
        "optimizer": vector["sweep_parameters"]["optimizer"]["values"][1],
        "width": 8, "depth": 1, "batch": 16, "lr": 0.001, "betas": [0.9, 0.9999], "seed": 1,
    }  # fmt: skip


def test_a_label_that_the_sweep_does_not_have_is_named():
    space = defined(VECTORS["cond-two-branches"]).space
    with pytest.raises(LanguageError, match="'optimizer' has no value sgd, lr=7"):
        space.resolve({}, {"optimizer": "sgd, lr=7"})


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 100, 257])
def test_every_point_has_one_place_in_a_shuffled_order(size):
    for seed in (0, 1, 7):
        assert sorted(shuffled(size, seed, place) for place in range(size)) == list(range(size))


def test_a_shuffled_order_is_of_its_seed_and_has_no_trend():
    order = [shuffled(1000, 5, place) for place in range(1000)]
    assert order == [shuffled(1000, 5, place) for place in range(1000)]
    assert sum(shuffled(1000, 1, place) == shuffled(1000, 2, place) for place in range(1000)) < 12
    mean = sum(order) / 1000
    covariance = sum((one - mean) * (other - mean) for one, other in pairwise(order))
    assert abs(covariance / sum((one - mean) ** 2 for one in order)) < 0.12


def broken(change):
    """Give a stored space after a change of its content."""
    stored = json.loads(defined(VECTORS["all-together"]).space.to_json())
    change(stored)
    return json.dumps(stored)


@pytest.mark.parametrize(
    "change",
    [
        lambda stored: stored["sent"][0]["picks"][0].append([99, 0]),
        lambda stored: stored["sent"][0]["picks"][0].append([0, 99]),
        lambda stored: stored["sent"][0]["picks"][0].append([0, -1]),
        lambda stored: stored["sent"][0]["picks"].pop(),
        lambda stored: stored["sent"][0].update(picks=[["a"]]),
        lambda stored: stored["sent"][0].update(name=None),
        lambda stored: stored["sent"].append(99),
        lambda stored: stored["swept"][-2].update(within=[99, 0]),
        lambda stored: stored["swept"][-2].update(within=["a", 0]),
        lambda stored: stored["swept"][0].update(within=[0, 0]),
        lambda stored: stored["swept"][1].update(zipped=[["nowhere"]]),
    ],
)
def test_a_damaged_space_is_not_read(change):
    assert Space.from_json(broken(lambda stored: None)).parameters
    with pytest.raises(ValueError, match="this is not the space of a sweep"):
        Space.from_json(broken(change))


def test_results_show_the_parameters_one_by_one(own_folder):
    def function(config):
        wandb.log({"loss": config["lr"] * config["width"]})

    lr = {"sweep": True, "values": [1, 2]}
    optimizer = {"sweep": True, "sweep_alias": ["sgd", "none"], "values": [{"lr": lr}, {}]}
    size = {"sweep": True, "sweep_zip": "size", "sweep_alias": ["small", "large"]}
    parameters = {
        "dy__upsert": [{**optimizer, "sweep_identifier": "optimizer"}],
        "width": {**size, "values": [1, 10]},
        "depth": {"sweep": True, "sweep_zip": "size", "values": [3, 4]},
    }
    base = {"lr": 5, "width": 0, "depth": 0}
    sweep_id = dysweep_run_resume(base_config=base, sweep_configuration=parameters)
    dysweep_run_resume(function=function, sweep_id=sweep_id)
    sweep = open_sweep(sweep_id)
    rows = csv.DictReader(io.StringIO(sweep.to_csv()))
    shown = [(row["optimizer"], row["sgd.lr"], row["size"], row["loss"]) for row in rows]
    assert shown == [
        ("sgd", "1", "small", "1"), ("sgd", "1", "large", "10"), ("sgd", "2", "small", "2"),
        ("sgd", "2", "large", "20"), ("none", "", "small", "5"), ("none", "", "large", "50"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "vector", [VECTORS["shuffle-all"], VECTORS["shuffle-run-cap"]], ids=lambda each: each["id"]
)
def test_a_shuffled_grid_has_all_points_in_another_order(vector):
    definition = defined(vector)
    plain = {"run_cap": None, "method": "grid"}
    grids = [Grid.of(definition.space, each) for each in (plain, {**definition.sweep_configuration, **plain})]
    straight, mixed = ([grid.assignment(index) for index in range(grid.size)] for grid in grids)
    assert straight != mixed
    assert sorted(map(written, straight)) == sorted(map(written, mixed))
