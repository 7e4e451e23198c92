"""Sweeps that W&B serves: the unmodified SDK against a local server that speaks its protocol."""

import os
import shutil
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import wandb
from helpers import create, directory, own_lines, run, states, wait_for
from wandb_server import Fault
from wandb_server.backend import Run, Sweep

from dysweep import TrackingError, cli, dysweep_run_resume
from dysweep.directory.runs import State
from dysweep.tracking.versions import GIVES_UP, HAS_STOP_FUNCTION

CONFIG = """
project: study
base_config: {lr: 0.1, dataset: {type: mnist, options: {}}}
sweep_configuration:
  metric: {name: loss, goal: minimize}
  parameters:
    lr: {sweep: true, values: [1.0, 1e-3]}
    dataset: {sweep: true, sweep_alias: [digits, pictures], values: [{}, {type: cifar10}]}
"""
SPACE = """
project: study
base_config: {lr: 0.1, width: 0, depth: 0}
sweep_configuration:
  sweep_exclude: [{opt: adam, size: large}]
  parameters:
    width: {sweep: true, sweep_zip: size, sweep_alias: [small, large], values: [8, 64]}
    depth: {sweep: true, sweep_zip: size, values: [1, 4]}
    opt:
      sweep: true
      sweep_alias: [sgd, adam]
      values:
        - {name: sgd, lr: {sweep: true, values: [1, 2]}}
        - {name: adam, lr: {sweep: true, values: [3]}}
"""
FUNCTIONS = """
import time
import wandb

def trains(config, checkpoint_dir):
    for step in range(3):
        wandb.log({"loss": config["lr"] * step})

def trains_nothing(config, checkpoint_dir):
    pass

def fails_once(config, checkpoint_dir):
    trains(config, checkpoint_dir)
    broken = config["lr"] == 1e-3 and config["dataset"]["type"] == "mnist"
    if broken and not (checkpoint_dir / "seen").exists():
        (checkpoint_dir / "seen").touch()
        raise ValueError("the loss is nan")

def always_fails(config, checkpoint_dir):
    raise ValueError("never")

def finishes_itself(config, checkpoint_dir):
    with wandb.init():
        trains(config, checkpoint_dir)

def inits_itself(config, checkpoint_dir):
    with wandb.init() as run:
        waits(config, checkpoint_dir)

def waits(config, checkpoint_dir):
    trains(config, checkpoint_dir)
    if not (checkpoint_dir / "told").exists():
        try:
            (checkpoint_dir / "started").touch()
            time.sleep(600)
        finally:
            (checkpoint_dir / "told").touch()
"""
FUNCTION = ["--package", "functions", "--function"]
PLAIN_AGENT = """
import sys, wandb

def main():
    with wandb.init():
        for step in range(3):
            wandb.log({"loss": step})

wandb.agent(sys.argv[1], main, "researcher", "study", count=int(sys.argv[2]))
"""


@pytest.fixture(autouse=True)
def files(own_folder):
    (own_folder / "config.yaml").write_text(CONFIG)
    (own_folder / "functions.py").write_text(FUNCTIONS)
    (own_folder / "plain_agent.py").write_text(PLAIN_AGENT)


def test_the_commands_of_the_readme_work_online(server, start):
    process = start("dysweep_create", "-c", "config.yaml")
    out, err = process.communicate()
    sweep_id = out.strip()
    assert process.returncode == 0 and f"{server.url}/researcher/study/sweeps/{sweep_id}" in err
    assert server.backend.sweeps[sweep_id].config["parameters"] == {
        "dataset": {"values": ["digits", "pictures"]},
        "lr": {"values": [1.0, 0.001]},
    }
    metadata = server.backend.run(f"dysweep-{sweep_id}")
    assert (metadata.job_type, metadata.tags, metadata.sweep) == ("dysweep-metadata", ["dysweep"], None)

    work = [*FUNCTION, "fails_once", "--sweep_id", sweep_id]
    agents = [start("dysweep_run_resume", *work) for _ in range(2)]
    shown = [agent.communicate()[1] for agent in agents]
    assert sorted(agent.returncode for agent in agents) == [0, 1]
    assert sum("ValueError: the loss is nan" in err for err in shown) == 1
    runs = server.backend.runs_of(sweep_id)
    points = [(run.values["lr"], run.values["dataset"]) for run in runs]
    assert sorted(points) == [(0.001, "digits"), (0.001, "pictures"), (1, "digits"), (1, "pictures")]
    assert Counter(run.state for run in runs) == {"finished": 3, "failed": 1}
    assert all(run.steps == [0, 1, 2] for run in runs)
    for each in runs:
        kind = {"digits": "mnist", "pictures": "cifar10"}[each.values["dataset"]]
        assert each.values["dy_config"]["dataset"]["type"] == kind
        stored = directory(sweep_id).run(each.name)
        assert stored.config() == {"lr": each.values["lr"], "dataset": {"type": kind, "options": {}}}
        assert stored.state() == each.state

    [failed] = [run for run in runs if run.state == "failed"]
    server.requests.clear()
    process = start("dysweep_run_resume", *work, "--resume", "True")
    assert "1 run finished" in process.communicate()[1] and process.returncode == 0
    assert (failed.state, failed.sweep, failed.steps) == ("finished", sweep_id, [0, 1, 2, 3, 4, 5])
    assert failed.values["lr"] == 0.001 and failed.values["dy_config"]["dataset"] == {"type": "mnist"}
    assert server.requests["RunResumeStatus"] == 1 and server.requests["CreateAgent"] == 0

    process = start("dysweep_run_resume", *work, "--rerun_id", failed.name)
    assert process.wait() == 1
    rows = 6 if server.backend.unknown.rerun_keeps_tail else 3  # the first three are new
    assert (failed.state, failed.sweep, failed.steps) == ("failed", sweep_id, [*range(rows)])
    assert (directory(sweep_id).run(failed.name).path / "checkpoint.0001/seen").exists()
    process = start("dysweep_run_resume", *work, "--rerun_id", failed.name, "--resume", "True")
    assert process.wait() == 0
    assert (failed.state, failed.steps) == ("finished", [*range(rows + 3)])

    process = start("dysweep_run_resume", *work)  # the grid hands out nothing again
    assert "no run was left to execute" in process.communicate()[1] and process.returncode == 0
    assert len(server.backend.runs_of(sweep_id)) == 4


@pytest.mark.skipif(not GIVES_UP, reason="the requests are those of newer SDKs")
def test_the_cost_of_an_agent_stays_close_to_a_plain_one(servers, start, capsys):
    def begin(kind, count):
        server = servers()
        sweep_id = create(capsys)
        for number in range(500 if kind == "crowded" else 0):
            key = ("researcher", "study", f"other{number}")
            server.backend.runs[key] = Run(*key, state="finished")
        server.requests.clear()
        if kind == "plain":
            alone = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
            return start(sys.executable, "plain_agent.py", sweep_id, count, env=alone), server
        root = "dysweep_logs" if kind == "local" else f"logs-{kind}-{count}"
        work = [*FUNCTION, "trains", "--sweep_id", f"researcher/study/{sweep_id}"]
        return start("dysweep_run_resume", *work, "--count", count, "--default_root_dir", root), server

    agents = {
        (kind, count): begin(kind, count)
        for kind in ("plain", "fresh", "crowded", "local")
        for count in (1, 2)
    }
    requests = {}
    for key, (process, server) in agents.items():
        assert process.wait() == 0, process.communicate()
        # The SDK gathers what it sends of a run by the clock: on a busy machine it sends in more pieces.
        by_the_clock = ("sdk", "Heartbeat", "file_stream", "UpsertBucket")
        requests[key] = server.requests.total() - sum(server.requests[name] for name in by_the_clock)

    def per_run(kind):
        return requests[kind, 2] - requests[kind, 1]

    def at_start(kind):
        return requests[kind, 1] - per_run(kind)

    assert at_start("fresh") <= at_start("plain") + 2
    assert at_start("crowded") == at_start("fresh")
    assert at_start("local") <= at_start("plain")
    # Its own agent, whether W&B knows the run already, and what the server can do for that.
    assert max(map(per_run, ("fresh", "crowded", "local"))) <= per_run("plain") + 3


def test_what_a_process_does_with_wandb_itself_stays_as_it_was(server, monkeypatch):
    space = {"lr": {"sweep": True, "values": [1, 2]}}
    with wandb.init(project="mine") as mine:
        sweep_id = dysweep_run_resume(base_config={}, sweep_configuration=space, project="study")
        assert wandb.run is mine
        mine.log({"loss": 1})
    assert server.backend.run(mine.id).steps == [0]
    assert "dysweep" in server.backend.run(f"dysweep-{sweep_id}").values
    offline = dysweep_run_resume(base_config={}, sweep_configuration=space, mode="offline")
    for each in (sweep_id, offline):
        dysweep_run_resume(function=lambda config, checkpoint_dir: None, sweep_id=each, count=1)
        with wandb.init(project="mine") as mine, wandb.init(project="mine", reinit="create_new") as other:
            assert mine.id != other.id and "dysweep_logs" not in mine.dir
        assert server.backend.run(mine.id).state == "finished"


def test_the_tree_can_be_filtered_in_wandb(server, capsys):
    sweep_id = create(capsys)
    assert run("trains", "--sweep_id", sweep_id, "--count", "3") == 0
    runs = wandb.Api().runs("researcher/study", filters={"config.dy_config.value.dataset.type": "cifar10"})
    assert [each.config["dataset"] for each in runs] == ["pictures"]


def test_wandb_hands_out_just_the_points_that_exist(server, capsys):
    Path("config.yaml").write_text(SPACE)
    sweep_id = create(capsys)
    assert run("trains", "--sweep_id", sweep_id) == 0
    runs = wandb.Api().runs("researcher/study")
    configs = [each.config["dy_config"] for each in runs if "dy_config" in each.config]
    found = sorted((each["opt"]["name"], each["opt"]["lr"], each["width"], each["depth"]) for each in configs)
    sgd = [("sgd", lr, *size) for lr in (1, 2) for size in ((8, 1), (64, 4))]
    assert found == [("adam", 3, 8, 1), *sgd]
    assert all(each["opt"].keys() == {"name", "lr"} for each in configs)


def test_functions_run_in_the_thread_that_calls_and_the_environment_stays_as_it_was(server):
    before = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    seen = []

    def function(config, checkpoint_dir):
        seen.append((threading.current_thread(), wandb.run.project, wandb.run.sweep_id, config["lr"]))

    space = {"lr": {"sweep": True, "values": [1, 2]}}
    sweep_id = dysweep_run_resume(base_config={}, sweep_configuration=space, project="study")
    dysweep_run_resume(function=function, sweep_id=sweep_id, count=1)
    assert seen == [(threading.current_thread(), "study", sweep_id, 1)]
    assert {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"} == before
    assert wandb.setup().settings.show_info


def test_a_machine_that_has_only_the_runs_id_goes_on_with_it(server, capsys):
    sweep_id = create(capsys)
    assert run("fails_once", "--sweep_id", sweep_id, "--count", "3") == 1
    [failed] = [each for each in server.backend.runs_of(sweep_id) if each.state == "failed"]
    shutil.rmtree("dysweep_logs")
    path = f"researcher/study/{sweep_id}"
    assert run("trains", "--sweep_id", path, "--rerun_id", failed.name, "--resume", "True") == 0
    assert (failed.state, failed.sweep, failed.steps) == ("finished", sweep_id, [0, 1, 2, 3, 4, 5])
    stored = directory(sweep_id).run(failed.name)
    assert stored.config() == {"lr": 0.001, "dataset": {"type": "mnist", "options": {}}}
    capsys.readouterr()
    for run_id, message in [
        ("nowhere", "nowhere: unknown run in W&B's project researcher/study"),
        (f"dysweep-{sweep_id}", "is not a run of the sweep"),
    ]:
        assert run("trains", "--sweep_id", path, "--rerun_id", run_id) == 1
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("function", ["waits", "inits_itself"])
def test_a_preempted_run_is_queued_by_wandb_and_goes_on_from_its_checkpoint(server, start, capsys, function):
    sweep_id = create(capsys)
    work = [*FUNCTION, function, "--sweep_id", sweep_id, "--count", "1"]
    agent = start("dysweep_run_resume", *work)
    [started] = wait_for(lambda: list(Path("dysweep_logs").glob("*/runs/*/checkpoint/started")))
    agent.send_signal(signal.SIGTERM)
    _, err = agent.communicate()
    assert agent.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in err or function == "inits_itself"  # wandb's own, on leaving `with wandb.init()`
    [preempted] = server.backend.runs_of(sweep_id)
    assert preempted.state == "preempted" and started.with_name("told").exists()
    assert start("dysweep_run_resume", *work).wait() == 0
    assert [(each.state, each.steps) for each in server.backend.runs_of(sweep_id)] == [
        ("finished", [0, 1, 2, 3, 4, 5])
    ]
    assert directory(sweep_id).run(preempted.name).last_attempt().number == 2


def test_what_another_process_has_resumed_is_not_executed_again_when_wandb_queues_it(server, start, capsys):
    sweep_id = create(capsys)
    agent = start("dysweep_run_resume", *FUNCTION, "waits", "--sweep_id", sweep_id)
    wait_for(lambda: list(Path("dysweep_logs").glob("*/runs/*/checkpoint/started")))
    agent.send_signal(signal.SIGTERM)
    agent.communicate()
    assert run("waits", "--sweep_id", sweep_id, "--resume") == 0
    [done] = server.backend.runs_of(sweep_id)
    assert server.backend.sweeps[sweep_id].requeued == [done.name]
    capsys.readouterr()
    assert run("trains", "--sweep_id", sweep_id, "--count", "1") == 0
    assert f"{done.name}: W&B hands it out again, but it is finished" in capsys.readouterr().err
    assert (done.state, done.steps) == ("finished", [0, 1, 2, 3, 4, 5])


@pytest.mark.parametrize("resumed", [False, True])
def test_a_run_that_wandb_stops_is_killed_and_not_resumed(server, start, capsys, monkeypatch, resumed):
    monkeypatch.setenv("WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL", "1")
    sweep_id = create(capsys)
    work = [*FUNCTION, "waits", "--sweep_id", sweep_id, "--count", "1"]
    if resumed:
        assert run("fails_once", "--sweep_id", sweep_id, "--count", "3") == 1
        work[-2:] = ["--resume", "True"]
    agent = start("dysweep_run_resume", *work)
    [started] = wait_for(lambda: list(Path("dysweep_logs").glob("*/runs/*/checkpoint/started")))
    stopped = server.backend.run(started.parent.parent.name)
    stopped.stop_asked = True
    _, err = agent.communicate()
    assert "Traceback" not in err
    if resumed and not HAS_STOP_FUNCTION:
        assert agent.returncode == 128 + signal.SIGINT and stopped.state == "preempted"
        return
    assert agent.returncode == 1 and "killed" in err
    assert stopped.state == ("killed" if server.backend.unknown.stopped_is_killed else "failed")
    assert directory(sweep_id).run(stopped.name).state() is State.KILLED
    assert run("trains", "--sweep_id", sweep_id, "--resume") == 0
    assert "no run to resume" in capsys.readouterr().err


def test_wandb_is_told_from_the_start_that_runs_may_be_preempted(server, start, capsys):
    sweep_id = create(capsys)
    work = [*FUNCTION, "waits", "--sweep_id", sweep_id, "--mark_preempting"]
    agent = start("dysweep_run_resume", *work)
    wait_for(lambda: any(each.preempting for each in server.backend.runs_of(sweep_id)))
    wait_for(lambda: list(Path("dysweep_logs").glob("*/runs/*/checkpoint/started")))
    agent.kill()
    agent.communicate()
    [lost] = server.backend.runs_of(sweep_id)
    lost.preempting = False
    again = start("dysweep_run_resume", *work, "--resume", "True")
    wait_for(lambda: lost.preempting)
    again.kill()


def test_processes_that_resume_at_once_execute_each_run_once(server, start, capsys):
    sweep_id = create(capsys)
    assert run("fails_once", "--sweep_id", sweep_id) == 1
    for each in list(directory(sweep_id).runs())[:3]:
        shutil.rmtree(each.attempts_path)  # as if their claims had been lost with a power failure
    work = [*FUNCTION, "trains", "--sweep_id", sweep_id, "--resume", "True"]
    processes = [start("dysweep_run_resume", *work) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    assert Counter(states(sweep_id)) == {"finished": 4}


def test_runs_go_on_while_the_server_is_out_of_order(server, capsys):
    sweep_id = create(capsys)
    for operation in ("Heartbeat", "UpsertBucket", "file_stream", "RunResumeStatus"):
        server.faults.append(Fault(operation, times=1, status=500))
        server.faults.append(Fault(operation, times=1, status=429))
    assert run("trains", "--sweep_id", sweep_id, "--count", "2") == 0
    assert [fault.times for fault in server.faults] == [0] * 8
    assert [(each.state, each.steps) for each in server.backend.runs_of(sweep_id)] == [
        ("finished", [0, 1, 2])
    ] * 2


def test_an_agent_that_waits_for_work_ends_when_it_is_told_to(server, start, capsys):
    sweep_id = create(capsys)
    server.backend.sweeps[sweep_id].state = "PAUSED"
    agent = start("dysweep_run_resume", *FUNCTION, "trains", "--sweep_id", sweep_id)
    wait_for(lambda: server.requests["Heartbeat"])
    agent.send_signal(signal.SIGTERM)
    assert agent.wait() == 128 + signal.SIGTERM
    assert server.backend.runs_of(sweep_id) == []


def test_an_agent_that_is_stopped_between_two_runs_leaves_none_behind(server, start, capsys):
    sweep_id = create(capsys)
    agent = start("dysweep_run_resume", *FUNCTION, "trains", "--sweep_id", sweep_id)
    wait_for(lambda: Counter(states(sweep_id))["finished"])
    agent.send_signal(signal.SIGTERM)
    assert agent.wait() == 128 + signal.SIGTERM
    given_out = {each.name: each.state for each in server.backend.runs_of(sweep_id)}
    assert given_out == {each.run_id: str(each.state()) for each in directory(sweep_id).runs()}
    assert set(given_out.values()) <= {"finished", "preempted"}


def test_what_wandb_has_given_out_and_nobody_has_started_is_resumed(server, capsys):
    sweep_id = create(capsys)
    lost = server.backend.add_agent(server.backend.sweeps[sweep_id])
    [command] = server.backend.next_command(lost.name, {})  # its answer was lost on the way
    assert run("trains", "--sweep_id", sweep_id, "--resume") == 0  # it may be on its way still
    assert "no run to resume" in capsys.readouterr().err
    time.sleep(1)
    assert run("trains", "--sweep_id", sweep_id, "--resume", "--lease", "1") == 0
    assert [(each.name, each.state) for each in server.backend.runs_of(sweep_id)] == [
        (command["run_id"], "finished")
    ]


def test_what_nobody_had_started_and_fails_now_is_not_resumed_by_the_same_command(server, capsys):
    sweep_id = create(capsys)
    lost = server.backend.add_agent(server.backend.sweeps[sweep_id])
    server.backend.next_command(lost.name, {})
    time.sleep(1)
    assert run("always_fails", "--sweep_id", sweep_id, "--resume", "--lease", "1") == 1
    [record] = directory(sweep_id).runs()
    assert (record.state(), record.last_attempt().number) == (State.FAILED, 1)


def test_wandb_hears_of_a_run_whose_config_cannot_be_made(server, capsys):
    remove = "{sweep: true, values: [{}, {layers: {dy__list__operations: [{dy__remove: 0}]}}]}"
    Path("config.yaml").write_text(
        "project: study\nbase_config: {lr: 1, layers: [1]}\n"
        f"sweep_configuration: {{dy__upsert: [{remove}, {remove}]}}"
    )
    sweep_id = create(capsys)
    server.backend.sweeps[sweep_id].config["run_cap"] = 4
    assert run("trains", "--sweep_id", sweep_id) == 1
    assert "index 0 is out of range for a list of 0" in capsys.readouterr().err
    assert Counter(each.state for each in server.backend.runs_of(sweep_id)) == {"finished": 3, "failed": 1}
    assert Counter(states(sweep_id)) == {"finished": 3, "failed": 1}


def test_no_run_is_lost_or_doubled_while_the_server_fails_and_is_started_again(server, start, capsys):
    Path("config.yaml").write_text(CONFIG.replace("[1.0, 1e-3]", "[1.0, 0.1, 1e-3]"))
    sweep_id = create(capsys)
    for operation in ("CreateAgent", "Heartbeat", "UpsertBucket", "RunResumeStatus", "file_stream"):
        server.faults.append(Fault(operation, status=500))
        server.faults.append(Fault(operation, status=429))
        server.faults.append(Fault(operation))  # the connection is dropped
        server.faults.append(Fault(operation, done=True))  # done, and the reply is lost
    work = [*FUNCTION, "trains", "--sweep_id", sweep_id, "--recover", "--lease", "2"]
    agents = [start("dysweep_run_resume", *work) for _ in range(2)]
    wait_for(lambda: Counter(states(sweep_id))["finished"] >= 2)
    server.stop()
    time.sleep(3)
    server.start()
    assert [agent.wait() for agent in agents] == [0, 0]
    assert all(fault.times == 0 for fault in server.faults)
    assert run("trains", "--sweep_id", sweep_id, "--resume", "--lease", "1") == 0
    runs = server.backend.runs_of(sweep_id)
    assert len({(each.values["lr"], each.values["dataset"]) for each in runs}) == len(runs) == 6
    assert {each.state for each in runs} == {"finished"} and Counter(states(sweep_id)) == {"finished": 6}
    assert all(each.steps == [0, 1, 2] for each in runs)
    assert all(each.last_attempt().number == 1 for each in directory(sweep_id).runs())


def test_the_api_key_is_in_no_file(server, capsys):
    sweep_id = create(capsys)
    assert run("fails_once", "--sweep_id", sweep_id, "--count", "3") == 1
    assert run("fails_once", "--sweep_id", sweep_id, "--resume") == 0
    key = server.environment["WANDB_API_KEY"].encode()
    files = [path for path in Path().rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(files) > 30 and [path for path in files if key in path.read_bytes()] == []


def test_a_sweep_whose_metadata_wandb_refuses_is_stopped(server, capsys):
    server.faults.append(Fault("UpsertBucket", times=9, status=400))
    assert cli.create(["-c", "config.yaml"]) == 1
    out, err = capsys.readouterr()
    assert (out, len(own_lines(err))) == ("", 1) and "W&B did not take the sweep's metadata" in err
    [sweep] = server.backend.sweeps.values()
    assert sweep.state == "FINISHED"
    assert not Path("dysweep_logs").exists()


MISTAKES = {
    "no project": (["-c", "config.yaml"], {}, "project: missing"),
    "no API key": (["-c", "config.yaml", "--project", "p"], {"WANDB_API_KEY": None}, "`wandb login`"),
    "a wrong API key": (
        ["-c", "config.yaml", "--project", "p"],
        {"WANDB_API_KEY": "x" * 40},
        "run `wandb login`, or work without an account: WANDB_MODE=offline",
    ),
    "a wrong entity": (["-c", "config.yaml", "--project", "p", "--entity", "nobody"], {}, "nobody not found"),
    "no server": (
        ["-c", "config.yaml", "--project", "p"],
        {"WANDB_BASE_URL": "http://127.0.0.1:9"},
        "http://127.0.0.1:9 cannot be reached",
    ),
}


def test_who_has_logged_in_is_told_that_there_is_no_server(own_folder, start, monkeypatch):
    logins = [f"machine {host} login user password {'x' * 40}\n" for host in ("127.0.0.1", "127.0.0.1:9")]
    (own_folder / ".netrc").write_text("".join(logins))
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    out, err = start("dysweep_create", "-c", "config.yaml").communicate(timeout=120)
    [told] = own_lines(err)
    assert out == "" and "http://127.0.0.1:9 cannot be reached" in told


@pytest.mark.parametrize(("arguments", "environment", "message"), MISTAKES.values(), ids=MISTAKES)
def test_what_prevents_a_sweep_is_one_line_and_nothing_is_made(
    server, start, monkeypatch, arguments, environment, message
):
    Path("config.yaml").write_text(CONFIG.replace("project: study\n", ""))
    for name, value in environment.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    process = start("dysweep_create", *arguments)
    out, err = process.communicate()
    [told] = own_lines(err)
    assert (process.returncode, out) == (1, "")
    assert told.startswith("dysweep_create: ") and message in told
    assert server.backend.sweeps == {} and not Path("dysweep_logs").exists()


def test_a_sweep_that_cannot_be_worked_on_is_one_line(server, capsys):
    sweep_id = create(capsys)
    del server.backend.sweeps[sweep_id]
    assert run("trains", "--sweep_id", sweep_id) == 1
    err = capsys.readouterr().err
    assert len(own_lines(err)) == 1 and f"W&B does not serve the sweep researcher/study/{sweep_id}" in err
    server.backend.sweeps["foreign"] = Sweep("researcher", "study", "foreign", {"method": "grid"})
    for path, message in [
        ("researcher/study/nothing", "does not exist, was deleted, or was not made by dysweep_create"),
        ("researcher/study/foreign", "was not made by dysweep_create"),
        ("nobody/study/nothing", "entity nobody not found"),
        ("nothing", "one that W&B serves is found by entity/project/id"),
    ]:
        assert run("trains", "--sweep_id", path) == 1
        err = capsys.readouterr().err
        assert len(own_lines(err)) == 1 and message in err
    assert os.listdir("dysweep_logs") == [f"checkpoints-{sweep_id}"]
    with pytest.raises(TrackingError):
        dysweep_run_resume(function=lambda config, checkpoint_dir: None, sweep_id=sweep_id)


def test_an_online_sweep_is_not_worked_on_offline(server, capsys, monkeypatch):
    sweep_id = create(capsys)
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert run("trains", "--sweep_id", sweep_id) == 2
    assert "unset WANDB_MODE" in capsys.readouterr().err


def test_random_search_is_served_until_run_cap(server, capsys):
    Path("config.yaml").write_text(
        "project: study\nbase_config: {}\nsweep_configuration:\n  method: random\n  run_cap: 2\n"
        "  parameters: {lr: {sweep: true, min: 0.0, max: 1.0}}\n"
    )
    sweep_id = create(capsys)
    assert run("trains", "--sweep_id", sweep_id) == 0
    configs = [each.config() for each in directory(sweep_id).runs()]
    assert len(configs) == 2 and all(0 <= config["lr"] <= 1 for config in configs)


def test_an_offline_sweep_is_taken_to_wandb_and_nothing_is_doubled(server, start, monkeypatch):
    root = Path(__file__).parent.parent
    options = ["--default_root_dir", Path("dysweep_logs").absolute()]
    function = ["--package", "tutorials.quickstart.train", "--function", "main"]
    monkeypatch.setenv("WANDB_MODE", "offline")

    def work(*arguments):
        process = start("dysweep_run_resume", *function, *options, *arguments, cwd=root)
        assert process.wait() == 0, process.communicate()

    def sync(*place):
        process = start("dysweep_sync", "--sweep_id", sweep_id, *options, *place)
        out, err = process.communicate()
        assert process.returncode == 0, err
        return out.strip()

    work("-c", "tutorials/quickstart/config.yaml", "--count", "4")
    [path] = Path("dysweep_logs").iterdir()
    sweep_id = path.name.removeprefix("checkpoints-")
    page = sync("--project", "mine")
    [sweep] = server.backend.sweeps.values()
    assert page == f"{server.url}/researcher/mine/sweeps/{sweep.name}"
    assert sweep.config["parameters"]["model"] == {"values": ["knn", "tree", "softmax", "bayes"]}

    def on_server():
        return {
            each.name: (each.sweep, each.state, each.steps, each.values)
            for each in server.backend.runs.values()
        }

    first = on_server()
    assert len(first) == 4
    for each in directory(sweep_id).runs():
        belongs, state, steps, values = first[each.run_id]
        assert (belongs, state, steps) == (sweep.name, "finished", list(range(20)))
        assert values == {**each.record()["assignment"], "dy_config": values["dy_config"]}
        assert values["dy_config"]["model"]["class_path"] == each.config()["model"]["class_path"]
    assert not (root / "wandb").exists() and not list(Path("wandb").glob("*"))
    uploads = server.requests["file_stream"]
    assert sync() == page
    assert on_server() == first and server.requests["file_stream"] == uploads

    work("--sweep_id", sweep_id, "--count", "2")
    assert sync() == page
    second = on_server()
    assert len(second) == 6 and {name: second[name] for name in first} == first
    assert all(each[:3] == (sweep.name, "finished", list(range(20))) for each in second.values())
    assert len(server.backend.sweeps) == 1


def test_what_was_killed_in_the_middle_does_not_keep_the_others_from_wandb(
    server, start, capsys, monkeypatch
):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_ENTITY", "team")
    sweep_id = create(capsys)
    agent = start("dysweep_run_resume", *FUNCTION, "waits", "--sweep_id", sweep_id, start_new_session=True)
    wait_for(lambda: list(Path("dysweep_logs").glob("*/runs/*/checkpoint/started")))
    os.killpg(agent.pid, signal.SIGKILL)
    agent.communicate()
    assert run("trains", "--sweep_id", sweep_id, "--count", "2") == 0
    [cut_off, other, *_] = [each for each in directory(sweep_id).runs()]
    [file] = other.path.glob("wandb/offline-run-*/*.wandb")
    file.write_bytes(file.read_bytes()[:-20])
    capsys.readouterr()
    assert cli.sync(["--sweep_id", sweep_id]) == 0
    assert f"{file.parent}: not taken whole: its end is missing" in capsys.readouterr().err
    assert run("trains", "--sweep_id", sweep_id, "--resume") == 0
    assert cli.sync(["--sweep_id", sweep_id]) == 0
    [sweep] = server.backend.sweeps.values()
    assert sweep.entity == "team"
    finished = [each.run_id for each in directory(sweep_id).runs() if each.run_id != other.run_id]
    for run_id in finished:
        assert (server.backend.run(run_id).sweep, server.backend.run(run_id).state) == (
            sweep.name,
            "finished",
        )
    assert server.backend.run(other.run_id).steps == [0, 1, 2]
    assert cli.sync(["--sweep_id", sweep_id, "--project", "other"]) == 2
    assert "the runs are taken to team/study; leave out --entity and --project" in capsys.readouterr().err
    assert len(server.backend.sweeps) == 1


def test_resumed_offline_runs_are_synced_as_one_run(server, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    sweep_id = create(capsys)
    assert run("fails_once", "--sweep_id", sweep_id) == 1
    assert run("fails_once", "--sweep_id", sweep_id, "--resume") == 0
    assert cli.sync(["--sweep_id", sweep_id]) == 0
    steps = {each.name: each.steps for each in server.backend.runs.values()}
    assert sorted(steps.values()) == [[0, 1, 2]] * 3 + [[0, 1, 2, 3, 4, 5]]
    assert {each.state for each in server.backend.runs.values()} == {"finished"}


def test_sync_says_what_is_in_its_way(server, start, capsys, monkeypatch):
    online = create(capsys)
    assert cli.sync(["--sweep_id", online]) == 2
    assert "is served by W&B, where its runs are already" in capsys.readouterr().err
    monkeypatch.setenv("WANDB_MODE", "offline")
    sweep_id = create(capsys)
    assert cli.sync(["--sweep_id", sweep_id]) == 2
    assert "no run has ended yet" in capsys.readouterr().err
    assert run("trains", "--sweep_id", sweep_id, "--count", "1") == 0
    monkeypatch.delenv("WANDB_API_KEY")
    process = start("dysweep_sync", "--sweep_id", sweep_id)
    _, err = process.communicate()
    assert process.returncode == 1 and len(own_lines(err)) == 1 and "wandb login" in err
    assert cli.sync([]) == 2
    assert "sweep_id: missing" in capsys.readouterr().err


def test_numbers_that_json_loses_are_served_once_and_arrive_as_they_are(
    server, own_folder, capsys, monkeypatch
):
    monkeypatch.setenv("WANDB_MODE", "online")
    (own_folder / "config.yaml").write_text(
        "project: study\n"
        f"base_config: {{seed: 0, fill: .nan, large: {2**70}}}\n"
        f"sweep_configuration: {{seed: {{sweep: true, values: [{2**70}, {2**53 + 1}, .inf, 7]}}}}\n"
    )
    sweep_id = create(capsys)
    sent = server.backend.sweeps[sweep_id].config["parameters"]
    assert sent == {"seed": {"values": [str(2**70), str(2**53 + 1), "inf", 7]}}
    assert run("trains_nothing", "--sweep_id", sweep_id, "-c", "config.yaml") == 0
    assert "not used" not in capsys.readouterr().err
    configs = [each.config() for each in directory(sweep_id).runs()]
    assert Counter(config["seed"] for config in configs) == Counter([2**70, 2**53 + 1, float("inf"), 7])
    assert all(config["large"] == 2**70 and config["fill"] != config["fill"] for config in configs)
