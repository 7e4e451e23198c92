"""Fixtures: every test works in a folder of its own, offline unless it asks for a server."""

import os
import re
import subprocess
import sys
from dataclasses import fields

import pytest

# Settings of W&B, of a job's launcher, of the terminal that the tests are started from.
OUTER = re.compile(
    "(WANDB|SLURM|TORCHELASTIC|OMPI|PMI|PMIX|MPI)_.*"
    "|(LOCAL_|GROUP_|NODE_|ROLE_)?RANK|(LOCAL_|ROLE_)?WORLD_SIZE|MASTER_(ADDR|PORT)"
    "|COLUMNS|LINES|NO_COLOR|FORCE_COLOR|CLICOLOR|CLICOLOR_FORCE|TTY_COMPATIBLE|TTY_INTERACTIVE"
)


def outer_variables():
    """List the variables of the environment that tests must not see."""
    return [name for name in os.environ if OUTER.fullmatch(name)]


for each in outer_variables():  # before wandb is imported, which reads some at once, and for pytest's workers
    del os.environ[each]

import hypothesis  # noqa: E402
import wandb  # noqa: E402
from helpers import SCRIPTS, Process  # noqa: E402
from wandb_server import Server, Unknown  # noqa: E402

# Beside other tests anything can be slow.
hypothesis.settings.register_profile(
    "busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy")

# What a test needs, by the fixtures that it uses and by its module; `pytest` alone leaves these out.
MARK_OF_FIXTURE = {"start": "processes", "server": "online", "servers": "online", "browser": "browser"}
MARK_OF_MODULE = {
    "test_benchmarks": "processes",
    "test_chaos": "processes",
    "test_cookbook": "processes",
    "test_crash_points": "processes",
    "test_ends": "processes",
    "test_hosts": "root",
    "test_interrupted_programs": "online",
    "test_isolated": "processes",
    "test_lightning": "torch",
    "test_migration": "processes",
    "test_online": "online",
    "test_processes": "processes",
    "test_programs": "processes",
    "test_programs_online": "online",
    "test_projects": "processes",
    "test_ranks": "processes",
    "test_report": "browser",
    "test_sdk_contract": "online",
    "test_slurm": "slurm",
    "test_tutorials": "processes",
}


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in outer_variables():
        if name != "WANDB_SERVICE":  # this process's own connection, which lasts from test to test
            monkeypatch.delenv(name)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    # Who runs the tests may be logged in, and may have saved settings of W&B.
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path / ".config/wandb"))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
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
        processes.append(Process([SCRIPTS / script, *map(str, arguments)], **options))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def servers(request, monkeypatch):
    """Give a function that starts servers; this process and those that it starts go to the newest."""
    started = []
    flipped = {name: not getattr(Unknown, name) for name in request.config.getoption("flip")}

    def server():
        started.append(Server(Unknown(**flipped)).start())
        for name, value in started[-1].environment.items():
            monkeypatch.setenv(name, value)
        wandb.teardown()
        return started[-1]

    yield server
    wandb.teardown()
    for each in started:
        each.stop()
    assert [deviation for each in started for deviation in each.deviations] == []


@pytest.fixture
def server(servers):
    return servers()


def pytest_addoption(parser):
    parser.addoption("--rounds", type=int, default=1, help="how many seeds the chaos tests try")
    parser.addoption(
        "--flip",
        action="append",
        default=[],
        choices=[field.name for field in fields(Unknown) if field.type == "bool"],
        help="let the test server do the other thing where nobody outside W&B knows",
    )
    parser.addoption("--no_skips", action="store_true", help="fail if a test was skipped")


def pytest_generate_tests(metafunc):
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", range(metafunc.config.getoption("rounds")))


LONGEST = ["test_tutorials", "test_online", "test_documentation", "test_chaos", "test_cli", "test_hosts"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Mark what tests need; begin with the longest ones, so that none is left alone at the end."""
    for item in items:
        needs = {MARK_OF_FIXTURE.get(name) for name in item.fixturenames}
        needs.add(MARK_OF_MODULE.get(item.path.stem))
        for mark in filter(None, needs):
            item.add_marker(mark)
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))
    items.sort(key=lambda item: item.name != "test_the_notebook_runs_from_start_to_end")


def pytest_sessionfinish(session):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if session.config.getoption("--no_skips") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter):
    """Print what the chaos tests have counted."""
    reports = [dict(each.user_properties) for each in terminalreporter.getreports("passed")]
    counted = [each for each in reports if "takeovers" in each]
    if counted:
        total = {name: sum(each[name] for each in counted) for name in counted[0]}
        figures = ", ".join(f"{number} {name}" for name, number in total.items())
        terminalreporter.write_line(f"chaos: {len(counted)} rounds, {figures}")
