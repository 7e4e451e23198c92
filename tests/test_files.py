"""One YAML loader, and JSON files that are whole or not there."""

import math

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from dysweep import ConfigError, DirectoryError
from dysweep.files import load_file, read_json, replace_json
from dysweep.yaml_text import dump_yaml, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("-2E+5", -200000.0),
        ("1.5e3", 1500.0),
        ("1e", "1e"),
        ("e-3", "e-3"),
        ("2020-01-01", "2020-01-01"),
        ("'1e-3'", "1e-3"),
        ("on", True),
        ("~", None),
        ("{<<: {a: 1, b: 2}, b: 3}", {"a": 1, "b": 3}),
        ("", None),
        ("{x: &x {a: 1}, o: &b {<<: *x, a: 2}, c: {<<: *b}}", {"x": {"a": 1}, "o": {"a": 2}, "c": {"a": 2}}),
        ("12:30:00", "12:30:00"),
        ("80:80", "80:80"),
        ("1:30.5", "1:30.5"),
        ("-1:00", "-1:00"),
        ("1_000", 1000),
        ("1_000.5", 1000.5),
        ("20240101_120000", "20240101_120000"),
        ("1_2", "1_2"),
        ("0x1F", 31),
        ("0o17", 15),
        ("0b11", 3),
        ("0", 0),
        ("-7", -7),
        (".5e3", 500.0),
        ("-.inf", -math.inf),
        ("inf", "inf"),
        ("nan", "nan"),
        ("None", "None"),
        ("=", "="),
        ("[<<, '>>']", ["<<", ">>"]),
        ("1.2.3", "1.2.3"),
    ],
)
def test_yaml_means_what_people_mean(text, value):
    assert parse_yaml(text, "here") == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", r"^here, line 2, column 1: duplicate key 'a'"),
        ("table: 1\ntable: 2", r"duplicate key 'table'"),
        ("a:\n\tb: 1", r"^here, line 2, column 1: a tab character"),
        ("a: [1", r"^here, line 1"),
        ("!!python/object/apply:os.getcwd []", r"^here, line 1.*could not determine a constructor"),
        ("{a: 1}: 2", r"^here, line 1"),
        ("[" * 5000, r"^here: nested too deeply"),
        ("a: \x00", r"^here"),
        ("{x: &x {a: 1}, y: {<<: *x, <<: *x}}", r"^here, line 1, column 28: duplicate key '<<'"),
        ("{y: {<<: 3}}", r"^here, line 1, column 10: `<<` takes a mapping, or a list of mappings"),
        ("{x: &x {a: 1}, y: {<<: [*x, 3]}}", r"^here, line 1, column 29: `<<` takes a mapping"),
        ("y: &y {<<: *y}", r"^here"),
        ("a: 1\n---\nb: 2", r"^here, line 2, column 1: a second document begins here \(`---`\); write one"),
        ("id: 010", r"^here, line 1, column 5: 010 may be octal \(8\) or decimal \(10\); .*'010' in quotes"),
        ("a:\n\xa0 b: 1\n  c: 2", r"^here, line 2: a no-break space, which looks like a blank"),
        (
            "{a: 1, \xa0b: 1}",
            r"^here, line 1, column 8: the key '.xa0b' begins or ends with what only look",
        ),
        ("a: !!float abc", r"^here, line 1, column 4: 'abc' is not a number"),
        ("a: !!int abc", r"^here, line 1, column 4: 'abc' is not a whole number"),
        ("sha: 12e4567", r"^here, line 1, column 6: 12e4567 is too large for a number; write '12e4567' in"),
    ],
)
def test_bad_yaml_is_one_line_with_its_place(text, message):
    with pytest.raises(ConfigError, match=message) as raised:
        parse_yaml(text, "here")
    assert "\n" not in str(raised.value)


def test_files_are_named_when_they_cannot_be_read(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "bad.json").write_text("{'a': 1}")
    (tmp_path / "good.json").write_text('\ufeff{\n\t"a": 1e-3\n}')
    (tmp_path / "twice.json").write_text('{"a": {"b": 1, "b": 2}}')
    for name in ("binary.yaml", "missing.yaml", "bad.json", "twice.json", "."):
        with pytest.raises(ConfigError, match=str(tmp_path / name).rstrip(".")):
            load_file(tmp_path / name)
    assert load_file(tmp_path / "good.json") == {"a": 0.001}
    (tmp_path / "wide.yaml").write_text("lr: 1", encoding="utf-16")
    with pytest.raises(ConfigError, match="wide.yaml: cannot be read .it is not UTF-8; save it as UTF-8"):
        load_file(tmp_path / "wide.yaml")


def test_what_is_written_is_read_back_and_nothing_is_left_beside(tmp_path):
    tree = {"caf\udce9": 1, "größe": [1, 1.0, None, {"a": "\u2028"}]}
    replace_json(tmp_path / "a.json", tree)
    assert read_json(tmp_path / "a.json") == tree
    with pytest.raises(DirectoryError, match="cannot be written"):
        replace_json(tmp_path / "no" / "a.json", tree)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


KEYS = st.sampled_from(["a", "b", "key", "1"])


@st.composite
def chains_of_merges(draw):
    """Draw mappings that merge earlier ones: for each its own keys, and whose keys it takes, in order."""
    mappings = []
    for number in range(draw(st.integers(1, 6))):
        own = draw(st.dictionaries(KEYS, st.integers(0, 99), max_size=3))
        sources = draw(st.lists(st.integers(0, number - 1), max_size=3)) if number else []
        mappings.append((own, sources))
    return mappings


@given(chains_of_merges())
def test_merge_keys_mean_what_yaml_says(mappings):
    """A mapping's own keys win over merged ones, and of a list of mappings the first that has a key."""
    lines, model = [], {}
    for number, (own, sources) in enumerate(mappings):
        expected = {}
        for source in sources:
            expected = {**model[f"m{source}"], **expected}
        model[f"m{number}"] = {**expected, **own}
        keys = [f"{key!r}: {value}" for key, value in own.items()]
        if sources:
            merge = [f"*m{source}" for source in sources]
            position = number % (len(keys) + 1)  # where it is written changes nothing
            keys.insert(position, f"<<: {merge[0] if len(merge) == 1 else '[' + ', '.join(merge) + ']'}")
        lines.append(f"m{number}: &m{number} {{{', '.join(keys)}}}")
    assert parse_yaml("\n".join(lines), "here") == model


@example("\x85")
@example("a\u2028b")
@given(st.text(alphabet="0123456789_.:+-eEobx nafty=<~", max_size=8) | st.text(max_size=8))
def test_any_text_is_written_as_text_for_this_loader_and_for_others(text):
    assert parse_yaml(dump_yaml({"a": [text]}), "here") == {"a": [text]}
    assert yaml.safe_load(dump_yaml([text])) == [text]


@given(st.integers() | st.floats(allow_nan=False))
def test_any_number_is_written_as_this_number(number):
    read = parse_yaml(dump_yaml([number]), "here")
    assert read == [number] and type(read[0]) is type(number)
