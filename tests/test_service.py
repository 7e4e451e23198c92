"""What W&B does, as its issues, its schema and its own tests tell."""

import json
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import wandb
from helpers import create, directory, run, states, wait_for
from test_online import CONFIG, FUNCTION, FUNCTIONS, PLAIN_AGENT
from wandb_server import Fault
from wandb_server.backend import Backend, Refused
from wandb_server.graphql import VIEWER, answer

from dysweep import cli
from dysweep.directory.runs import State
from dysweep.tracking.versions import GIVES_UP, HAS_FINISH_TIMEOUT, LISTS_AGENTS


@pytest.fixture(autouse=True)
def files(own_folder):
    (own_folder / "config.yaml").write_text(CONFIG)
    (own_folder / "functions.py").write_text(FUNCTIONS)
    (own_folder / "plain_agent.py").write_text(PLAIN_AGENT)


def points(server, sweep_id):
    return Counter((each.values["lr"], each.values["dataset"]) for each in server.backend.runs_of(sweep_id))


def test_two_syncs_make_one_sweep_that_lists_its_runs_and_hands_out_nothing(
    server, start, capsys, monkeypatch
):
    monkeypatch.setenv("WANDB_MODE", "offline")
    sweep_id = create(capsys)
    assert run("fails_once", "--sweep_id", sweep_id) == 1
    for _ in range(2):
        assert cli.sync(["--sweep_id", sweep_id]) == 0
    [sweep] = server.backend.sweeps.values()
    listed = wandb.Api().runs(f"researcher/{sweep.project}", filters={"sweep": sweep.name})
    assert Counter(each.state for each in listed) == {"finished": 3, "failed": 1}
    assert all(each.steps == [0, 1, 2] for each in server.backend.runs_of(sweep.name))
    monkeypatch.setenv("WANDB_MODE", "online")
    agent = start(sys.executable, "plain_agent.py", sweep.name, 3)
    assert agent.wait() == 0
    assert len(server.backend.runs_of(sweep.name)) == 4


def test_a_sync_that_died_before_its_runs_were_in_the_sweep_goes_on_with_the_same_sweep(
    server, start, capsys, monkeypatch
):
    monkeypatch.setenv("WANDB_MODE", "offline")
    sweep_id = create(capsys)
    assert run("trains", "--sweep_id", sweep_id) == 0
    sync = start("dysweep_sync", "--sweep_id", sweep_id)
    kept = directory(sweep_id).sync_path
    wait_for(lambda: kept.exists() and "sweep_id" in kept.read_text())
    sync.kill()
    sync.communicate()
    assert cli.sync(["--sweep_id", sweep_id]) == 0
    [sweep] = server.backend.sweeps.values()
    assert len(server.backend.runs_of(sweep.name)) == 4


def test_a_run_deleted_in_wandb_is_gone_and_the_others_go_on(server, capsys):
    sweep_id = create(capsys)
    assert run("always_fails", "--sweep_id", sweep_id, "--count", "3") == 1
    [deleted, *others] = [each.run_id for each in directory(sweep_id).runs()]
    server.backend.delete_run(deleted)
    capsys.readouterr()
    assert run("trains", "--sweep_id", sweep_id, "--resume") == 1
    err = capsys.readouterr().err
    assert err.count(f"{deleted}: it was deleted in W&B") == 1 and "2 runs finished, 1 gone" in err
    assert Counter(states(sweep_id)) == {"gone": 1, "finished": 2}
    assert run("trains", "--sweep_id", sweep_id, "--resume") == 0
    assert "no run to resume" in capsys.readouterr().err
    assert run("trains", "--sweep_id", sweep_id, "--rerun_id", deleted) == 2
    assert f"{deleted} was deleted in W&B" in capsys.readouterr().err
    assert cli.status(["--sweep_id", sweep_id]) == 0
    assert "2 pending  2 finished  1 gone" in capsys.readouterr().out
    assert run("trains", "--sweep_id", sweep_id) == 0  # the grid hands its point out again
    assert Counter(states(sweep_id)) == {"gone": 1, "finished": 4}
    assert set(points(server, sweep_id).values()) == {1} and len(points(server, sweep_id)) == 4
    assert set(others) < {each.name for each in server.backend.runs_of(sweep_id)}


def test_a_run_deleted_while_it_was_handed_out_is_gone_and_the_others_go_on(server, capsys):
    sweep_id = create(capsys)
    assert run("always_fails", "--sweep_id", sweep_id, "--count", "1") == 1
    [first] = directory(sweep_id).runs()
    server.backend.delete_run(first.run_id)
    assert run("trains", "--sweep_id", sweep_id, "--rerun", "failed") == 1
    assert Counter(states(sweep_id)) == {"gone": 1}


def test_an_agent_ends_when_wandb_refuses_one_run_after_the_other(server, capsys):
    sweep_id = create(capsys)
    server.faults.append(Fault("UpsertBucket", times=1000, status=403))
    assert run("trains", "--sweep_id", sweep_id) == 1
    err = capsys.readouterr().err
    assert "W&B did not start the run" in err and "Traceback" not in err
    assert Counter(states(sweep_id)) == {"failed": 3}
    server.faults.clear()
    wandb.teardown()  # the SDK keeps the ids of runs that were refused
    assert run("trains", "--sweep_id", sweep_id, "--resume") == 0


@pytest.mark.parametrize("more", [["--resume"], []])
def test_a_run_that_may_be_preempted_is_alive_in_wandb(server, start, capsys, more):
    sweep_id = create(capsys)
    work = [*FUNCTION, "waits", "--sweep_id", sweep_id, "--mark_preempting", "--count", "1"]
    agent = start("dysweep_run_resume", *work)
    wait_for(lambda: any(each.state == "preempting" for each in server.backend.runs_of(sweep_id)))
    [living] = server.backend.runs_of(sweep_id)
    elsewhere = ["--default_root_dir", "elsewhere"]
    path = f"researcher/study/{sweep_id}"
    assert run("trains", "--sweep_id", path, "--rerun_id", living.name, *more, *elsewhere) == 2
    assert f"W&B reports {living.name} as preempting" in capsys.readouterr().err
    agent.send_signal(signal.SIGTERM)
    assert agent.wait() == 128 + signal.SIGTERM
    assert (living.state, living.starts) == ("preempted", 1)


def test_a_run_of_which_nothing_is_heard_has_crashed_or_was_preempted(server, start, capsys):
    sweep_id = create(capsys)
    for number, more in enumerate([[], ["--mark_preempting"]], start=1):
        agent = start("dysweep_run_resume", *FUNCTION, "waits", "--sweep_id", sweep_id, *more)
        wait_for(
            lambda number=number: sum(each.starts for each in server.backend.runs_of(sweep_id)) == number
        )
        if more:
            wait_for(lambda: any(each.preempting for each in server.backend.runs_of(sweep_id)))
        agent.kill()
        agent.communicate()
    server.backend.silence = 0.0
    assert [each.state for each in server.backend.all_runs("researcher", "study") if each.sweep] == [
        "crashed", "preempted"
    ]  # fmt: skip


@pytest.mark.skipif(not LISTS_AGENTS, reason="this SDK does not tell what agents have had")
def test_a_run_that_waits_in_wandbs_queue_is_not_lost(server, capsys):
    sweep_id = create(capsys)
    queued = server.backend.enqueue(server.backend.sweeps[sweep_id], {"lr": 0.001, "dataset": "digits"}).name
    lost = server.backend.add_agent(server.backend.sweeps[sweep_id])
    waiting = server.backend.sweeps[sweep_id].queued
    server.backend.sweeps[sweep_id].queued = []
    [command] = server.backend.next_command(lost.name, {})
    server.backend.sweeps[sweep_id].queued = waiting
    time.sleep(1)
    assert run("trains", "--sweep_id", sweep_id, "--resume", "--lease", "1") == 0
    assert [each.run_id for each in directory(sweep_id).runs()] == [command["run_id"]]
    assert server.backend.run(queued).starts == 0
    elsewhere = ["--default_root_dir", "elsewhere", "--project", "study"]
    assert run("trains", "--sweep_id", sweep_id, "--count", "1", *elsewhere) == 0
    assert (server.backend.run(queued).starts, server.backend.run(queued).state) == (1, "finished")


def test_a_run_that_is_queued_again_is_assigned_only_what_the_sweep_has_chosen(server, capsys):
    sweep_id = create(capsys)
    assert run("always_fails", "--sweep_id", sweep_id, "--count", "1", "--mark_preempting") == 1
    [preempted] = server.backend.runs_of(sweep_id)
    assert preempted.state == "preempted" and {"_wandb", "dy_config"} < preempted.config.keys()
    elsewhere = ["--default_root_dir", "elsewhere", "--count", "1"]
    assert run("trains", "--sweep_id", f"researcher/study/{sweep_id}", *elsewhere) == 0
    assert "_wandb" not in capsys.readouterr().err
    [path] = Path("elsewhere").glob("*/runs/*/run.json")
    assert json.loads(path.read_text())["assignment"] == {"lr": 1, "dataset": "digits"}
    assert preempted.state == "finished"


@pytest.mark.parametrize("resume", [["--resume"], []])
def test_a_parameter_that_is_missing_in_wandb_is_an_error_and_never_the_bases_value(server, capsys, resume):
    sweep_id = create(capsys)
    assert run("always_fails", "--sweep_id", sweep_id, "--count", "1") == 1
    [failed] = server.backend.runs_of(sweep_id)
    del failed.config["lr"]
    again = ["--rerun_id", failed.name, *resume, "--default_root_dir", "elsewhere"]
    capsys.readouterr()
    assert run("trains", "--sweep_id", f"researcher/study/{sweep_id}", *again) == 1
    assert f"{failed.name}: its config in W&B lacks 'lr'" in capsys.readouterr().err
    assert failed.starts == 1 and not list(Path("elsewhere").glob("*/runs/*"))


def test_a_run_that_wandb_hands_out_without_end_ends_the_agent_which_says_why(server, capsys):
    sweep_id = create(capsys)
    assert run("trains", "--sweep_id", sweep_id, "--count", "1") == 0
    [done] = server.backend.runs_of(sweep_id)
    server.backend.sweeps[sweep_id].requeued = [done.name] * 50
    assert run("trains", "--sweep_id", sweep_id) == 1
    err = capsys.readouterr().err
    assert err.count(f"{done.name}: W&B hands it out again, but it is finished; left as it is") == 3
    assert f"{done.name}: W&B hands it out again and again" in err
    assert [str(each.state()) for each in directory(sweep_id).runs()] == [str(State.FINISHED)]


@pytest.mark.skipif(not GIVES_UP, reason="this SDK waits by itself until W&B answers")
def test_an_agent_that_wandb_limits_waits_and_goes_on(server, start, capsys):
    sweep_id = create(capsys)
    server.faults.append(Fault("*", times=1000, status=429))
    agent = start("dysweep_run_resume", *FUNCTION, "trains", "--sweep_id", sweep_id, "--count", "2")
    said = next(
        line for line in agent.stderr if "W&B limits how often it may be asked; asking again in" in line
    )
    server.faults.clear()
    _, err = agent.communicate()
    assert agent.returncode == 0 and "cannot be reached" not in said + err
    assert Counter(states(sweep_id)) == {"finished": 2}


def test_what_wandb_limits_is_named_with_its_remedy(server, capsys):
    server.faults.append(Fault("*", times=1000, status=429))
    assert cli.create(["-c", "config.yaml"]) == 1
    err = capsys.readouterr().err
    assert "429 Too Many Requests" in err and "use fewer agents" in err and "dysweep_sync" in err
    assert "cannot be reached" not in err


def test_wandbs_own_agent_is_told_the_right_command(server, start, capsys):
    sweep_id = create(capsys)
    agent = start("wandb", "agent", f"researcher/study/{sweep_id}", "--count", "1")
    out, err = agent.communicate()
    hint = f"dysweep_run_resume --package PACKAGE --function FUNCTION --sweep_id {sweep_id}"
    assert f"this is a sweep of dysweep; work on it with: {hint}" in out + err
    assert "KeyError" not in out + err


def test_the_server_notes_a_request_or_an_answer_that_the_schema_does_not_allow(monkeypatch):
    deviations = []
    answer(Backend(), "", {"query": "query Viewer { viewer { id entity } }"}, deviations)
    assert deviations == []
    with pytest.raises(Refused):
        answer(Backend(), "", {"query": "query Viewer { viewer { id owner } }"}, deviations)
    assert "Cannot query field 'owner' on type 'User'" in deviations.pop()
    monkeypatch.delitem(VIEWER, "id")
    with pytest.raises(Refused):
        answer(Backend(), "", {"query": "query Viewer { viewer { id entity } }"}, deviations)
    assert "Cannot return null for non-nullable field User.id" in deviations.pop()


@pytest.mark.skipif(not HAS_FINISH_TIMEOUT, reason="this SDK waits for an upload without bound")
@pytest.mark.parametrize("function", ["trains", "finishes_itself"])
def test_a_run_does_not_wait_for_its_upload_without_bound_and_sync_uploads_the_rest(
    server, capsys, monkeypatch, function
):
    monkeypatch.setenv("WANDB_FINISH_TIMEOUT", "1")
    sweep_id = create(capsys)
    server.faults.append(Fault("file_stream", times=1000, status=500))
    assert run(function, "--sweep_id", sweep_id, "--count", "1") == 0
    [record] = directory(sweep_id).runs()
    assert (
        f"{record.run_id}: W&B did not receive all of it in time; upload the rest: dysweep_sync"
        in capsys.readouterr().err
    )
    assert record.state() is State.FINISHED and "loss" in record.last_attempt().end().metrics
    server.faults.clear()
    assert cli.sync(["--sweep_id", sweep_id]) == 0
    uploaded = server.backend.run(record.run_id)
    assert (uploaded.state, uploaded.steps, uploaded.sweep) == ("finished", [0, 1, 2], sweep_id)
    assert cli.sync(["--sweep_id", sweep_id]) == 2
    assert "where its runs are already" in capsys.readouterr().err


@pytest.mark.parametrize("with_new_id", [False, True])
def test_every_point_is_executed_also_if_wandb_hands_a_lost_run_out_again(server, capsys, with_new_id):
    server.backend.unknown.hands_out_again_after = 0
    server.backend.unknown.with_new_id = with_new_id
    sweep_id = create(capsys)
    dead = server.backend.add_agent(server.backend.sweeps[sweep_id])
    [command] = server.backend.next_command(dead.name, {})
    assert run("trains", "--sweep_id", sweep_id) == 0
    assert Counter(states(sweep_id)) == {"finished": 4}
    finished = [each for each in server.backend.runs_of(sweep_id) if each.state == "finished"]
    assert len({(each.values["lr"], each.values["dataset"]) for each in finished}) == len(finished) == 4
    assert (command["run_id"] in [each.name for each in finished]) is not with_new_id
