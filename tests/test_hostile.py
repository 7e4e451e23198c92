"""Who may write to a sweep's directory, or gives us a file, can spoil results; no more ("Trust")."""

import csv
import io
import json
import os
import signal
from pathlib import Path

import pytest
from helpers import directory, run, run_of

from dysweep import ConfigError, cli, dysweep_run_resume

ESCAPES = "\x1b[2J\x1b]0;owned\x07\u202e"
FUNCTIONS = """
import sys
import wandb

def trains(config, checkpoint_dir):
    wandb.log({"loss": 1.0})

def fails(config, checkpoint_dir):
    print("ESCAPES", flush=True)
    raise ValueError("ESCAPES")
"""


@pytest.fixture(autouse=True)
def files(own_folder):
    (own_folder / "functions.py").write_text(
        FUNCTIONS.replace("ESCAPES", ESCAPES.encode("unicode_escape").decode())
    )


@pytest.fixture
def in_time():
    """Fail, instead of taking a machine's memory or hours, if something has no limit."""
    signal.signal(signal.SIGALRM, lambda *_: pytest.fail("no limit"))
    signal.alarm(150)
    yield
    signal.alarm(0)


def created(**settings):
    given = {"base_config": {"lr": 1}, "sweep_configuration": {"lr": {"sweep": True, "values": [1, 2]}}}
    return dysweep_run_resume(**{**given, **settings})


def shown(capsys, *arguments):
    capsys.readouterr()
    assert cli.status(list(arguments)) == 0
    return capsys.readouterr().out


def steers(text):
    return [letter for letter in text if letter not in "\n\t" and not letter.isprintable()]


def aliases(levels):
    """Write a YAML file of a few lines that stands for 10 to the power of `levels` numbers."""
    lines = ["a0: &a0 [0, 0, 0, 0, 0, 0, 0, 0, 0, 0]"]
    for level in range(1, levels):
        lines.append(f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("place", ["the file itself", "the base", "the sweep"])
def test_aliases_that_stand_for_millions_of_values_are_refused_at_once(own_folder, capsys, in_time, place):
    (own_folder / "bomb.yaml").write_text(aliases(9))
    config = {
        "the file itself": aliases(9),
        "the base": "base_config: bomb.yaml\nsweep_configuration: {a: {sweep: true, values: [1]}}",
        "the sweep": "base_config: {}\nsweep_configuration: bomb.yaml",
    }[place]
    (own_folder / "config.yaml").write_text(config)
    assert cli.create(["-c", "config.yaml"]) == 2
    err = capsys.readouterr().err
    assert "larger than 16777216 bytes; if that is meant, set DYSWEEP_MAX_BYTES" in err
    assert len(err.splitlines()) == 1 and not Path("dysweep_logs").exists()


def test_a_file_that_is_too_large_is_refused_until_the_limit_is_raised(own_folder, capsys, monkeypatch):
    text = "x" * 2000
    (own_folder / "config.yaml").write_text(
        f"base_config: {{text: {text}}}\nsweep_configuration: {{a: {{sweep: true, values: [1]}}}}"
    )
    monkeypatch.setenv("DYSWEEP_MAX_BYTES", "1000")
    assert cli.create(["-c", "config.yaml"]) == 2
    assert "config.yaml: larger than 1000 bytes" in capsys.readouterr().err
    monkeypatch.setenv("DYSWEEP_MAX_BYTES", "10000")
    assert cli.create(["-c", "config.yaml"]) == 0
    monkeypatch.setenv("DYSWEEP_MAX_BYTES", "much")
    assert cli.create(["-c", "config.yaml"]) == 2
    assert "DYSWEEP_MAX_BYTES: 'much' is not a number of bytes" in capsys.readouterr().err


def test_a_tree_without_an_end_is_named():
    deep = {}
    for _ in range(5000):
        deep = {"a": deep}
    with pytest.raises(ConfigError, match="nested too deeply"):
        created(base_config=deep)


def test_a_config_that_is_too_large_fails_its_run_and_no_other(capsys, monkeypatch):
    values = [{"text": "x" * 10}, {"text": "x" * 5000}]
    sweep_id = created(
        sweep_configuration={"lr": {"sweep": True, "sweep_alias": ["s", "l"], "values": values}}
    )
    monkeypatch.setenv("DYSWEEP_MAX_BYTES", "2000")
    assert run("trains", "--sweep_id", sweep_id) == 1
    assert [str(run_of(sweep_id, number).state()) for number in (1, 2)] == ["finished", "failed"]
    assert "the config: larger than 2000 bytes" in capsys.readouterr().err


@pytest.mark.parametrize(
    "form", ["3000000000", "0100d", ".100f", "s", "!r", ",", "*>30", "c", "n", "{lr}", "#x", "x<9"]
)
def test_formats_of_a_runs_name_are_those_of_numbers(form, in_time):
    with pytest.raises(ConfigError, match="run_name"):
        created(run_name="{lr:" + form + "}")


@pytest.mark.parametrize("attribute", ["lr.__class__", "lr[0]", "0.__init__.__globals__"])
def test_a_runs_name_reaches_no_attributes(attribute):
    with pytest.raises(ConfigError, match="is not a parameter"):
        created(run_name="{" + attribute + "}")


def test_a_runs_name_is_short_and_in_one_line():
    sweep_id = created(run_name=f"a\n{ESCAPES}{'b' * 1000}-{{lr:03d}}")
    assert run("trains", "--sweep_id", sweep_id, "--count", "1") == 0
    name = run_of(sweep_id).record()["name"]
    assert len(name) == 256 and name.isprintable() and name.endswith("-001")


def test_a_template_in_the_directory_is_held_to_the_same_rules(capsys, in_time):
    sweep_id = created()
    path = directory(sweep_id).record_path
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "run_name": "{lr:3000000000}"}))
    assert run("trains", "--sweep_id", sweep_id) == 2
    assert "run_name: {lr:3000000000}" in capsys.readouterr().err


def hostile_sweep():
    """Run a sweep in whose every text is something that would steer a terminal or a spreadsheet."""
    sweep_id = created(
        sweep_configuration={
            "name": ESCAPES,
            "parameters": {"=cmd": {"sweep": True, "values": [f"=1+1{ESCAPES}", "@x"]}},
        }
    )
    run("fails", "--sweep_id", sweep_id, "--count", "1")
    run("trains", "--sweep_id", sweep_id)
    claim = run_of(sweep_id, 2).path / "attempts/0001.json"
    claim.write_text(json.dumps({**json.loads(claim.read_text()), "host": ESCAPES, "slurm_job_id": ESCAPES}))
    return sweep_id


def test_nothing_in_a_sweep_steers_the_terminal(capsys):
    sweep_id = hostile_sweep()
    told = capsys.readouterr()
    assert steers(told.err) == [] and "\\x1b[2J" in told.err
    (run_of(sweep_id, 2).path / "attempts/0001.end.json").unlink()
    broken = directory(sweep_id).runs_path / "broken"
    broken.mkdir()
    (broken / "run.json").write_text(ESCAPES)
    for arguments in [
        ["--sweep_id", sweep_id],
        ["--sweep_id", sweep_id, "--runs"],
        ["--sweep_id", sweep_id, "--csv", "-"],
        ["--sweep_id", sweep_id, "--json"],
        ["--sweep_id", sweep_id, "--log", f"{sweep_id}-0001"],
        [],
    ]:
        out = shown(capsys, *arguments).replace("\r\n", "\n")
        assert steers(out) == [] and out, arguments


def test_a_log_is_shown_as_it_was_written_only_if_that_is_asked_for(capsys):
    sweep_id = hostile_sweep()
    log = ["--sweep_id", sweep_id, "--log", f"{sweep_id}-0001"]
    assert ESCAPES not in shown(capsys, *log)
    assert ESCAPES in shown(capsys, *log, "--raw")
    assert cli.status(["--sweep_id", sweep_id, "--raw"]) == 2
    assert "--raw: it needs --log" in capsys.readouterr().err


def test_no_cell_of_the_csv_is_a_formula(capsys):
    sweep_id = hostile_sweep()
    rows = list(csv.reader(io.StringIO(shown(capsys, "--sweep_id", sweep_id, "--csv", "-"))))
    assert "'=cmd" in rows[0]
    cells = [cell for row in rows for cell in row]
    assert [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))] == []
    assert any(cell.startswith("'=1+1") for cell in cells) and "'@x" in cells


DAMAGES = {
    "a pipe": lambda path: os.mkfifo(path),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a huge file": lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), 2**40),
    "a text": lambda path: path.write_text('{"'),
    "depth": lambda path: path.write_text("[" * 100_000),
    "a number": lambda path: path.write_text("1"),
    "a folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("place", ["run.json", "attempts/0001.json", "attempts/0001.end.json"])
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_record_that_is_something_else_is_named_and_the_others_are_executed(capsys, in_time, damage, place):
    sweep_id = created()
    assert run("trains", "--sweep_id", sweep_id, "--count", "1") == 0
    path = run_of(sweep_id).path / place
    path.unlink()
    damage(path)
    assert run("trains", "--sweep_id", sweep_id, "--recover", "True", "--lease", "1") in (0, 1)
    assert str(run_of(sweep_id, 2).state()) == "finished"
    assert "Traceback" not in capsys.readouterr().err
    shown(capsys, "--sweep_id", sweep_id)


@pytest.mark.parametrize(
    "change",
    [
        {"pid": "../../etc/passwd"},
        {"pid": True},
        {"host": ["x"]},
        {"started": "2026-01-01T00:00:00"},
        {"started": 5},
        {"slurm_restart_count": "0", "slurm_job_id": "7"},
        {"boot_id": {}},
        {"more": 1},
    ],
)
def test_a_claim_of_other_types_is_named_and_does_not_end_an_agent(capsys, monkeypatch, change):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    sweep_id = created()
    assert run("trains", "--sweep_id", sweep_id, "--count", "1") == 0
    attempts = run_of(sweep_id).path / "attempts"
    claim = attempts / "0001.json"
    claim.write_text(json.dumps({**json.loads(claim.read_text()), **change}))
    (attempts / "0001.end.json").unlink()
    run("trains", "--sweep_id", sweep_id, "--recover", "True", "--lease", "1")
    assert "Traceback" not in capsys.readouterr().err
    assert str(run_of(sweep_id, 2).state()) == "finished"
    assert "0001.json: damaged or unreadable" in shown(capsys, "--sweep_id", sweep_id)


def test_code_in_the_directory_runs_only_where_this_machine_allows_it(capsys, own_folder):
    sweep_id = created()
    path = directory(sweep_id).record_path
    record = json.loads(path.read_text())
    space = json.loads(record["space"])
    space["tree"]["more"] = "dy__eval(lambda: __import__('pathlib').Path('executed').touch())"
    more = {"run_name_changer": "os.system", "package": "os", "function": "system", "allow_eval": True}
    path.write_text(json.dumps({**record, "space": json.dumps(space), **more}))
    assert run("trains", "--sweep_id", sweep_id) == 2
    assert "allow_eval" in capsys.readouterr().err
    assert not (own_folder / "executed").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"labels": []},
        {"labels": None},
        {"name": 3},
        {"path": ["nowhere"]},
        {"path": [["lr"]]},
    ],
)
def test_a_space_in_the_directory_that_was_changed_is_named_before_a_run_is_executed(capsys, change):
    sweep_id = created()
    path = directory(sweep_id).record_path
    record = json.loads(path.read_text())
    space = json.loads(record["space"])
    space["swept"][0].update(change)
    path.write_text(json.dumps({**record, "space": json.dumps(space)}))
    capsys.readouterr()
    assert run("trains", "--sweep_id", sweep_id) == 1
    err = capsys.readouterr().err
    assert "sweep.json: damaged or unreadable" in err and len(err.splitlines()) == 1
    assert not list(directory(sweep_id).runs_path.iterdir())


@pytest.mark.parametrize("name", ["0002.log", "0002.heartbeat", "0002.json", "0002.end.json"])
def test_nothing_is_written_through_a_link_in_the_directory(own_folder, capsys, name):
    sweep_id = created()
    assert run("fails", "--sweep_id", sweep_id, "--count", "1") == 1
    (own_folder / "precious").write_text("mine")
    (run_of(sweep_id).path / "attempts" / name).symlink_to(own_folder / "precious")
    run("trains", "--sweep_id", sweep_id, "--resume", "--lease", "1")
    assert (own_folder / "precious").read_text() == "mine"
    assert "Traceback" not in capsys.readouterr().err.replace("Traceback (most recent call last)", "", 1)


@pytest.mark.parametrize("run_id", ["../../outside", "a/b", ".hidden", "", "x" * 200, "-rf\n"])
def test_no_id_leads_out_of_the_directory(capsys, run_id):
    sweep_id = created()
    for words in (["--log", run_id], ["--log", run_id, "--raw"]):
        assert cli.status(["--sweep_id", sweep_id, *words]) in (1, 2)
    assert run("trains", "--sweep_id", sweep_id, "--rerun_id", run_id) in (1, 2)
    assert not list(directory(sweep_id).runs_path.iterdir())
