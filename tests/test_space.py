"""The sweep language as a whole: the golden data line by line, names, decoding, properties of all spaces."""

import copy
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dysweep import LanguageError, Space

DATA = Path(__file__).parent / "data"
VECTORS = [json.loads(line) for line in (DATA / "vectors.jsonl").read_text(encoding="utf-8").splitlines()]
CASES = [json.loads(line) for line in (DATA / "cases.jsonl").read_text(encoding="utf-8").splitlines()]


def swept(*values, **more):
    return {"sweep": True, "values": list(values), **more}


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_golden_vector(vector):
    space = Space.compile(vector["sweep_parameters"])
    if "values-not-scalar" in vector["tags"]:
        assert list(space.parameters) == list(vector["flat_parameters"])
    else:
        assert space.parameters == vector["flat_parameters"]
    for assignment in vector["assignments"]:
        config = space.resolve(vector["base_config"], assignment["flat"], allow_eval=True)
        assert config == assignment["config"]


def outcome_of(case):
    parameters = case["sweep_parameters"]
    if case["mode"] == "names-in-sequence":
        return [Space.compile(each).parameters for each in parameters]
    whole_sweep_configuration = case["id"] == "case-creation-without-metric"
    space = Space.compile(parameters["parameters"] if whole_sweep_configuration else parameters)
    if case["mode"] == "names":
        return space.parameters
    if case["mode"] == "resolve":
        return space.resolve(case["base_config"], case["flat"], allow_eval=True)
    return [space.resolve(case["base_config"], flat, allow_eval=True) for flat in case["flat"]]


@pytest.mark.parametrize(
    "case", [case for case in CASES if "result" in case["expect"]], ids=lambda case: case["id"]
)
def test_golden_case(case):
    assert outcome_of(case) == case["expect"]["result"]


GIST = {
    "case-identifier-twice": "sweep_identifier 'lr' is used twice",
    "case-alias-too-few": "differ in length: 1 aliases, 2 values",
    "case-alias-too-many": "differ in length: 3 aliases, 2 values",
    "case-alias-is-text": "sweep_alias should be a list",
    "case-alias-with-value": "sweep_alias needs `values`",
    "case-root-sweep": "the whole `parameters` cannot be one sweep node",
    "case-identifier-without-sweep": "sweep_identifier without sweep",
    "case-ops-without-list": "dy__list__operations needs a list",
    "case-remove-out-of-range": "dy__remove: index 7 is out of range for a list of 2",
    "case-upsert-is-dict": "dy__upsert should be a list",
    "case-upsert-swept-dict": r"dy__upsert.values[1]: dy__upsert should be a list",
    "case-upsert-none": "dy__upsert should be a list",
    "case-eval-siblings-ignored": "dy__eval should be the only key",
}


@pytest.mark.parametrize(
    "case", [case for case in CASES if "error" in case["expect"]], ids=lambda case: case["id"]
)
def test_golden_error(case):
    with pytest.raises(LanguageError) as raised:
        outcome_of(case)
    assert str(raised.value).startswith("sweep_configuration")
    assert GIST[case["id"]] in str(raised.value)


def test_missing_names_leave_the_base_as_it_is():
    space = Space.compile({"a": {"b": {"c": swept(1)}}, "l": [swept(5), {"x": swept(6)}], "k": 3})
    assert space.resolve({"l": [1, {}], "z": 0}, {}) == {"l": [1, {}], "z": 0, "k": 3}


def test_a_number_that_comes_back_with_another_type_is_the_declared_one():
    space = Space.compile({"a": swept(1.0, 2.5), "b": swept(True, 3)})
    config = space.resolve({}, {"a": 1, "b": True})
    assert (config, type(config["a"])) == ({"a": 1.0, "b": True}, float)


def test_trees_without_alias_get_readable_unique_labels():
    tree = {"class_path": "torch.optim.Adam", "init_args": {"lr": 1e-3, "betas": [0.9, 0.999], "eps": 1e-8}}
    space = Space.compile({"opt": swept({}, {"n": 1}, {"n": "1"}, [64, 64], tree, 7, "[64, 64]")})
    labels = space.parameters["opt"]["values"]
    assert labels[:3] == ["{}", "n: 1", "n: 1 (2)"]
    assert labels[3] == "[64, 64] (2)"
    assert labels[4].startswith("class_path: torch.optim.Adam") and len(labels[4]) <= 48
    assert labels[5:] == [7, "[64, 64]"]
    assert space.resolve({}, {"opt": labels[4]}) == {"opt": tree}
    assert space.resolve({}, {"opt": "n: 1 (2)"}) == {"opt": {"n": "1"}}


def test_names_that_wandb_or_dysweep_use_are_not_given():
    space = Space.compile({"dy_config": swept(1), "x": {"dy_config": swept(2)}})
    assert list(space.parameters) == ["dy_config (2)", "x.dy_config"]
    with pytest.raises(LanguageError, match="choose another one"):
        Space.compile({"a": swept(1, sweep_identifier="dy_config")})


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({"sweep": True}, r"^sweep_configuration\.a: a sweep node needs"),
        ({"sweep": True, "vales": [1]}, r"\.a\.vales: unknown key of a sweep node; did you mean 'values'"),
        (swept(), r"^sweep_configuration\.a\.values: an empty list"),
        ({"sweep": True, "values": 3}, r"^sweep_configuration\.a\.values: a list is needed"),
        (swept(1, 2, probabilities=[1.0]), r"\.probabilities: 1 probabilities for 2 values"),
        (swept(1, 2, sweep_alias=["x", "x"]), r"sweep_alias\[1\]: the alias 'x' is used twice"),
        (swept(1, sweep_alias=[{}]), r"sweep_alias\[0\]: an alias is a short text"),
        (swept(1, sweep_identifier=3), r"sweep_identifier: an identifier is text"),
        ({3: swept(1)}, "the key 3 is the number 3, and keys are text"),
        ({"b": {1, 2}}, r"^sweep_configuration\.a\.b: a set cannot be in a config"),
    ],
)
def test_a_malformed_node_is_named(node, message):
    with pytest.raises(LanguageError, match=message):
        Space.compile({"a": node})


def test_doubtful_nodes_are_warned_about(caplog):
    Space.compile({"a": {"sweep": False, "values": [1]}, "b": {"min": 0, "max": 1}})
    assert "sweep_configuration.a: `sweep: false` still marks a sweep" in caplog.text
    assert "sweep_configuration.b: this looks like a swept parameter" in caplog.text
    Space.compile({"a": {"sweep": "no", "values": [1]}})
    assert '`sweep: "no"` still marks a sweep' in caplog.text


def test_no_space_is_read_from_other_text():
    with pytest.raises(ValueError, match="not the space of a sweep"):
        Space.from_json("[]")


KEYS = st.sampled_from(["a", "b", "lr", "a.b", "c d", "größe", "0", "sweep_group_1", "sweep_group_10"])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from([0.5, 1.0, "x", "", "adam"])
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
NODES = st.builds(
    lambda values: {"sweep": True, "values": values}, st.lists(TREES, min_size=1, max_size=4)
) | st.just({"sweep": True, "min": 0, "max": 1})
LEVELS = st.recursive(
    NODES | TREES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYS, inner, max_size=3)
        | st.builds(
            lambda level, entries: {**level, "dy__upsert": entries},
            st.dictionaries(KEYS, inner, max_size=2),
            st.lists(st.dictionaries(KEYS, inner, max_size=2), max_size=2),
        )
    ),
    max_leaves=8,
)
PARAMETERS = st.dictionaries(KEYS, LEVELS, max_size=4)
BASES = st.dictionaries(KEYS, TREES, max_size=4)
every_space = settings(derandomize=True, deadline=None, max_examples=200)


def sweep_nodes(tree):
    if isinstance(tree, dict):
        return 1 if "sweep" in tree else sum(map(sweep_nodes, tree.values()))
    return sum(map(sweep_nodes, tree)) if isinstance(tree, list) else 0


def resolved(space, base, assignment):
    try:
        return space.resolve(base, assignment)
    except LanguageError as error:
        return str(error)


def some_assignment(space, data):
    return {
        parameter.name: parameter.encode(data.draw(st.integers(0, len(parameter.values) - 1)))
        if parameter.values
        else 0.5
        for parameter in space.swept
        if data.draw(st.integers(0, 4))
    }


@pytest.mark.fuzz
@every_space
@given(PARAMETERS, BASES, st.data())
def test_resolve_changes_no_input_is_repeatable_and_survives_json(parameters, base, data):
    space = Space.compile(parameters)
    assignment = some_assignment(space, data)
    before = copy.deepcopy((parameters, base, assignment))
    first = resolved(space, base, assignment)
    kept = copy.deepcopy(first)
    scribble(first)
    assert resolved(space, base, assignment) == kept
    assert resolved(Space.from_json(space.to_json()), base, assignment) == kept
    assert (parameters, base, assignment) == before


def scribble(tree):
    """Change every mapping and list of a result, so that whatever is shared shows."""
    for item in list(tree.values()) if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        scribble(item)
    if isinstance(tree, dict):
        tree["scribbled"] = True
    elif isinstance(tree, list):
        tree.append("scribbled")


@pytest.mark.fuzz
@every_space
@given(PARAMETERS)
def test_names_are_unique_and_total(parameters):
    space = Space.compile(parameters)
    assert len(space.parameters) == len(space.swept) == sweep_nodes(parameters)
    assert Space.from_json(space.to_json()).parameters == space.parameters


@every_space
@given(st.lists(TREES, min_size=1, max_size=5))
def test_decode_inverts_encode(values):
    [parameter] = Space.compile({"p": {"sweep": True, "values": values}}).swept
    for index, value in enumerate(values):
        sent = json.loads(json.dumps(parameter.encode(index)))
        assert parameter.values[parameter.index_of(sent)] == value


def test_values_inside_the_context_of_code_may_be_swept():
    space = Space.compile({"a": {"dy__eval": {"expression": "lambda c: k", "context": {"k": swept(3, 4)}}}})
    assert space.resolve({"a": 1}, {"k": 4}, allow_eval=True) == {"a": 4}


def test_operations_and_expressions_that_are_missing_leave_the_base_as_it_is():
    space = Space.compile({"t": {"dy__list__operations": [{"dy__overwrite": swept(0, 1)}], "c": 5}})
    assert space.resolve({"t": [{"c": 1}]}, {}) == {"t": [{"c": 1}]}
    space = Space.compile({"a": {"dy__eval": {"expression": swept("lambda c: k"), "context": {"k": 1}}}})
    assert space.resolve({"a": 1}, {}, allow_eval=True) == {"a": 1}


def test_raw_values_are_never_taken_for_declared_text():
    assert Space.compile({"a": swept("true", 1)}).resolve({}, {"a": True}) == {"a": True}
    assert Space.compile({"a": swept("[64, 64]", [64, 64])}).resolve({}, {"a": [64, 64]}) == {"a": [64, 64]}
