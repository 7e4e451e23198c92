"""Fixtures: every test works in a folder of its own, offline unless it asks for a server."""

import subprocess
import sys
from pathlib import Path

import pytest
import wandb
from wandb_server import Server

SCRIPTS = Path(sys.executable).parent


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_API_KEY", "WANDB_DIR", "SLURM_JOB_ID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    modules = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def start(request):
    """Start an installed script as a process of its own; it is ended with the test."""
    processes = []

    def start(script, *arguments, **options):
        options = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            **options,
        }
        processes.append(subprocess.Popen([SCRIPTS / script, *map(str, arguments)], **options))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def servers(monkeypatch):
    """Give a function that starts servers; this process and those that it starts go to the newest."""
    started = []

    def server():
        started.append(Server().start())
        for name, value in started[-1].environment.items():
            monkeypatch.setenv(name, value)
        wandb.teardown()
        return started[-1]

    yield server
    wandb.teardown()
    for each in started:
        each.stop()


@pytest.fixture
def server(servers):
    return servers()


def pytest_addoption(parser):
    parser.addoption("--rounds", type=int, default=1, help="how many seeds the chaos tests try")


def pytest_generate_tests(metafunc):
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(metafunc.config.getoption("rounds")))


LONGEST = ["test_tutorials", "test_online", "test_documentation", "test_chaos", "test_cli", "test_hosts"]


def pytest_collection_modifyitems(items):
    """Begin with the longest tests, so that none is left alone at the end."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))
    items.sort(key=lambda item: item.name != "test_the_notebook_runs_from_start_to_end")


def pytest_terminal_summary(terminalreporter):
    """Print what the chaos tests have counted."""
    reports = [dict(each.user_properties) for each in terminalreporter.getreports("passed")]
    counted = [each for each in reports if "takeovers" in each]
    if counted:
        total = {name: sum(each[name] for each in counted) for name in counted[0]}
        figures = ", ".join(f"{number} {name}" for name, number in total.items())
        terminalreporter.write_line(f"chaos: {len(counted)} rounds, {figures}")
