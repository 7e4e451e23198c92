"""Imports only point down, and importing dysweep is cheap."""

import ast
from pathlib import Path

import dysweep

PACKAGE = Path(dysweep.__file__).parent
LAYERS = [
    {"cli"},
    {"arguments"},
    {"parallel", "report", "screen"},
    {"agent", "location", "naming", "preview", "sync"},
    {"execution", "lost", "status"},
    {"capture", "isolation", "legacy", "offline", "run_tracking", "signals"},
    {"tracking"},
    {"checkpoint"},
    {"runs"},
    {"liveness"},
    {"definition"},
    {"base_fit", "wandb_rules"},
    {"space"},
    {"upsert"},
    {"tree"},
    {"evaluate"},
    {"files"},
    {"errors"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == "dysweep":
            yield from (f"dysweep.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module


def test_every_module_has_a_layer():
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", *LEVEL}


def test_imports_only_point_down():
    upwards = [
        (path.stem, imported)
        for path in PACKAGE.glob("*.py")
        if path.stem != "__init__"
        for imported in imports_of(path)
        if imported.startswith("dysweep.") and LEVEL.get(imported.split(".")[1], 99) <= LEVEL[path.stem]
    ]
    assert upwards == []


def test_only_the_tracking_modules_import_wandb():
    importers = {
        path.stem
        for path in PACKAGE.glob("*.py")
        if any(name.split(".")[0] == "wandb" for name in imports_of(path))
    }
    assert importers == {"tracking", "run_tracking"}


def test_the_top_level_holds_nothing_else():
    top = {path.name for path in PACKAGE.parent.iterdir() if not path.name.startswith(".")}
    expected = "dysweep tests tutorials images pyproject.toml README.md LICENSE"
    expected += " requirements.txt requirements-testing.txt"
    assert top - {"dysweep.egg-info", "dysweep_logs", "build", "wandb"} <= set(expected.split())
