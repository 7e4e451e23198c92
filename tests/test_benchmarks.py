"""The benchmarks work: each gives its rows, with numbers, in sizes that say nothing about speed."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers import LONGEST_WAIT

ROOT = Path(__file__).parent.parent


def measure(tmp_path, *arguments):
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", "--json", tmp_path / "measured.json"]
    folder = tmp_path / "disk"
    folder.mkdir(exist_ok=True)
    shown = subprocess.run(
        [*command, "--folder", folder, *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_WAIT, check=False,
    )  # fmt: skip
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert list(folder.iterdir()) == []
    return json.loads((tmp_path / "measured.json").read_text()), shown


FIRST_ROWS = {
    "imports": "import dysweep: CPU",
    "resolve": "resolve, golden example: CPU",
    "creation": "create, 5 parameters: CPU",
    "disk": "files that a run leaves",
    "views": "status of 20 runs: CPU",
    "memory": "memory of an agent, all processes",
    "offline": "offline, 2 no-op runs: CPU",
    "online": "online, 1 no-op runs: wall",
    "claim": "claim among 3 runs, the first: CPU",
    "latency": "1 ms an operation: status of 5 runs, wall",
    "agents": "2 agents, runs of 0.1 s, without W&B: share of the ideal",
}
PACKAGE_OF_PEER = {
    "Optuna, journal": "optuna",
    "Optuna's ask": "optuna",
    "optuna --help": "optuna",
    "Hydra, multirun": "hydra",
    "Hydra app --help": "hydra",
    "OmegaConf.merge": "omegaconf",
}


@pytest.mark.parametrize("name", FIRST_ROWS)
def test_a_benchmark_gives_rows_with_numbers(tmp_path, name):
    measured, shown = measure(tmp_path, "--only", name)
    rows = measured["rows"]
    if name == "latency" and any("no C compiler" in warning for warning in measured["warnings"]):
        pytest.skip("there is no C compiler (cc)")
    assert FIRST_ROWS[name] in [row["what"] for row in rows]
    for row in rows:
        assert row["benchmark"] == name and row["ours"] > 0, row
        if row["peer_name"] and find_spec(PACKAGE_OF_PEER.get(row["peer_name"], "wandb")):
            assert row["peer"] > 0, row
        elif row["peer_name"]:
            assert row["peer"] is None and "not installed" in shown.stdout
        assert row["floor"] is None or row["floor"] > 0, row
        assert row["what"] in shown.stdout
        assert row["goal"] is None and row["met"] is None


def test_what_is_missing_is_named(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    measured, shown = measure(tmp_path, "--only", "disk", "--only", "latency")
    assert measured["warnings"] == [
        "strace is missing: no file operations, no fsyncs",
        "there is no C compiler (cc): nothing is measured on a slow disk",
    ]
    assert [line for line in shown.stderr.splitlines() if line.startswith("warning: ")] == [
        f"warning: {warning}" for warning in measured["warnings"]
    ]
    assert {row["benchmark"] for row in measured["rows"]} == {"disk"}


def test_the_table_of_a_page_is_replaced(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# Speed\n<!-- measured: begin -->\n(stale)\n<!-- measured: end -->\nThe end.\n")
    measured, _ = measure(tmp_path, "--only", "resolve", "--write", page)
    text = page.read_text()
    assert "(stale)" not in text and text.startswith("# Speed\n<!--") and text.endswith("end -->\nThe end.\n")
    assert f"Measured on {measured['date']}, 1 rounds" in text
    lines = [line for line in text.splitlines() if line.startswith("| resolve, ")]
    assert len(lines) == len(measured["rows"])
