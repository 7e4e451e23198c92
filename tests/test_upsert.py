"""The upsert: type by type, lists, code, and messages that name the place."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dysweep import LanguageError, Space, upsert
from dysweep.language.tree import format_path


def swept_into(current, patch, **options):
    config = upsert({} if current == "missing" else {"k": current}, {"k": patch}, **options)
    return config["k"]


@pytest.mark.parametrize(
    ("current", "patch", "expected"),
    [
        ({"a": 1}, 0, 0),
        ([1], None, None),
        (3, "", ""),
        ("missing", False, False),
        ({"a": 1}, {"b": 2}, {"a": 1, "b": 2}),
        ({"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"x": 1, "y": 2}}),
        ([1, 2], {"a": 1}, {"a": 1}),
        (3, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ("missing", {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": 1}, {}, {"a": 1}),
        ([1], {}, [1]),
        (3, {}, {}),
        (None, {}, {}),
        ("missing", {}, {}),
        ({"a": 1}, [1], [1]),
        ([{"a": 1}, [2]], [{"b": 2}, {}], [{"a": 1, "b": 2}, [2]]),
        ([1, 2], [3], [3]),
        (3, [{}, [{}]], [{}, [{}]]),
        ("missing", [], []),
    ],
)
def test_what_a_patch_does_to_what_is_there(current, patch, expected):
    assert swept_into(current, patch) == expected


@pytest.mark.parametrize("current", [{"a": 1}, [1, 2], 3, None, "missing"])
def test_inline_code_gets_the_current_value(current):
    seen = None if current == "missing" else current
    assert swept_into(current, "dy__eval(lambda value: [value])", allow_eval=True) == [seen]


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        ([{"dy__insert": [-1, 9]}], [0, 1, 2, 9]),
        ([{"dy__insert": [99, 9]}], [0, 1, 2, 9]),
        ([{"dy__insert": [0, None]}], [None, 0, 1, 2]),
        ([{"dy__remove": -1}, {"dy__remove": 0}], [1]),
        ([{"dy__overwrite": [-1, {"a": 1}]}], [0, 1, {"a": 1}]),
        ([], [0, 1, 2]),
    ],
)
def test_list_operations_are_applied_one_after_the_other(operations, expected):
    assert swept_into([0, 1, 2], {"dy__list__operations": operations}) == expected


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        (
            {"dy__list__operations": [{"dy__remove": 5}]},
            r"\.k\.dy__list__operations\[0\]\.dy__remove: index 5 is out of range",
        ),
        ({"dy__list__operations": [{"dy__remove": True}]}, "index True is out of range"),
        ({"dy__list__operations": [{"dy__insert": [-9, 1]}]}, "-9 is not a place to insert at"),
        ({"dy__list__operations": [{"dy__insert": [1]}]}, r"takes \[index, value\], and here are 1"),
        ({"dy__list__operations": [{"dy__append": 1}]}, "unknown list operation; there are dy__remove"),
        ({"dy__list__operations": [{}]}, "one operation is needed"),
        ({"dy__list__operations": {"dy__remove": 0}}, "should be a list"),
        ({"dy__list__operations": [{"dy__overwrite": 0}]}, "put the element's keys beside"),
        ({"dy__list__operations": [{"dy__remove": 0}], "x": 1}, "no operation uses it"),
        ({"__IDX__3": 1}, "index 3 is out of range for a list of 2"),
        ({"__IDX__0": 1, "x": 1}, "no operation uses it"),
        ({"dy__upsert": [3]}, r"^sweep_configuration\.k\.dy__upsert\[0\]: a mapping is needed here"),
        ({"sweep_group_x": "text"}, r"sweep_group_x: a mapping is needed here"),
        ({"dy__insert": 1}, "'dy__insert' is a word of the sweep language"),
        ({"dy__eval": {"expresion": "f"}}, "dy__eval takes expression"),
        ({"dy__eval": {"context": {}}}, "dy__eval lacks its expression"),
        ({"dy__eval": 3}, "dy__eval is text or a mapping, this is the number 3"),
    ],
)
def test_a_patch_that_does_not_fit_is_named(patch, message):
    with pytest.raises(LanguageError, match=message):
        swept_into([0, 1], patch, allow_eval=True)


def test_list_edits_of_what_is_no_list_are_named():
    with pytest.raises(
        LanguageError, match=r"^sweep_configuration\.k\.__IDX__0: __IDX__0 needs a list.*a mapping"
    ):
        swept_into({"a": 1}, {"__IDX__0": 1})


def test_code_is_refused_unless_it_is_allowed_and_nothing_of_it_runs(tmp_path):
    trace = tmp_path / "trace"
    patch = {"k": {"dy__eval": f"__import__('os').mkdir({str(trace)!r})"}}
    with pytest.raises(LanguageError, match=r"^sweep_configuration\.k\.dy__eval: .*--allow_eval"):
        upsert({}, patch)
    assert not trace.exists()
    with pytest.raises(LanguageError, match="a function is needed, this is None"):
        upsert({}, patch, allow_eval=True)
    assert trace.exists()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("lambda c: c['nope']", "the code failed: KeyError: 'nope'"),
        ("lambda c:", "Give an expression such as"),
        ("3", "a function is needed, this is 3"),
        ("no.such.name", "the code failed: NameError"),
        ("lambda c: object()", "an object cannot be in a config"),
    ],
)
def test_code_that_fails_is_named(code, message):
    with pytest.raises(LanguageError, match=r"^sweep_configuration\.k\.dy__eval") as raised:
        swept_into(1, {"dy__eval": code}, allow_eval=True)
    assert message in str(raised.value)


def test_a_block_must_define_its_function_of_interest():
    form = {"expression": "def f(c):\n    return 1", "function_of_interest": "g"}
    with pytest.raises(LanguageError, match="the code defines no 'g'"):
        swept_into(1, {"dy__eval": form}, allow_eval=True)


def test_code_finds_modules_of_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "module_of_mine.py").write_text("def double(value):\n    return 2 * value\n")
    monkeypatch.chdir(tmp_path)
    assert swept_into(4, "dy__eval(module_of_mine.double)", allow_eval=True) == 8


def test_code_cannot_change_the_config_behind_its_back():
    assert upsert({"a": 1}, {"k": {"dy__eval": "lambda c: c.clear()"}}, allow_eval=True) == {
        "a": 1,
        "k": None,
    }


@pytest.mark.parametrize("word", ["sweep", "sweep_alias", "dy__eval", "dy__upsert", "sweep_group"])
def test_the_base_holds_no_reserved_key(word):
    with pytest.raises(LanguageError, match=rf"^base_config\.a\[0\]\.{word}: "):
        upsert({"a": [{word: 1}]}, {})


def test_a_tree_that_contains_itself_is_an_error():
    tree = {}
    tree["again"] = tree
    with pytest.raises(LanguageError, match="it contains itself"):
        upsert(tree, {})
    with pytest.raises(LanguageError, match="nested too deeply"):
        upsert({}, {"k": tree})


def test_paths_are_written_as_people_read_them():
    assert format_path(("base_config", "layers", 1, "dim", "a.b")) == "base_config.layers[1].dim['a.b']"


KEYS = st.sampled_from(
    [
        "a",
        "b",
        "__IDX__0",
        "__IDX__x",
        "sweep_group_a",
        "dy__upsert",
        "dy__list__operations",
        "dy__eval",
        "sweep",
    ]
    + ["dy__insert", "dy__remove", "dy__overwrite", "expression"]
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-2, 2), st.sampled_from(["", "dy__eval(len)", "x"]))
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=10,
)


@pytest.mark.fuzz
@settings(derandomize=True, deadline=None, max_examples=500)
@given(st.dictionaries(st.sampled_from("abc"), TREES, max_size=3), TREES, st.booleans())
def test_any_tree_gives_a_config_or_an_error_of_the_language(base, patch, allow_eval):
    try:
        config = upsert(base, patch, allow_eval=allow_eval)
    except LanguageError as error:
        assert error.problem
    else:
        assert isinstance(config, dict)


def test_inline_code_gives_no_reserved_key():
    with pytest.raises(LanguageError, match=r"^sweep_configuration\.k\.dy__eval: 'dy__eval' is a word"):
        swept_into(1, "dy__eval(lambda c: {'dy__eval': 'x'})", allow_eval=True)


@pytest.mark.parametrize("text", ["dy__eval(f) beats dy__eval(g)", "dy__eval(repr) or (repr)"])
def test_text_that_holds_more_than_one_call_stays_text(text):
    assert swept_into(1, text) == text


def test_code_that_exits_is_an_error():
    with pytest.raises(LanguageError, match="the code failed: SystemExit: 3"):
        swept_into(1, "dy__eval(lambda c: exit(3))", allow_eval=True)


BASE = {"model": {"class_path": "MLP", "init_args": {"width": 8, "depth": 2}}, "layers": [1, 2], "seed": 0}


@pytest.mark.parametrize(
    ("patch", "key", "expected"),
    [
        ({"model": {"dy__replace": {"class_path": "CNN"}}}, "model", {"class_path": "CNN"}),
        ({"model": {"dy__replace": None}}, "model", None),
        ({"layers": {"dy__replace": [3, 4]}}, "layers", [3, 4]),
        ({"layers": {"__IDX__0": {"dy__replace": {"a": 1}}}}, "layers", [{"a": 1}, 2]),
        ({"new": {"dy__replace": {"a": {"b": 1}}}}, "new", {"a": {"b": 1}}),
        ({"dy__upsert": [{"model": {"dy__replace": {"a": 1}}}, {"model": {"b": 2}}]}, "model",
         {"a": 1, "b": 2}),
        ({"model": {"init_args": {"dy__delete": ["width"]}}}, "model",
         {"class_path": "MLP", "init_args": {"depth": 2}}),
        ({"model": {"dy__delete": ["init_args"], "class_path": "CNN", "init_args": {"width": 3}}}, "model",
         {"class_path": "CNN", "init_args": {"width": 3}}),
        ({"model": {"sweep_group_a": {"dy__delete": ["init_args"]}}}, "model", {"class_path": "MLP"}),
    ],
)  # fmt: skip
def test_a_value_replaces_and_keys_are_removed(patch, key, expected):
    config = upsert(BASE, patch)
    assert config == {**BASE, key: expected}


def test_the_whole_config_is_replaced_by_a_mapping_only():
    assert upsert(BASE, {"dy__replace": {"a": 1}}) == {"a": 1}
    with pytest.raises(LanguageError, match="dy__replace: the config is a mapping, this is the number 3"):
        upsert(BASE, {"dy__replace": 3})


def test_what_replaces_and_what_is_removed_may_be_swept():
    replaced = {"sweep": True, "sweep_alias": ["mlp", "cnn"], "values": [{}, {"dy__replace": {"a": 1}}]}
    removed = {"dy__delete": {"sweep": True, "sweep_alias": ["all", "none"], "values": [[], ["seed"]]}}
    inside = {"dy__replace": {"k": {"sweep": True, "values": [1, 2]}}}
    space = Space.compile({"model": replaced, "layers": inside, **removed})
    config = space.resolve(BASE, {"model": "cnn", "k": 2, "dy__delete": "none"})
    assert config == {"model": {"a": 1}, "layers": {"k": 2}}
    assert space.resolve(BASE, {}) == BASE


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"model": {"dy__replace": 1, "a": 2}}, "model: dy__replace should be the only key .* also 'a'"),
        ({"model": {"dy__delete": "width"}}, "model.dy__delete: dy__delete should be a list of keys"),
        ({"model": {"init_args": {"dy__delete": ["depth", "widht"]}}},
         r"init_args.dy__delete\[1\]: unknown key 'widht'; did you mean 'width'"),
        ({"model": {"dy__delete": [0]}}, r"model.dy__delete\[0\]: unknown key 0"),
        ({"layers": {"dy__delete": ["a"]}}, "layers.dy__delete: .* needs a mapping .* there is a list"),
        ({"other": {"dy__delete": ["a"]}}, "other.dy__delete: .* needs a mapping .* there is nothing"),
    ],
)  # fmt: skip
def test_a_replacement_or_removal_that_does_not_fit_is_named(patch, message):
    with pytest.raises(LanguageError, match=message):
        upsert(BASE, patch)
