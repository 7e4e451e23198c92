"""Ended runs of large sweeps are read once, and all that is shown stays what their files say."""

import json
import os
import shutil
import sys
import zlib
from pathlib import Path

import pytest
from helpers import directory

from dysweep import cli, dysweep_run_resume, open_sweep

RUNS = 230  # what 200 have read at least is kept
FUNCTIONS = """
import wandb

def trains(config, checkpoint_dir):
    wandb.log({"loss": 1 / (1 + config["seed"])})
    if config["seed"] == 1:
        raise ValueError("no seed")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Make a sweep with many runs: one finishes, one fails, and the others get the records of the first."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        (folder / "functions.py").write_text(FUNCTIONS)
        seeds = {"seed": {"sweep": True, "min": 0, "max": 999}}
        sweep_id = dysweep_run_resume(mode="offline", base_config={}, sweep_configuration=seeds)
        work(sweep_id, "--count", "2")
        add_copies(sweep_id, range(3, RUNS + 1))
        del sys.modules["functions"]
    return folder, sweep_id


@pytest.fixture
def sweep_id(made, own_folder):
    """Copy the sweep into the test's own folder."""
    folder, sweep_id = made
    shutil.copytree(folder, own_folder, copy_function=os.link, dirs_exist_ok=True)
    return sweep_id


def work(sweep_id, *arguments):
    return cli.run_resume(
        ["--package", "functions", "--function", "trains", "--sweep_id", sweep_id, *arguments]
    )


def add_copies(sweep_id, numbers):
    first = directory(sweep_id).run(f"{sweep_id}-0001").path
    for number in numbers:
        copy = first.with_name(f"{sweep_id}-{number:04d}")
        shutil.copytree(first, copy, ignore=shutil.ignore_patterns("wandb", "checkpoint"))
        text = (copy / "run.json").read_text().replace(first.name, copy.name)
        (copy / "run.json").write_text(text.replace('"seed": 0', f'"seed": {number - 1}'))


def shown(capsys, sweep_id, *arguments):
    capsys.readouterr()
    assert cli.status(["--sweep_id", sweep_id, *arguments]) == 0
    return capsys.readouterr().out


def index_of(sweep_id):
    return directory(sweep_id).path / "ended.jsonl"


def states_of(sweep_id):
    return [run.state for run in open_sweep(sweep_id).runs]


def test_what_is_read_again_is_what_was_read_first(sweep_id, capsys):
    first = shown(capsys, sweep_id, "--json")
    assert index_of(sweep_id).exists()
    assert shown(capsys, sweep_id, "--json") == first
    runs = json.loads(first)["runs"]
    assert [run["state"] for run in runs] == ["finished", "failed"] + ["finished"] * (RUNS - 2)
    assert runs[1]["error"]["message"] == "no seed" and runs[9]["assignment"] == {"seed": 9}


def test_an_ended_run_is_not_read_again(sweep_id):
    assert states_of(sweep_id).count("finished") == RUNS - 1
    (directory(sweep_id).run(f"{sweep_id}-0007").path / "run.json").unlink()
    assert states_of(sweep_id).count("finished") == RUNS - 1
    index_of(sweep_id).unlink()
    assert len(open_sweep(sweep_id).damaged) == 1


def test_a_run_that_goes_on_is_read_again(sweep_id):
    assert states_of(sweep_id)[1] == "failed"
    failed = directory(sweep_id).run(f"{sweep_id}-0002")
    before = failed.attempts_path.stat()
    attempt = failed.claim(failed.last_attempt())
    os.utime(failed.attempts_path, ns=(before.st_atime_ns, before.st_mtime_ns))  # the disk's clock is coarse
    assert states_of(sweep_id)[1] == "running"
    attempt.finish("finished", None, {"loss": 0.25})
    again = open_sweep(sweep_id).runs[1]
    assert (again.state, again.metrics, again.attempts) == ("finished", {"loss": 0.25}, 2)


def test_runs_that_ended_since_are_added_in_their_order(sweep_id, capsys):
    shown(capsys, sweep_id)
    for run in (3, 50):
        shutil.rmtree(directory(sweep_id).run(f"{sweep_id}-{run:04d}").path)
    add_copies(sweep_id, [*range(RUNS + 1, 2 * RUNS + 1)])
    expected = shown(capsys, sweep_id, "--json")
    lines = index_of(sweep_id).read_text().splitlines()
    ids = [json.loads(line[9:])[0] for line in lines[1:]]
    assert ids == sorted(set(ids)) and len(ids) == 2 * RUNS
    assert shown(capsys, sweep_id, "--json") == expected
    assert len(json.loads(expected)["runs"]) == 2 * RUNS - 2


def test_a_run_that_was_deleted_and_executed_again_is_read_again(sweep_id):
    open_sweep(sweep_id)
    deleted = directory(sweep_id).run(f"{sweep_id}-0007")
    shutil.rmtree(deleted.path)
    add_copies(sweep_id, [7])
    end = deleted.last_attempt().end_path
    end.write_text(json.dumps({**json.loads(end.read_text()), "metrics": {"loss": 0.125}}))
    os.utime(deleted.attempts_path)  # which a real attempt changes
    assert open_sweep(sweep_id).runs[6].metrics == {"loss": 0.125}


def test_runs_that_went_on_are_kept_as_they_are_now(sweep_id):
    open_sweep(sweep_id)
    for run in directory(sweep_id).runs():
        for ending in (".json", ".end.json"):
            shutil.copy(f"{run.attempts_folder}/0001{ending}", f"{run.attempts_folder}/0002{ending}")
    assert [run.attempts for run in open_sweep(sweep_id).runs] == [2] * RUNS
    (directory(sweep_id).run(f"{sweep_id}-0007").path / "run.json").unlink()
    assert [run.attempts for run in open_sweep(sweep_id).runs] == [2] * RUNS


def test_whether_a_run_is_set_aside_follows_from_the_setting_of_the_moment(sweep_id, capsys):
    for most, expected in ((3, False), (1, True), (3, False)):
        text = shown(capsys, sweep_id, "--json", "--max_attempts", str(most))
        assert json.loads(text)["runs"][1]["set_aside"] is expected


def cut_off(content):
    return content[: len(content) // 2]


def altered(content):
    return content.replace(b'"failed"', b'"killed"')


def written(line):
    return b"%08x %b\n" % (zlib.crc32(line), line)


def with_a_line_of_something_else(content):
    return content.splitlines(True)[0] + written(b'["x", "y"]')


def of_another_release(content):
    header, *lines = (line[9:] for line in content.splitlines())
    return b"".join(map(written, [header.replace(b'"run_id"', b'"run"'), *map(altered, lines)]))


@pytest.mark.parametrize("spoil", [cut_off, altered, with_a_line_of_something_else, of_another_release])
def test_a_spoiled_index_changes_nothing(sweep_id, capsys, spoil):
    expected = shown(capsys, sweep_id, "--json")
    content = index_of(sweep_id).read_bytes()
    index_of(sweep_id).write_bytes(spoil(content))
    assert shown(capsys, sweep_id, "--json") == expected


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_where_the_index_cannot_be_opened_the_runs_are_read_as_ever(sweep_id, capsys, make):
    make(index_of(sweep_id))
    if make is Path.mkdir:
        (index_of(sweep_id) / "full").touch()
    assert "229 finished  1 failed" in shown(capsys, sweep_id)
    assert not [path for path in index_of(sweep_id).parent.iterdir() if path.name.startswith(".")]


def test_a_small_sweep_has_no_index(sweep_id, capsys):
    for number in range(190, RUNS + 1):
        shutil.rmtree(directory(sweep_id).run(f"{sweep_id}-{number:04d}").path)
    assert "188 finished  1 failed" in shown(capsys, sweep_id)
    assert not index_of(sweep_id).exists()
