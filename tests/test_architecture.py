"""Imports only point down, and importing dysweep is cheap."""

import ast
import subprocess
from pathlib import Path

import pytest

import dysweep

PACKAGE = Path(dysweep.__file__).parent
LAYERS = [
    ["cli"],
    ["commands"],
    ["arguments", "parallel"],
    ["debugging", "extending", "launch", "migrating"],
    ["completion", "creation", "options", "overrides"],
    ["agents"],
    ["views"],
    ["tracking"],
    ["directory", "results"],
    ["space", "objects", "search"],
    ["language"],
    ["modes"],
    ["settings"],
    ["typed", "current"],
    ["files", "log"],
    ["yaml_text"],
    ["text"],
    ["limits"],
    ["errors"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
MODULES = [path for path in PACKAGE.rglob("*.py") if path.name not in ("__init__.py", "__main__.py")]


def name_of(path):
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = {name_of(each) for each in MODULES}
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in names else node.module


def level_of(name):
    return LEVEL[name.split(".")[1]]


def test_every_module_and_folder_has_a_layer():
    tops = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES}
    assert tops == set(LEVEL)


def test_contributors_find_every_module_and_folder_in_the_map_in_the_order_of_the_layers():
    map_of_all = (PACKAGE.parent / "CONTRIBUTING.md").read_text().partition("    dysweep/\n")[2]
    lines = map_of_all.partition("\n\n")[0].splitlines()
    named = [line.split()[0].rstrip("/").removesuffix(".py") for line in lines if line[6] != " "]
    assert sorted(named) == sorted(LEVEL)
    assert [LEVEL[name] for name in named] == sorted(LEVEL.values())


def test_imports_only_point_down():
    upwards = [
        (name_of(path), imported)
        for path in MODULES
        for imported in imports_of(path)
        if imported.startswith("dysweep.")
        and name_of(path).split(".")[:2] != imported.split(".")[:2]
        and level_of(imported) <= level_of(name_of(path))
    ]
    assert upwards == []


def test_no_module_is_imported_by_what_it_imports():
    imported = {name_of(path): set(imports_of(path)) for path in MODULES}
    while leaves := [name for name, others in imported.items() if not others & imported.keys()]:
        for name in leaves:
            del imported[name]
    assert imported == {}


def test_no_module_is_long():
    assert {name_of(path) for path in MODULES if len(path.read_text().splitlines()) > 400} == set()


def test_only_tracking_imports_wandb():
    importers = {
        name_of(path).split(".")[1]
        for path in MODULES
        if any(name.split(".")[0] == "wandb" for name in imports_of(path))
    }
    assert importers == {"tracking"}


def test_the_top_level_holds_nothing_else():
    """Of what git tracks: a virtual environment, data and results in a checkout are their owner's."""
    command = ["git", "-c", "safe.directory=*", "ls-files"]
    try:
        listed = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no checkout of git")
    top = {path.partition("/")[0] for path in listed.stdout.splitlines() if not path.startswith(".")}
    expected = "dysweep tests tutorials images pyproject.toml README.md CONTRIBUTING.md LICENSE"
    assert top == {*expected.split(), *(f"requirements{name}.txt" for name in ("", "-dev", "-testing"))}
