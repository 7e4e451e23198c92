"""Functions in a fresh Python process for every run: the same results, and no run harms another."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import create, run, run_of, states, wait_for

from dysweep import FunctionError, ProgramCrash, cli, dysweep_run_resume, open_sweep

CONFIG = """
base_config: {n: 0}
sweep_configuration: {n: {sweep: true, values: [1, 2, 3, 4, 5, 6]}}
"""
FUNCTIONS = """
import ctypes, os, signal, sys, time, wandb
from pathlib import Path
import dysweep

left = []

class Model:
    @staticmethod
    def train(config, checkpoint_dir):
        return config["n"]

class OwnError(Exception):
    def __init__(self, code, why):
        super().__init__(f"{why} {code}")

def trains(config, checkpoint_dir):
    left.append(config["n"])
    wandb.log({"n": config["n"], "runs in this process": len(left)})
    print("trained", config["n"], dysweep.current_run().attempt)
    return {"n": config["n"]}

def segfaults(config, checkpoint_dir):
    wandb.log({"n": config["n"]})
    if config["n"] % 3 == 0:
        ctypes.string_at(0)

def raises(config, checkpoint_dir):
    raise OwnError(7, "no")

def returns_a_lambda(config, checkpoint_dir):
    return lambda: 1

def allocates(config, checkpoint_dir):
    left.append(bytearray(200_000_000))

def waits(config, checkpoint_dir, more=0):
    Path("pid").write_text(str(os.getpid()))
    try:
        while not Path("enough").exists():
            time.sleep(0.02)
    finally:
        (checkpoint_dir / "saved").touch()
"""


@pytest.fixture(autouse=True)
def files(own_folder):
    (own_folder / "config.yaml").write_text(CONFIG)
    (own_folder / "functions.py").write_text(FUNCTIONS)


def is_alive(pid):
    return Path(f"/proc/{pid}").exists()


def test_every_run_has_a_process_of_its_own_with_the_same_results(capfd):
    sweep_id = create(capfd)
    assert run("trains", "--sweep_id", sweep_id, "--isolate", "--count", "2") == 0
    assert capfd.readouterr().out == "trained 1 1\ntrained 2 1\n"
    first, second = open_sweep(sweep_id).runs[:2]
    assert first.metrics == {"n": 1, "runs in this process": 1}
    assert second.metrics == {"n": 2, "runs in this process": 1}
    assert run_of(sweep_id).last_attempt().log_path.read_text() == "trained 1 1\n"
    [folder] = run_of(sweep_id).path.glob("wandb/offline-run-*")  # the child's; the agent has none
    assert folder.name.endswith("-0001")


def test_a_function_that_segfaults_in_every_third_run_ends_these_runs_only(capfd):
    sweep_id = create(capfd)
    assert run("segfaults", "--sweep_id", sweep_id, "--isolate", "--recover", "--max_attempts", "2") == 1
    runs = open_sweep(sweep_id, max_attempts=2).runs
    assert [(each.state, each.attempts, each.set_aside) for each in runs] == [
        ("finished", 1, False), ("finished", 1, False), ("crashed", 2, True),
    ] * 2  # fmt: skip
    assert runs[2].error["message"] == "ended by SIGSEGV"
    assert "Segmentation fault" in run_of(sweep_id, 3).last_attempt().log_path.read_text()


def test_in_python_its_value_and_its_exception_come_back(monkeypatch):
    monkeypatch.syspath_prepend(str(Path.cwd()))
    import functions

    settings = {"base_config": {}, "sweep_configuration": {"n": {"sweep": True, "values": [4]}}}
    sweep_id = dysweep_run_resume(**settings)
    run_id = f"{sweep_id}-0001"
    work = {"sweep_id": sweep_id, "isolate": True}
    assert dysweep_run_resume(**work, function=functions.trains) is None
    assert dysweep_run_resume(**work, function=functions.Model.train, rerun_id=run_id) == 4
    assert dysweep_run_resume(**work, function=functions.returns_a_lambda, rerun_id=run_id) is None
    with pytest.raises(Exception, match="OwnError: no 7"):  # it cannot be pickled
        dysweep_run_resume(**work, function=functions.raises, rerun_id=run_id)
    [found] = open_sweep(sweep_id).runs
    assert found.error["type"] == "OwnError" and "functions.py" in found.error["traceback"]
    settings["sweep_configuration"]["n"]["values"] = [3]
    sweep_id = dysweep_run_resume(**settings, function=functions.segfaults, isolate=True)
    assert open_sweep(sweep_id).counts == {"crashed": 1}
    with pytest.raises(ProgramCrash, match="ended by SIGSEGV"):
        dysweep_run_resume(
            **{**work, "sweep_id": sweep_id}, function=functions.segfaults, rerun_id=f"{sweep_id}-0001"
        )


def test_what_another_process_cannot_import_is_refused(capfd):
    settings = {"base_config": {}, "sweep_configuration": {"n": {"sweep": True, "values": [4]}}}
    with pytest.raises(FunctionError, match="cannot be imported by another process"):
        dysweep_run_resume(**settings, isolate=True, function=lambda config, checkpoint_dir: None)
    assert not Path("dysweep_logs").exists()
    sweep_id = create(capfd)
    for words, message in (
        (["--function", "nothing"], "functions has no 'nothing'"),
        (["--function", "left"], "is not a function"),
        (
            ["--function", "waits", "--run_additional_args", "mroe:1"],
            "waits takes no 'mroe'; did you mean 'more'?",
        ),
    ):
        assert cli.run_resume(["--package", "functions", *words, "--sweep_id", sweep_id, "--isolate"]) == 2
        err = capfd.readouterr().err
        assert message in err and "Traceback" not in err
    assert not states()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_interrupts_the_function(start, capfd, number):
    sweep_id = create(capfd)
    command = ["--package", "functions", "--function", "waits", "--sweep_id", sweep_id, "--isolate"]
    agent = start("dysweep_run_resume", *command)
    pid = wait_for(lambda: Path("pid").exists() and Path("pid").read_text())
    agent.send_signal(number)
    _, err = agent.communicate()
    assert agent.returncode == 128 + number, err
    assert "Traceback" not in err and not is_alive(pid)
    assert open_sweep(sweep_id).counts == {"preempted": 1, "pending": 5}
    assert (run_of(sweep_id).checkpoint_path / "saved").exists()
    Path("enough").touch()
    assert cli.run_resume([*command, "--recover", "--count", "1"]) == 0
    assert open_sweep(sweep_id).counts == {"finished": 1, "pending": 5}


def test_the_function_does_not_outlive_its_agent(start, capfd):
    sweep_id = create(capfd)
    command = ["--package", "functions", "--function", "waits", "--sweep_id", sweep_id, "--isolate"]
    agent = start("dysweep_run_resume", *command)
    pid = wait_for(lambda: Path("pid").exists() and Path("pid").read_text())
    agent.kill()
    agent.communicate()
    wait_for(lambda: not is_alive(pid))
    assert open_sweep(sweep_id).counts == {"crashed": 1, "pending": 5}


def test_memory_is_free_between_runs(capfd):
    script = (
        "import json, re, sys\n"
        "from dysweep import cli\n"
        "code = cli.run_resume(['--package', 'functions', '--function', 'allocates', *sys.argv[1:]])\n"
        # Not getrusage, which counts from the process that started this one.
        "most = re.search(r'VmHWM:\\s*(\\d+) kB', open('/proc/self/status').read())\n"
        "print(json.dumps([code, int(most[1])]))\n"
    )
    most = {}
    for isolate in ("true", "false"):
        sweep_id = create(capfd)
        words = ["--sweep_id", sweep_id, "--isolate", isolate, "--count", "3"]
        shown = subprocess.run(
            [sys.executable, "-c", script, *words], stdout=-1, text=True, timeout=300, check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        code, most[isolate] = json.loads(shown.stdout.splitlines()[-1])
        assert code == 0
    assert most["false"] - most["true"] > 400_000  # KiB: 3 runs of 200 MB, and none of them
