"""What a function does to its process: children, threads, signals, and what it leaves changed."""

import json
import logging
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import helpers
import pytest
from helpers import Process, run_of, wait_for

from dysweep import ConfigError, dysweep_run_resume, open_sweep

FUNCTIONS = """
import hashlib, multiprocessing, os, signal, sys, threading, time
import wandb

def child_raises(config, checkpoint_dir):
    child = os.fork()
    if child == 0:
        raise ValueError("in the child")
    _, status = os.waitpid(child, 0)
    wandb.log({"code": os.waitstatus_to_exitcode(status)})

def child_returns(config, checkpoint_dir):
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        wandb.log({"code": os.waitstatus_to_exitcode(status)})

def child_exits(config, checkpoint_dir):
    child = os.fork()
    if child == 0:
        sys.exit(7)
    _, status = os.waitpid(child, 0)
    wandb.log({"code": os.waitstatus_to_exitcode(status)})

def begins_an_agent(config, checkpoint_dir):
    import dysweep
    child = os.fork()
    if child == 0:
        dysweep.dysweep_run_resume(sweep_id=os.environ["SWEEP"], function=child_raises)
    _, status = os.waitpid(child, 0)
    wandb.log({"code": os.waitstatus_to_exitcode(status)})

def pools(config, checkpoint_dir):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print("sum", sum(pool.map(abs, [-1, -2])))

class Dropping:
    def __del__(self):
        for _ in range(20):
            time.sleep(0.005)

def drops_exceptions(config, checkpoint_dir):
    (checkpoint_dir / "started").touch()
    try:
        while True:
            Dropping()
            time.sleep(0.02)
    finally:
        (checkpoint_dir / "told").touch()

def computes(config, checkpoint_dir):
    (checkpoint_dir / "started").touch()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # compiled code, for minutes: no handler runs

def sleeps(config, checkpoint_dir):
    (checkpoint_dir / "started").touch()
    try:
        with multiprocessing.get_context("fork").Pool(2) as pool:
            pool.map(time.sleep, [60, 60])
    finally:
        (checkpoint_dir / "told").touch()

def leaves_a_thread(config, checkpoint_dir):
    threading.Thread(target=time.sleep, args=[10**6]).start()
    (checkpoint_dir / "started").touch()
    time.sleep(60)

def kills_wandb(config, checkpoint_dir):
    wandb.log({"acc": 1})
    if config["lr"] == 1:
        for each in filter(str.isdigit, os.listdir("/proc")):
            try:
                parent = int(open(f"/proc/{each}/stat").read().rpartition(")")[2].split()[1])
                words = open(f"/proc/{each}/cmdline").read()
            except OSError:
                continue
            if parent == os.getpid() and "wandb-core" in words:
                os.kill(int(each), signal.SIGKILL)
        time.sleep(0.5)
    (checkpoint_dir / "model").write_text("trained to the end")
"""
SPACE = {"lr": {"sweep": True, "values": [1, 2]}}


@pytest.fixture(autouse=True)
def files(own_folder):
    (own_folder / "functions.py").write_text(FUNCTIONS)


def created(values=(1, 2)):
    space = {"lr": {"sweep": True, "values": list(values)}}
    return dysweep_run_resume(base_config={"lr": 0}, sweep_configuration=space)


def agent(start, function, sweep_id, *arguments, **options):
    work = ["--package", "functions", "--function", function, "--sweep_id", sweep_id]
    return start("dysweep_run_resume", *work, *arguments, **options)


def attempts_of(sweep_id):
    directory = helpers.directory(sweep_id)
    return {run.run_id: sorted(os.listdir(run.attempts_path)) for run in directory.runs()}


def wait_for_file(name):
    wait_for(lambda: list(Path("dysweep_logs").glob(f"*/runs/*/checkpoint/{name}")))


@pytest.mark.parametrize(
    ("function", "code"),
    [("child_raises", 1), ("child_returns", 0), ("child_exits", 7), ("begins_an_agent", 1)],
)
def test_a_child_of_a_fork_is_never_the_run(start, function, code):
    sweep_id = created()
    process = agent(start, function, sweep_id, env={**os.environ, "SWEEP": sweep_id})
    _, err = process.communicate()
    assert process.returncode == 0, err
    sweep = open_sweep(sweep_id)
    assert [(run.state, run.attempts, run.metrics) for run in sweep.runs] == [
        ("finished", 1, {"code": code})
    ] * 2
    assert err.count("Traceback") == (2 if code == 1 else 0)
    assert all(len(files) == 4 for files in attempts_of(sweep_id).values())


def test_pools_end_and_what_their_workers_print_is_in_the_log(start):
    sweep_id = created(range(10))
    _, err = agent(start, "pools", sweep_id).communicate()
    assert open_sweep(sweep_id).counts == {"finished": 10}, err
    assert "Traceback" not in err
    [log] = run_of(sweep_id).attempts_path.glob("*.log")
    assert log.read_text().count("sum 3") == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_whole_group_gives_no_traceback_of_ours_in_workers(start, number):
    sweep_id = created()
    process = agent(start, "sleeps", sweep_id, start_new_session=True)
    wait_for_file("started")
    time.sleep(0.5)
    os.killpg(process.pid, number)
    _, err = process.communicate()
    assert process.returncode == 128 + number
    assert "Preempted" not in err and "dysweep/" not in err
    assert open_sweep(sweep_id).counts == {"pending": 1, "preempted": 1}
    wait_for_file("told")


def test_a_signal_arrives_though_python_drops_exceptions_in_destructors(start):
    sweep_id = created()
    process = agent(start, "drops_exceptions", sweep_id)
    wait_for_file("started")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert "did not stop within its grace" not in err and "Traceback" not in err
    wait_for_file("told")
    assert open_sweep(sweep_id).counts == {"pending": 1, "preempted": 1}


def test_a_process_that_runs_no_handler_ends_when_its_grace_is_over(start):
    sweep_id = created()
    process = agent(start, "computes", sweep_id, "--grace", "1")
    wait_for_file("started")
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM and "did not stop within its grace" in err
    assert open_sweep(sweep_id).counts == {"pending": 1, "preempted": 1}


def test_a_thread_that_the_function_leaves_does_not_keep_a_stopped_process_alive(start):
    sweep_id = created()
    process = agent(start, "leaves_a_thread", sweep_id)
    wait_for_file("started")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=90)
    assert process.returncode == 128 + signal.SIGTERM
    assert open_sweep(sweep_id).counts == {"pending": 1, "preempted": 1}


@pytest.mark.parametrize("kind", ["raw", "pool", "loader", "parallel"])
def test_signals_at_random_moments_of_functions_that_fork(kind, record_property):
    """FORK_SIGNALS=N sends N signals to each kind of function."""
    rounds = int(os.environ.get("FORK_SIGNALS", 4))
    script = Path(__file__).parent / "fork_rounds.py"
    process = Process([sys.executable, script, kind, str(rounds), "0"], stdout=-1, stderr=-1, text=True)
    out, err = process.communicate(timeout=120 + 30 * rounds)
    assert process.returncode == 0, err
    counted = json.loads(out)
    assert counted["signals"] == rounds and counted["wrong"] == {}, err
    record_property("forks", counted)


def test_a_second_agent_in_the_same_process_is_refused():
    sweep_id = created()
    refused = []

    def function(config, checkpoint_dir):
        def begin():
            with pytest.raises(ConfigError, match="start a process for each agent"):
                dysweep_run_resume(sweep_id=sweep_id, function=function)
            refused.append(config["lr"])

        thread = threading.Thread(target=begin)
        thread.start()
        thread.join()
        begin()

    dysweep_run_resume(sweep_id=sweep_id, function=function)
    assert refused == [1, 1, 2, 2]
    assert open_sweep(sweep_id).counts == {"finished": 2}


@pytest.mark.parametrize("mode", ["offline", "online"])
def test_the_death_of_wandbs_own_process_does_not_end_the_agent(start, server, monkeypatch, mode):
    monkeypatch.setenv("WANDB_MODE", mode)
    sweep_id = dysweep_run_resume(base_config={"lr": 0}, sweep_configuration=SPACE, project="study")
    process = agent(start, "kills_wandb", sweep_id)
    _, err = process.communicate()
    assert process.returncode == 0, err
    runs = sorted(open_sweep(sweep_id).runs, key=lambda run: run.assignment["lr"])
    assert [(run.state, run.metrics) for run in runs] == [("finished", {}), ("finished", {"acc": 1})]
    assert "its last metrics are lost" in err and "Traceback" not in err


def test_a_working_directory_that_a_function_deletes_does_not_fail_the_next_run(tmp_path, monkeypatch):
    root = tmp_path / "logs"
    sweep_id = dysweep_run_resume(
        base_config={}, sweep_configuration=SPACE, default_root_dir=str(root), mode="offline"
    )
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    dysweep_run_resume(
        default_root_dir=str(root),
        sweep_id=sweep_id,
        function=lambda config, checkpoint_dir: shutil.rmtree(tmp_path / "here", ignore_errors=True),
    )
    assert open_sweep(sweep_id, root).counts == {"finished": 2}


def test_what_a_function_leaves_changed_does_not_reach_the_next_run(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["script.py", "--config", "mine.yaml"])
    seen, errors = [], []

    def state():
        return {
            "argv": list(sys.argv),
            "cwd": os.getcwd(),
            "umask": os.umask(0o022),
            "variables": [
                os.environ.get(name) for name in ("WANDB_PROJECT", "CUDA_VISIBLE_DEVICES", "LOCAL_RANK")
            ],
            "handlers": [
                signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGUSR2)
            ],
            "logging": (list(logging.root.handlers), logging.root.level),
            "hooks": (sys.excepthook, sys.unraisablehook, threading.excepthook),
        }

    def function(config, checkpoint_dir):
        seen.append(state())
        sys.argv += ["--mine"]
        (tmp_path / "below").mkdir(exist_ok=True)
        os.chdir(tmp_path / "below")
        os.umask(0o077)
        os.environ.update(WANDB_PROJECT="mine", CUDA_VISIBLE_DEVICES="3", LOCAL_RANK="1")
        for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGUSR2):
            signal.signal(number, lambda number, frame: errors.append(number))
        signal.alarm(1)
        logging.basicConfig(level=logging.DEBUG, force=True)
        sys.excepthook = sys.unraisablehook = threading.excepthook = print

    dysweep_run_resume(
        sweep_id=created(), function=lambda config, checkpoint_dir: None
    )  # W&B's hooks are set
    before = {**state(), "argv": ["script.py"]}
    dysweep_run_resume(sweep_id=created(), function=function)
    time.sleep(1.1)
    seen += [state()]
    for name in before:
        if name != "handlers" and name != "hooks":
            assert all(each[name] == before[name] for each in seen[:2]), name
    assert seen[0] == seen[1] and not errors
    assert seen[2] == {**before, "argv": sys.argv}


@pytest.mark.parametrize(
    "code",
    [
        "logging.config.dictConfig({'version': 1})",
        "logging.disable(logging.CRITICAL)",
        "logging.getLogger('dysweep').setLevel(logging.ERROR)",
        "sys.stdout.close(); sys.stderr.close()",
        "sys.stdout = sys.stderr = None",
    ],
)
def test_an_agent_still_speaks_after_a_function_has_turned_off_logging_or_output(start, tmp_path, code):
    (tmp_path / "functions.py").write_text(
        f"import logging.config, sys\ndef main(config, checkpoint_dir):\n    print('here')\n    {code}\n"
    )
    agent = ["--package", "functions", "--function", "main", "--sweep_id", created()]
    process = start("dysweep_run_resume", *agent)
    out, err = process.communicate()
    assert process.returncode == 0 and "Traceback" not in err
    assert out.splitlines() == ["here"] * 2
    assert [line.split()[0] for line in err.splitlines()] == ["1/2", "2/2", "2", "to"]


MODULES = {
    "basicConfig": "logging.basicConfig(level=logging.INFO)",
    "a handler": "logging.getLogger('mine').addHandler(logging.StreamHandler(sys.stdout))",
    "dictConfig": "logging.config.dictConfig({'version': 1, 'root': {'level': 'INFO', 'handlers': ['h']},"
    " 'handlers': {'h': {'class': 'logging.StreamHandler'}}})",
}


@pytest.mark.parametrize("code", MODULES.values(), ids=MODULES)
def test_what_a_module_writes_by_its_own_handlers_is_in_the_attempts_log(start, tmp_path, code):
    (tmp_path / "functions.py").write_text(
        f"import logging.config, sys\n{code}\nout = sys.stdout\n"
        "def main(config, checkpoint_dir):\n"
        "    logging.getLogger('mine').warning('from the logger')\n"
        "    print('by name', file=out)\n"
        "    sys.stdout.buffer.write(b'bytes \\xff\\n')\n"
    )
    agent = ["--package", "functions", "--function", "main", "--sweep_id", created()]
    process = start("dysweep_run_resume", *agent, errors="backslashreplace")
    out, err = process.communicate()
    assert process.returncode == 0
    assert [line.split()[0] for line in err.splitlines() if "finished" in line] == ["1/2", "2/2", "2"]
    assert (out + err).count("from the logger") == 2 and "bytes \\xff" in out
    for log in (tmp_path / "dysweep_logs").glob("*/runs/*/attempts/*.log"):
        assert sorted(line.removeprefix(b"WARNING:mine:") for line in log.read_bytes().splitlines()) == [
            b"by name", b"bytes \xff", b"from the logger",
        ]  # fmt: skip


def test_what_a_program_logs_by_handlers_from_before_is_in_the_attempts_log(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import logging, dysweep\n"
        "logging.basicConfig(level=logging.INFO)\n"
        "def main(config, checkpoint_dir):\n"
        "    logging.info('from the logger')\n"
        "dysweep.dysweep_run_resume(base_config={'lr': 1}, function=main,"
        " sweep_configuration={'lr': {'sweep': True, 'values': [1]}})\n"
        "logging.info('after')\n"
    )
    with Process([sys.executable, script], stderr=-1, text=True) as process:
        _, err = process.communicate()
    assert err.count("from the logger") == err.count("1/1") == 1 and err.endswith("INFO:root:after\n")
    [log] = (tmp_path / "dysweep_logs").glob("*/runs/*/attempts/*.log")
    assert log.read_text() == "INFO:root:from the logger\n"


WRAPPERS = {
    "wrapped": "sys.stdout = io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8')",
    "wrapped, not kept": "io.TextIOWrapper(sys.stdout.buffer)",
    "detached": "sys.stdout = io.TextIOWrapper(sys.stdout.detach(), line_buffering=True)",
    "copied": "import copy; copy.copy(sys.stdout)",
    "entered": "\n    with sys.stdout: pass",
}


@pytest.mark.parametrize("code", WRAPPERS.values(), ids=WRAPPERS)
def test_an_agent_survives_what_a_function_does_with_its_output(start, tmp_path, code):
    (tmp_path / "functions.py").write_text(
        f"import io, sys\ndef main(config, checkpoint_dir):\n    {code}\n    print('h\xe9re')\n"
    )
    agent = ["--package", "functions", "--function", "main", "--sweep_id", created()]
    process = start("dysweep_run_resume", *agent)
    out, err = process.communicate()
    assert (process.returncode, out.splitlines()) == (0, ["h\xe9re"] * 2) and "Traceback" not in err
    for log in (tmp_path / "dysweep_logs").glob("*/runs/*/attempts/*.log"):
        assert log.read_text() == "h\xe9re\n"


HANDLERS = {"exits": "sys.exit(0)", "fails": "sys.exit(3)", "returns": "stopped.append(1)"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("code", HANDLERS.values(), ids=HANDLERS)
def test_a_signal_that_the_function_handles_itself_stops_the_agent_too(start, tmp_path, number, code):
    (tmp_path / "functions.py").write_text(
        "import signal, sys, time\n"
        "stopped = []\n"
        "def main(config, checkpoint_dir):\n"
        "    def save(number, frame):\n"
        "        (checkpoint_dir / 'saved').touch()\n"
        f"        {code}\n"
        f"    signal.signal({int(number)}, save)\n"
        "    (checkpoint_dir / 'ready').touch()\n"
        "    while not stopped:\n"
        "        time.sleep(0.05)\n"
    )
    sweep_id = created()
    agent = ["--package", "functions", "--function", "main", "--sweep_id", sweep_id]
    process = start("dysweep_run_resume", *agent)
    wait_for_file("ready")
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == 128 + number and f"stopped by signal {int(number)}; to resume" in err
    assert open_sweep(sweep_id).counts == {"pending": 1, "preempted": 1}
    assert len(list((tmp_path / "dysweep_logs").glob("*/runs/*/checkpoint/saved"))) == 1
