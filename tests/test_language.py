"""What test_space.py and test_upsert.py leave open: whole spaces, with every word of the language."""

import copy
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dysweep import LanguageError, Space, upsert

DATA = Path(os.environ.get("DYSWEEP_TEST_DATA", Path(__file__).parent / "data"))
VECTORS = [json.loads(line) for line in (DATA / "vectors.jsonl").read_text(encoding="utf-8").splitlines()]
EXAMPLES = int(os.environ.get("DYSWEEP_EXAMPLES", "100"))
every_space = settings(derandomize=True, deadline=None, max_examples=EXAMPLES)


def swept(*values, **more):
    return {"sweep": True, "values": list(values), **more}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_golden_vector_repeated_and_through_json(vector):
    before = copy.deepcopy(vector)
    space = Space.compile(vector["sweep_parameters"])
    stored = Space.from_json(space.to_json())
    assert stored.parameters == space.parameters
    for assignment in [*vector["assignments"], *reversed(vector["assignments"])]:
        for each in (space, stored):
            config = each.resolve(vector["base_config"], assignment["flat"], allow_eval=True)
            assert config == assignment["config"]
    assert vector == before


def test_an_inserted_value_is_not_shared_between_results():
    base = {"t": [{"c": [1]}]}
    space = Space.compile({"t": {"dy__list__operations": [{"dy__insert": [0, {"k": [2]}]}]}, "n": {"x": [3]}})
    first = space.resolve(base, {})
    first["t"][0]["k"].append(9)
    first["t"][1]["c"].append(9)
    first["n"]["x"].append(9)
    assert space.resolve(base, {}) == {"t": [{"k": [2]}, {"c": [1]}], "n": {"x": [3]}}
    assert base == {"t": [{"c": [1]}]}


def test_the_result_of_code_is_copied_in():
    patch = {"b": {"dy__eval": "lambda c: c['a']"}, "dy__upsert": [{"b": {"x": [2]}}]}
    assert upsert({"a": {"x": [1]}}, patch, allow_eval=True) == {"a": {"x": [1]}, "b": {"x": [2]}}


L_AND_M = ["l.0", "l.-1", "m.0"]


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        ({"a": {"b.c": swept(1)}, "d": {"b.c": swept(2)}}, ["b.c", "d.b.c"]),
        ({"b.c": swept(1), "b": {"c": swept(2)}, "x": {"c": swept(3)}}, ["b.c", "c", "x.c"]),
        ({"a.b": {"c": swept(1)}, "a": {"b": {"c": swept(2)}, "b.c": swept(3)}}, ["c", "b.c", "a.b.c"]),
        ({"l": [swept(1), swept(2)]}, ["l.0", "l.1"]),
        (
            {"l": {"__IDX__0": swept(1), "__IDX__-1": swept(2)}, "m": {"__IDX__0": swept(3)}},
            ["l.0", "l.-1", "m.0"],
        ),
        ({"a": {"l": {"__IDX__0": swept(1)}}, "b": {"l": {"__IDX__0": swept(2)}}}, ["l.0", "b.l.0"]),
        ({"l": {"__IDX__1": {"dim": swept(1)}}, "m": {"__IDX__1": {"dim": swept(2)}}}, ["dim", "m.1.dim"]),
        ({"l": {"__IDX__0": swept(1)}, "l.0": swept(2)}, ["l.0", "l.0 (2)"]),
        ({"l": {"dy__list__operations": swept([])}}, ["l"]),
        ({"l": {"dy__list__operations": [{"dy__insert": [0, swept(1)]}]}}, ["l.dy__insert.1"]),
        ({"größe / m": swept(1), "学習 率": swept(2)}, ["größe / m", "学習 率"]),
        ({"x": {"lr": swept(1)}, "y": swept(2, sweep_identifier="lr")}, ["x.lr", "lr"]),
    ],
)
def test_names_are_the_shortest_free_suffix(parameters, names):
    space = Space.compile(parameters)
    assert list(space.parameters) == names


def test_missing_names_make_no_empty_parents():
    space = Space.compile(
        {"a": {"b": {"c": swept(1)}, "l": [{"d": swept(2)}]}, "e": {"sweep_group_1": swept({"x": 1})}}
    )
    assert space.resolve({}, {}) == {}
    assert space.resolve({"a": 3, "e": None}, {"unknown": 1}) == {"a": 3, "e": None}


def test_probabilities_and_distributions_pass_unchanged():
    normal = {"distribution": "normal", "mu": 0.0, "sigma": 1.0}
    space = Space.compile(
        {"a": swept(1, {}, sweep_alias=[True, None], probabilities=[0.5, 0.5]), "b": {"sweep": 1, **normal}}
    )
    assert space.parameters == {"a": {"values": ["true", "null"], "probabilities": [0.5, 0.5]}, "b": normal}


@pytest.mark.parametrize("flag", [False, True])
def test_sweep_false_sweeps_and_is_warned_about_once(caplog, flag):
    node = {"sweep": flag, "values": [1]}
    assert len(Space.compile({"a": node, "b": node}).parameters) == 2
    assert len(caplog.records) == (0 if flag else 1)


@pytest.mark.parametrize("words", [{"values": [1]}, {"distribution": "normal", "mu": 0, "sigma": 1}])
def test_words_of_wandb_without_sweep_are_a_constant_and_warned_about(caplog, words):
    space = Space.compile({"m": [{"lr": words}], "ok": {"values": [1], "name": "x"}})
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["sweep_configuration.m[0].lr"]
    assert space.resolve({}, {})["m"] == [{"lr": words}]


@pytest.mark.parametrize("place", ["key", "list", "group", "entry", "inline", "value", "insert"])
def test_code_anywhere_is_refused_before_anything_of_it_runs(tmp_path, place):
    trace = tmp_path / "trace"
    code = f"lambda c: __import__('os').mkdir({str(trace)!r})"
    form = {"dy__eval": code}
    parameters = {
        "key": {"k": form},
        "list": {"k": [form]},
        "group": {"sweep_group_1": form},
        "entry": {"dy__upsert": [form]},
        "inline": {"k": f"dy__eval({code})"},
        "value": {"k": swept({"x": form}, sweep_alias=["code"])},
        "insert": {"k": {"dy__list__operations": [{"dy__insert": [0, form]}]}},
    }[place]
    with pytest.raises(LanguageError, match=r"^sweep_configuration\.\w.*--allow_eval"):
        Space.compile(parameters).resolve({"k": []}, {"k": "code"})
    assert not trace.exists()


def test_groups_go_in_natural_order_after_plain_keys_and_before_upserts():
    groups = {f"sweep_group{number}": {"k": number, f"g{number}": 1} for number in (10, 2, 1)}
    assert upsert({}, {**groups, "k": 0})["k"] == 10
    assert upsert({}, {"dy__upsert": [{"k": "a"}, {"k": "b"}], **groups})["k"] == "b"


@pytest.mark.parametrize(
    ("values", "sent", "kind"),
    [((1, True), True, bool), ((True, 1), 1, int), ((1.0, False), 1, float), ((0, False), 0.0, int)],
)
def test_booleans_are_no_numbers_and_numbers_get_their_declared_type(values, sent, kind):
    decoded = Space.compile({"p": swept(*values)}).resolve({}, {"p": sent})["p"]
    assert (decoded, type(decoded)) == (sent, kind)


def test_what_inline_code_returns_is_copied():
    config = upsert({}, {"k": "dy__eval(lambda c: __import__('json').decoder.__all__)"}, allow_eval=True)
    assert config["k"] == json.decoder.__all__
    assert config["k"] is not json.decoder.__all__
    with pytest.raises(LanguageError, match=r"^sweep_configuration\.k: a set cannot be in a config"):
        upsert({}, {"k": "dy__eval(lambda c: {1})"}, allow_eval=True)


def test_a_raw_value_of_no_plain_type_is_named():
    with pytest.raises(LanguageError, match=r"^sweep_configuration\.a: an object cannot be in a config"):
        Space.compile({"a": swept(1)}).resolve({}, {"a": object()})


KEYS = st.sampled_from(["a", "b", "lr", "a.b", "c d", "größe", "0", "a/b", ""])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, 1.0, "x", "{}"]))
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)


def aliased(values):
    return swept(*values, sweep_alias=[f"alias {index}" for index in range(len(values))])


VALUES = st.lists(TREES, min_size=1, max_size=3)
NODES = st.one_of(
    VALUES.map(lambda values: swept(*values)),
    VALUES.map(aliased),
    TREES.map(lambda value: {"sweep": False, "value": value}),
    st.just({"sweep": True, "min": 0, "max": 1}),
)
ENTRIES = st.lists(st.dictionaries(KEYS, TREES, max_size=2), max_size=2)
UPSERT_NODES = st.lists(ENTRIES, min_size=1, max_size=2)


def levels(inner):
    level = st.dictionaries(KEYS, inner, max_size=3)
    group = st.dictionaries(KEYS, TREES, max_size=2)
    return st.one_of(
        st.lists(inner, max_size=3),
        level,
        st.builds(lambda a, b: {**a, "dy__upsert": b}, level, st.lists(level, max_size=2)),
        st.builds(lambda a, b: {**a, "dy__upsert": swept(*b)}, level, UPSERT_NODES),
        st.builds(lambda a, b, c: {**a, "sweep_group10": swept(b), "sweep_group2": c}, level, group, level),
        inner.map(lambda value: {"dy__list__operations": [{"dy__insert": [-1, value]}]}),
        inner.map(lambda value: {"__IDX__0": value}),
    )


PARAMETERS = st.dictionaries(KEYS, st.recursive(NODES | TREES, levels, max_leaves=8), max_size=4)
BASES = st.dictionaries(KEYS, TREES, max_size=4)


def sweep_nodes(tree):
    if isinstance(tree, dict):
        return 1 if "sweep" in tree else sum(map(sweep_nodes, tree.values()))
    return sum(map(sweep_nodes, tree)) if isinstance(tree, list) else 0


def outcome(function, *arguments):
    try:
        return function(*arguments)
    except LanguageError as error:
        assert error.path.startswith(("sweep_configuration", "base_config"))
        return str(error)


def containers(tree):
    if isinstance(tree, (dict, list)):
        yield id(tree)
        for item in tree.values() if isinstance(tree, dict) else tree:
            yield from containers(item)


@pytest.mark.fuzz
@every_space
@given(PARAMETERS, BASES, st.data())
def test_a_space_is_pure_total_and_survives_json(parameters, base, data):
    space = Space.compile(parameters)
    assert len(space.parameters) == sweep_nodes(parameters)
    chosen = {}
    for parameter in space.swept:
        index = data.draw(st.integers(-1, max(len(parameter.values) - 1, 0)))
        if index >= 0:
            chosen[parameter.name] = parameter.encode(index) if parameter.values else 0.5
    inputs = (parameters, base, chosen)
    before = copy.deepcopy(inputs)
    first = outcome(space.resolve, base, chosen)
    again = outcome(space.resolve, base, chosen)
    through_json = json.loads(json.dumps(chosen))
    assert outcome(Space.from_json(space.to_json()).resolve, base, through_json) == first == again
    assert inputs == before
    own = list(containers(first))
    assert len(own) == len(set(own))
    for other in (again, space.tree, *inputs):
        assert not set(own) & set(containers(other))


@every_space
@given(st.lists(TREES, min_size=1, max_size=5, unique_by=lambda value: json.dumps(value, sort_keys=True)))
def test_decoding_gives_the_declared_value(values):
    for node in (swept(*values), aliased(values)):
        [parameter] = Space.compile({"p": node}).swept
        for index, value in enumerate(values):
            sent = parameter.encode(index)
            assert values[parameter.index_of(json.loads(json.dumps(sent)))] == value


WORDS = st.sampled_from(
    ["a", "b", "__IDX__0", "__IDX__-1", "sweep", "values", "value", "sweep_alias", "sweep_identifier"]
    + ["sweep_group", "sweep_group_1", "dy__upsert", "dy__list__operations", "dy__eval", "dy__insert"]
    + ["dy__remove", "dy__overwrite", "expression", "context", "probabilities"]
)
ANYTHING = st.recursive(
    SCALARS | st.sampled_from(["dy__eval(len)", "dy__eval(", "dy__eval()", "lambda c: c", 3, ()]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.just(1), inner, max_size=3),
    max_leaves=10,
)


@every_space
@given(ANYTHING, ANYTHING, st.dictionaries(WORDS, TREES, max_size=3), st.booleans())
def test_any_trees_give_a_config_or_an_error_of_the_language(base, parameters, flat, allow_eval):
    space = outcome(Space.compile, parameters)
    if isinstance(space, Space):
        outcome(space.resolve, base, flat, allow_eval)
