"""Arbitrary trees and files give nothing but dysweep's own errors.

`FUZZ_EXAMPLES=2000 pytest -m fuzz` is the long form.
"""

import json
import os
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dysweep import ConfigError, DysweepError, LanguageError, Space
from dysweep.agents.sources import find_resumable
from dysweep.directory.runs import RESUMABLE
from dysweep.directory.sweep import Sweep, SweepDirectory
from dysweep.yaml_text import parse_yaml

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "100"))
pytestmark = pytest.mark.fuzz
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
WORDS = st.sampled_from(
    "sweep sweep_alias sweep_identifier sweep_group sweep_group_a dy__upsert dy__eval dy__list__operations "
    "dy__insert dy__remove dy__overwrite values value min max distribution probabilities parameters "
    "expression context function_of_interest __IDX__0 __IDX__x __CUSTOM_SEPERATOR__ a b c".split()
)
KEYS = WORDS | st.text(max_size=3)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["dy__eval(lambda c: c)", "dy__eval(1", "uniform", "lambda c: c", "1e-3", 10**400])
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
MAPPINGS = st.dictionaries(KEYS, TREES, max_size=4)


@fuzzed
@given(MAPPINGS, MAPPINGS, st.dictionaries(KEYS, SCALARS, max_size=3))
def test_any_base_and_space_give_a_config_or_a_language_error(base, parameters, assignment):
    try:
        space = Space.compile(parameters)
        read = Space.from_json(space.to_json())
        assert read.parameters.keys() == space.parameters.keys()
        chosen = {p.name: p.encode(0) for p in space.swept if p.values}
        json.dumps(space.resolve(base, {**assignment, **chosen}))
    except LanguageError as error:
        assert "\n" not in str(error) and error.path.startswith(("sweep_configuration", "base_config"))


@fuzzed
@given(st.text(max_size=60) | TREES.map(lambda tree: yaml.safe_dump(tree, allow_unicode=True)))
def test_any_text_is_a_tree_or_a_config_error(text):
    try:
        parse_yaml(text, "file.yaml")
    except ConfigError as error:
        assert str(error).startswith("file.yaml") and "\n" not in str(error)


PIECES = st.lists(
    st.sampled_from(
        [*"ab~%@`=-:{}[],'\"", "c: ", "- ", "\n", "\n  ", "\n    ", "\r\n", "\r", "&x ", "*x", "<<: "]
    )
    | st.sampled_from(
        ["|\n  t", "> \n  t", " #c", "!!str ", "!t ", "1e-3", "0x1f", "1_000", "---\n", "...", "''"]
    )
    | st.sampled_from("\t\r\u2028\x85\xa0"),
    max_size=12,
)


def read_or_refused(text):
    try:
        return repr(parse_yaml(text, "file.yaml"))
    except ConfigError:
        return "refused"


@fuzzed
@given(PIECES.map("".join))
def test_a_text_means_the_same_to_both_parsers(text):
    assert read_or_refused(text) == read_or_refused(f"#?\n{text}")  # libyaml does not get a text with `?`


@pytest.mark.parametrize("depth", [100, 300, 450, 900, 2_000, 100_000])
@pytest.mark.parametrize("begin, end", [("{a: ", "}"), ("[", "]"), ('{"a": ', "}")])
def test_what_is_nested_too_deeply_is_an_error_or_a_tree(begin, end, depth):
    try:
        tree = parse_yaml(f"{begin * depth}1{end * depth}", "file.yaml")
        Space.compile({"x": {"sweep": True, "values": [tree, 2]}}).resolve({}, {"x": 2})
    except DysweepError as error:
        assert "nested too deeply" in str(error)


@pytest.mark.parametrize("depth", [150, 300, 600, 900, 5_000])
def test_trees_made_in_python_may_be_as_deep_as_they_like(depth):
    tree = 1
    for _ in range(depth):
        tree = {"a": tree}
    for base, value in ((tree, 1), ({}, tree)):
        try:
            space = Space.compile({"x": {"sweep": True, "values": [value, 2]}})
            Space.from_json(space.to_json()).resolve(base, {"x": space.swept[0].encode(0)})
        except LanguageError as error:
            assert depth > 150 and "nested too deeply" in str(error)


def test_numbers_that_are_too_long_are_an_error():
    with pytest.raises(ConfigError, match=r"file\.yaml.*number"):
        parse_yaml("9" * 5000, "file.yaml")
    with pytest.raises(LanguageError, match=r"base_config\.a.*number"):
        Space.compile({"b": {"sweep": True, "values": [1]}}).resolve({"a": 10**5000}, {"b": 1})


CONTENTS = st.binary(max_size=40) | TREES.map(lambda tree: json.dumps(tree, default=str).encode())
FILES = [
    "run.json",
    "run_config.json",
    "attempts/0001.json",
    "attempts/0001.end.json",
    "attempts/0001.heartbeat",
]


@fuzzed
@given(content=CONTENTS, file=st.sampled_from(["sweep.json", *(f"runs/{{}}/{file}" for file in FILES)]))
def test_any_content_of_a_directory_gives_a_directory_error_at_most(tmp_path_factory, content, file):
    directory = SweepDirectory(tmp_path_factory.mktemp("sweep"))
    space = Space.compile({"lr": {"sweep": True, "values": [1, 2]}})
    described = {"method": "grid", "parameters": {}}
    directory.create(Sweep("abcd", "offline", None, "p", None, {"lr": 0}, described, space.to_json()))
    for number in (1, 2):
        attempt = directory.start_run(f"abcd-000{number}", {"lr": number}, None, {"lr": number})
        attempt.finish("failed", None, {})
    (directory.path / file.format("abcd-0001")).write_bytes(content)
    read = SweepDirectory(directory.path)
    found = find_resumable(read, RESUMABLE)
    assert "abcd-0002" in [lost.run.run_id for lost in found.resumable]
    for action in (
        lambda: read.sweep,
        *(run.config for run in read.runs()),
        *(run.state for run in read.runs()),
    ):
        try:
            action()
        except DysweepError as error:
            assert str(directory.path) in str(error)


@pytest.mark.parametrize("link", ["run", "attempts"])
def test_symbolic_links_do_not_lead_out_of_the_directory(tmp_path, link):
    directory = SweepDirectory(tmp_path / "sweep")
    space = Space.compile({"lr": {"sweep": True, "values": [1, 2]}})
    described = {"method": "grid", "parameters": {}}
    directory.create(Sweep("abcd", "offline", None, "p", None, {"lr": 0}, described, space.to_json()))
    attempt = directory.start_run("abcd-0001", {"lr": 1}, None, {"lr": 1})
    attempt.finish("failed", None, {})
    outside = tmp_path / "outside"
    moved = attempt.run.path if link == "run" else attempt.run.attempts_path
    moved.rename(outside)
    moved.symlink_to(outside)
    assert find_resumable(directory, RESUMABLE).resumable == []
    with pytest.raises(DysweepError):
        directory.run("abcd-0001").last_attempt()
    assert sorted(path.name for path in Path(outside).rglob("0002*")) == []
