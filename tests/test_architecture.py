"""Imports only point down, and importing dysweep is cheap."""

import ast
import subprocess
from pathlib import Path

import pytest

import dysweep

PACKAGE = Path(dysweep.__file__).parent
LAYERS = [
    {"cli"},
    {"arguments", "functions", "report", "screen"},
    {"parallel"},
    {"creation"},
    {"agent", "location", "preview"},
    {"progress", "sync"},
    {"execution", "status"},
    {"jobs", "online"},
    {"capture", "isolation", "offline", "run_tracking", "signals"},
    {"handout", "sources", "sweeps"},
    {"legacy"},
    {"naming", "sdk", "heartbeat"},
    {"checkpoint"},
    {"runs"},
    {"liveness"},
    {"definition"},
    {"base_fit", "wandb_rules"},
    {"points"},
    {"space"},
    {"parameter"},
    {"upsert"},
    {"tree"},
    {"evaluate", "settings"},
    {"typed"},
    {"files", "log", "metric", "ranks", "text"},
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
    assert importers == {"handout", "run_tracking", "sdk", "sweeps", "sync"}


def test_the_top_level_holds_nothing_else():
    """Of what git tracks: a virtual environment, data and results in a checkout are their owner's."""
    command = ["git", "-c", "safe.directory=*", "ls-files"]
    try:
        listed = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no checkout of git")
    top = {path.partition("/")[0] for path in listed.stdout.splitlines() if not path.startswith(".")}
    expected = "dysweep tests tutorials images pyproject.toml README.md LICENSE"
    assert top == {*expected.split(), "requirements.txt", "requirements-testing.txt"}
