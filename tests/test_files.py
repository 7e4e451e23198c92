"""One YAML loader, and JSON files that are whole or not there."""

import pytest

from dysweep import ConfigError, DirectoryError
from dysweep.files import load_file, parse_yaml, read_json, write_json


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
    ],
)
def test_yaml_means_what_people_mean(text, value):
    assert parse_yaml(text, "here") == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", r"^here, line 2, column 1: the key 'a' stands here twice"),
        ("table: 1\ntable: 2", r"the key 'table' stands here twice"),
        ("a:\n\tb: 1", r"^here, line 2, column 1: a tab character"),
        ("a: [1", r"^here, line 1"),
        ("!!python/object/apply:os.getcwd []", r"^here, line 1.*could not determine a constructor"),
        ("{a: 1}: 2", r"^here, line 1"),
        ("[" * 5000, r"^here: nested too deeply"),
        ("a: \x00", r"^here"),
    ],
)
def test_bad_yaml_is_one_line_with_its_place(text, message):
    with pytest.raises(ConfigError, match=message) as raised:
        parse_yaml(text, "here")
    assert "\n" not in str(raised.value)


def test_files_are_named_when_they_cannot_be_read(tmp_path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "bad.json").write_text("{'a': 1}")
    (tmp_path / "good.json").write_text('{\n\t"a": 1e-3\n}')
    for name in ("binary.yaml", "missing.yaml", "bad.json", "."):
        with pytest.raises(ConfigError, match=str(tmp_path / name).rstrip(".")):
            load_file(tmp_path / name)
    assert load_file(tmp_path / "good.json") == {"a": 0.001}


def test_what_is_written_is_read_back_and_nothing_is_left_beside(tmp_path):
    tree = {"caf\udce9": 1, "größe": [1, 1.0, None, {"a": "\u2028"}]}
    write_json(tmp_path / "a.json", tree)
    assert read_json(tmp_path / "a.json") == tree
    with pytest.raises(DirectoryError, match="cannot be written"):
        write_json(tmp_path / "no" / "a.json", tree)
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
