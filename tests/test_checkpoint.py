"""The sweep directory: claims, states, liveness, damage; real processes where processes matter."""

import json
import multiprocessing
import os
import socket
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from dysweep import ConfigError, DirectoryError, NotFoundError, Space
from dysweep.agents.sources import Claims, find_resumable
from dysweep.directory.address import check_id
from dysweep.directory.heartbeat import Heartbeat, Watch
from dysweep.directory.liveness import Owner
from dysweep.directory.runs import INTERRUPTED, RESUMABLE, Attempt, RunDirectory, State
from dysweep.directory.sweep import Sweep, SweepDirectory
from dysweep.files import publish_json

SPAWN = multiprocessing.get_context("spawn")


def new_sweep(path="sweep"):
    directory = SweepDirectory(Path(path))
    space = Space.compile({"lr": {"sweep": True, "values": [1, 2]}})
    directory.create(
        Sweep("abcd", "offline", None, "project", None, {"lr": 0}, {"method": "grid"}, space.to_json())
    )
    return directory


def leftovers(directory):
    return [path for path in directory.path.rglob("*") if path.name.endswith(".tmp")]


@pytest.mark.parametrize(
    "bad", ["", ".", "..", ".hidden", "a/b", "/etc", "a\\b", "a\0", "a b", "ä", "x" * 200, "a\n"]
)
def test_what_could_leave_the_directory_is_no_id(bad):
    with pytest.raises(ConfigError, match="is not an id"):
        check_id(bad, "run id")


def test_a_sweep_is_made_once_and_read_back():
    directory = new_sweep()
    with pytest.raises(ConfigError, match="holds a sweep already"):
        new_sweep()
    read = SweepDirectory(directory.path).sweep
    assert read == replace(directory.sweep)
    assert read.compiled.resolve(read.base_config, {"lr": 2}) == {"lr": 2}
    with pytest.raises(NotFoundError, match="holds no sweep"):
        SweepDirectory(Path("elsewhere")).sweep  # noqa: B018
    assert leftovers(directory) == []


def start_run(path, run_id, index):
    attempt = SweepDirectory(Path(path)).start_run(run_id, {"index": index}, None, {"index": index})
    return attempt is not None


def claim(path, index):
    run = RunDirectory(Path(path))
    return run.claim(Attempt(run, 1)) is not None


def create_file(path, index):
    return publish_json(Path(path), {"index": index, "padding": "x" * 100_000})


@pytest.mark.processes
def test_of_many_processes_one_starts_a_run_one_claims_it_one_creates_a_file():
    directory = new_sweep()
    with SPAWN.Pool(8) as pool:
        started = pool.starmap(start_run, [(directory.path, "abcd-0001", index) for index in range(8)])
        run = directory.run("abcd-0001")
        claimed = pool.starmap(claim, [(run.path, index) for index in range(8)])
        created = pool.starmap(create_file, [(directory.path / "file.json", index) for index in range(8)])
    for outcome in (started, claimed, created):
        assert sum(outcome) == 1
    assert run.record()["assignment"] == {"index": started.index(True)} == run.config()
    assert run.last_attempt().number == 2
    assert json.loads((directory.path / "file.json").read_text())["index"] == created.index(True)
    assert leftovers(directory) == []


OWNER = {
    "host": socket.gethostname(),
    "pid": 1,
    "process_start": "-1",
    "boot_id": Owner.current().boot_id,
    "pid_namespace": Owner.current().pid_namespace,
    "slurm_job_id": None,
    "slurm_restart_count": 0,
    "started": "2026-01-01T00:00:00+00:00",
}
END = {"outcome": "finished", "ended": "2026-01-01T00:00:01+00:00", "error": None, "metrics": {"loss": 0.5}}
MYSELF = Owner.current().__dict__


@pytest.mark.parametrize(
    ("state", "files"),
    [
        ("pending", {}),
        ("running", {"0001.json": MYSELF}),
        ("running", {"0001.json": {**OWNER, "host": "elsewhere"}}),
        ("running", {"0001.json": {**MYSELF, "pid_namespace": "pid:[1]"}}),
        ("running", {"0001.json": None}),
        ("crashed", {"0001.json": OWNER}),
        ("running", {"0001.json": {**MYSELF, "boot_id": "another machine of this name"}}),
        ("crashed", {"0001.json": {**MYSELF, "process_start": "the pid's former owner"}}),
        ("finished", {"0001.json": OWNER, "0001.end.json": END}),
        ("failed", {"0001.json": OWNER, "0001.end.json": {**END, "outcome": "failed"}}),
        ("preempted", {"0001.json": OWNER, "0001.end.json": {**END, "outcome": "preempted"}}),
        ("killed", {"0001.json": OWNER, "0001.end.json": {**END, "outcome": "killed"}}),
        ("running", {"0001.json": OWNER, "0001.end.json": END, "0002.json": MYSELF}),
        ("crashed", {f"{number:04d}.json": OWNER for number in (9, 10, 10000)}),
    ],
)
def test_the_state_follows_from_the_files(state, files):
    directory = new_sweep()
    path = directory.runs_path / "abcd-0001"
    (path / "attempts").mkdir(parents=True)
    (path / "run.json").write_text('{"run_id": "abcd-0001", "assignment": {}, "name": null, "created": ""}')
    for name, content in files.items():
        (path / "attempts" / name).write_text("" if content is None else json.dumps(content))
    [run] = directory.runs()
    assert run.state() == state


def test_lost_runs_come_in_the_order_of_their_urgency():
    directory = new_sweep()
    kinds = [
        ("failed", 1),
        ("preempted", 5),
        ("finished", 2),
        ("crashed", 3),
        ("failed", 4),
        ("preempted", 6),
    ]
    for number, (kind, minute) in enumerate(kinds, start=1):
        attempt = directory.start_run(f"abcd-000{number}", {}, None, {})
        owner = {**OWNER, "started": f"2026-01-01T00:0{minute}:00+00:00"}
        attempt.claim_path.write_text(json.dumps(owner))
        if kind != "crashed":
            attempt.finish(State(kind), None, {})
    directory.start_run("abcd-0007", {}, None, {})  # by this process, which lives
    ids = [each.run.run_id[-1] for each in find_resumable(directory, RESUMABLE).resumable]
    assert ids == ["4", "2", "6", "1", "5"]
    assert [each.run.run_id[-1] for each in find_resumable(directory, INTERRUPTED).resumable] == [
        "4",
        "2",
        "6",
    ]


def test_a_requeued_slurm_job_is_the_death_of_its_former_life(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    former = replace(Owner.current(), host="node1")
    assert former.alive(time.time) is None
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert former.alive(time.time) is False and former.was_requeued()
    monkeypatch.setenv("SLURM_JOB_ID", "18")
    assert former.alive(time.time) is None and not former.was_requeued()


def test_a_machine_of_the_same_name_died_with_its_last_start_if_it_was_silent_before_this_one():
    attempt = new_sweep().start_run("abcd-0001", {}, None, {})
    attempt.claim_path.write_text(json.dumps({**MYSELF, "boot_id": "another start"}))
    attempt.heartbeat_path.write_text("7")
    assert attempt.state() is State.RUNNING and attempt.unseen()
    os.utime(attempt.heartbeat_path, (0, 0))
    assert attempt.state() is State.CRASHED


def test_a_job_that_is_queued_again_and_again_does_not_use_up_the_attempts(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    directory = new_sweep()
    directory.start_run("abcd-0001", {}, None, {})
    claims = Claims(directory, lambda assignment, config: None, False, 3, False, Watch(60), beat=0.1)
    run = directory.run("abcd-0001")
    for life in range(1, 6):
        last = run.last_attempt()
        claim = json.loads(last.claim_path.read_text())
        last.claim_path.write_text(json.dumps({**claim, "process_start": "-1"}))  # killed
        monkeypatch.setenv("SLURM_RESTART_COUNT", str(life))
        assert last.state() is State.PREEMPTED and not last.given_up(State.PREEMPTED, 3)
        assert claims.again(run, last).attempt.number == life + 1
        assert last.end().outcome is State.PREEMPTED


def test_a_run_is_taken_over_when_its_former_process_has_left_it(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    directory = new_sweep()
    former = directory.start_run("abcd-0001", {}, None, {})
    former.claim_path.write_text(json.dumps({**asdict(Owner.current()), "host": "node1"}))
    left = []

    def leave():
        time.sleep(1)  # its function saves
        left.append(time.monotonic())
        heart.__exit__()

    leaving = threading.Thread(target=leave)
    heart = Heartbeat(former, 0.1, when_superseded=leaving.start)
    with heart:
        monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
        claims = Claims(directory, lambda assignment, config: None, False, 3, False, Watch(60), beat=0.1)
        assert claims.again(former.run, former).attempt.number == 2
    assert left and time.monotonic() > left[0]


def test_a_superseded_attempt_writes_nothing():
    attempt = new_sweep().start_run("abcd-0001", {}, None, {})
    newer = attempt.run.claim(attempt)
    assert attempt.superseded() and not newer.superseded()
    assert attempt.finish(State.FINISHED, None, {}) is False
    assert attempt.end() is None
    assert newer.finish(State.FINISHED, None, {"loss": 1.0}) is True
    assert newer.finish(State.FAILED, None, {}) is False
    assert (newer.end().outcome, newer.end().metrics) == (State.FINISHED, {"loss": 1.0})


def test_owners_out_of_sight_are_judged_together_by_their_heartbeats():
    directory = new_sweep()
    attempts = [directory.start_run(f"abcd-{number}", {}, None, {}) for number in range(3)]
    attempts[2].heartbeat_path.write_text("7")
    stop = threading.Event()

    def beat():
        count = 0
        while not stop.wait(0.01):
            attempts[0].heartbeat_path.write_text(str(count))
            count += 1

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        assert Watch(lease=2).wait(attempts) == {attempts[1], attempts[2]}
    finally:
        stop.set()
        beating.join()


def test_a_heart_that_beats_is_alive_however_long_it_is_watched():
    attempt = new_sweep().start_run("abcd-0001", {}, None, {})
    watch = Watch(lease=0.3)
    for count in range(6):
        attempt.heartbeat_path.write_text(str(count))
        assert watch.dead([attempt]) == set()
        time.sleep(0.1)


@pytest.mark.parametrize("state", list(State))
def test_only_what_has_ended_without_success_is_given_up_after_too_many_attempts(state):
    run = new_sweep().start_run("abcd-0001", {}, None, {}).run
    for _ in range(2):
        run.last_attempt().finish(State.FAILED, {"type": "E", "message": "e"}, {})
        run.claim(run.last_attempt())
    expected = state in (State.FAILED, State.CRASHED)  # the third failure
    assert run.last_attempt().given_up(state, 3) is expected
    assert run.last_attempt().given_up(state, 2) is (state in RESUMABLE)


def elsewhere(attempt, **changes):
    """Let an attempt be of another process than this."""
    owner = {**json.loads(attempt.claim_path.read_text()), **changes}
    attempt.claim_path.write_text(json.dumps(owner))


@pytest.mark.parametrize("changes", [{"host": "other"}, {"pid_namespace": "pid:[1]"}])
def test_what_runs_out_of_sight_is_found_to_be_watched(changes):
    directory = new_sweep()
    attempts = [directory.start_run(f"abcd-{number}", {}, None, {}) for number in range(2)]
    for attempt in attempts:
        elsewhere(attempt, **changes)
    attempts[1].finish(State.FINISHED, None, {})
    found = find_resumable(directory, RESUMABLE)
    assert [each.run.run_id for each in found.unseen] == ["abcd-0"] and found.resumable == []
    assert find_resumable(directory, [State.FAILED]).unseen == []


def test_attempts_behind_a_symbolic_link_are_refused(tmp_path):
    run = new_sweep().start_run("abcd-0001", {}, None, {}).run
    run.attempts_path.rename(tmp_path / "elsewhere")
    run.attempts_path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DirectoryError, match="a symbolic link could lead anywhere"):
        run.last_attempt()


def test_a_heartbeat_is_there_while_the_attempt_lives():
    attempt = new_sweep().start_run("abcd-0001", {}, None, {})
    assert attempt.heartbeat() == ""
    with Heartbeat(attempt, 5, lambda: None):
        pass
    assert attempt.heartbeat() == "0\n"


@pytest.mark.parametrize("content", ["", "{", "[]", "\0\xff", '{"outcome": "sleepy"}', "{}"])
@pytest.mark.parametrize("name", ["run.json", "run_config.json", "attempts/0001.end.json"])
def test_a_damaged_file_is_named(name, content):
    run = new_sweep().start_run("abcd-0001", {}, None, {}).run
    (run.path / name).write_text(content, encoding="latin-1")
    if (name, content) in [("run_config.json", "{}"), ("run_config.json", '{"outcome": "sleepy"}')]:
        return
    with pytest.raises(DirectoryError, match=f"{name}: damaged or unreadable"):
        (run.record(), run.config(), run.state())


def test_no_run_is_made_outside_of_the_directory():
    with pytest.raises(ConfigError, match="'../evil' is not an id"):
        new_sweep().start_run("../evil", {}, None, {})


def test_what_is_no_run_is_passed_over(tmp_path):
    directory = new_sweep()
    directory.start_run("abcd-0001", {}, None, {})
    (directory.runs_path / "notes.txt").write_text("mine")
    (directory.runs_path / ".abcd-0002.tmp").mkdir()
    os.symlink(tmp_path, directory.runs_path / "link")
    assert [run.run_id for run in directory.runs()] == ["abcd-0001"]
    with pytest.raises(NotFoundError, match="unknown run"):
        directory.run("link")


def test_a_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DirectoryError, match="file/sweep: cannot be made"):
        new_sweep("file/sweep")


def test_checkpoints_are_set_aside_under_the_next_free_number():
    run = new_sweep().start_run("abcd-0001", {}, None, {}).run
    for content in ("first", "second", "third"):
        run.checkpoint_path.mkdir()
        (run.checkpoint_path / "state").write_text(content)
        run.set_checkpoint_aside(delete=content == "third")
    kept = {path.parent.name: path.read_text() for path in run.path.glob("checkpoint*/state")}
    assert kept == {"checkpoint.0001": "first", "checkpoint.0002": "second"}
