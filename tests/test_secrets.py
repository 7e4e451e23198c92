"""Keys and passwords stay where they are; what is written can be read by whom the user has chosen."""

import json
import os
import re
import stat
from pathlib import Path

import pytest
from helpers import create, directory, run
from wandb_server.server import API_KEY

from dysweep import cli

CANARIES = {
    name: f"canary-{name.lower()}-0123456789"
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD", "OPENAI_API_KEY", "GITHUB_TOKEN")
}
CONFIG = """
project: study
base_config: {lr: 0.1}
sweep_configuration: {lr: {sweep: true, values: [1, 2]}}
"""
FUNCTIONS = """
from pathlib import Path
import wandb

def trains(config, checkpoint_dir):
    Path("command_lines").mkdir(exist_ok=True)
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            Path("command_lines", process.parent.name).write_bytes(process.read_bytes())
        except OSError:
            pass
    wandb.log({"loss": 1.0})
    if config["lr"] == 2:
        raise ValueError("the loss is nan")
"""


@pytest.fixture(autouse=True)
def files(own_folder, monkeypatch):
    (own_folder / "config.yaml").write_text(CONFIG)
    (own_folder / "functions.py").write_text(FUNCTIONS)
    for name, canary in CANARIES.items():
        monkeypatch.setenv(name, canary)


def secrets_in(folder, *more):
    """List the files below a folder that hold a secret, with the secret."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink() and path.name != ".netrc":
            content = path.read_bytes()
            secrets = [*CANARIES.values(), *more]
            found += [(str(path), secret) for secret in secrets if secret.encode() in content]
    return found


def everything(capsys, sweep_id):
    """Use every command that writes or shows something; return what they have shown."""
    run("trains", "--sweep_id", sweep_id)
    run("trains", "--sweep_id", sweep_id, "--resume")
    for words in (["--json"], ["--csv", "runs.csv"], ["--runs"], ["--log", run_ids(sweep_id)[0]], []):
        assert cli.status(["--sweep_id", sweep_id, *words]) == 0
    assert cli.create(["-c", "config.yaml", "--print_config"]) == 0
    shown = capsys.readouterr()
    return shown.out + shown.err


def run_ids(sweep_id):
    return sorted(directory(sweep_id).run_ids())


def test_no_secret_of_the_environment_is_in_a_file_a_log_or_a_command_line(own_folder, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", API_KEY)
    shown = everything(capsys, create(capsys))
    assert [secret for secret in (*CANARIES.values(), API_KEY) if secret in shown] == []
    assert secrets_in(own_folder, API_KEY) == []
    assert list((own_folder / "command_lines").iterdir())


@pytest.mark.parametrize("place", ["the environment", "netrc"])
def test_no_secret_is_in_what_wandb_gets(server, own_folder, capsys, monkeypatch, place):
    if place == "netrc":
        monkeypatch.delenv("WANDB_API_KEY")
        host = server.url.removeprefix("http://")
        logins = [
            f"machine {name} login user password {API_KEY}\n" for name in (host, host.partition(":")[0])
        ]
        (own_folder / ".netrc").write_text("".join(logins))
        (own_folder / ".netrc").chmod(0o600)
    shown = everything(capsys, create(capsys))
    assert [secret for secret in (*CANARIES.values(), API_KEY) if secret in shown] == []
    assert secrets_in(own_folder, API_KEY) == []
    stored = json.dumps([vars(each) for each in server.backend.runs.values()], default=str)
    sweeps = json.dumps([vars(each) for each in server.backend.sweeps.values()], default=str)
    assert len(server.backend.runs) == 3  # the sweep's metadata, too
    assert [secret for secret in (*CANARIES.values(), API_KEY) if secret in stored + sweeps] == []


def test_a_sweep_in_wandb_is_uploaded_without_a_secret(server, own_folder, capsys, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    sweep_id = create(capsys)
    run("trains", "--sweep_id", sweep_id)
    monkeypatch.setenv("WANDB_MODE", "online")
    assert cli.sync(["--sweep_id", sweep_id]) == 0
    assert secrets_in(own_folder, API_KEY) == []
    stored = json.dumps([vars(each) for each in server.backend.runs.values()], default=str)
    assert re.search("canary", stored) is None and API_KEY not in stored


def modes(folder):
    """Return the permission bits of all that dysweep has written below a folder."""
    own = [
        path for path in [folder, *folder.rglob("*")] if "/wandb" not in str(path.relative_to(folder.parent))
    ]
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in own}


@pytest.mark.parametrize("mask", [0o077, 0o022, 0o027])
def test_files_follow_the_umask(capsys, mask):
    before = os.umask(mask)
    try:
        sweep_id = create(capsys)
        run("trains", "--sweep_id", sweep_id)
    finally:
        os.umask(before)
    wrong = {path: oct(mode) for path, mode in modes(directory(sweep_id).path).items() if mode & mask}
    assert wrong == {}


def test_a_directory_for_a_group_can_be_written_by_its_members(capsys):
    before = os.umask(0o027)
    try:
        sweep_id = create(capsys, "--group_writable", "True")
        run("trains", "--sweep_id", sweep_id)
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    found = modes(directory(sweep_id).path)
    readonly = {path for path, mode in found.items() if not mode & stat.S_IWGRP}
    assert readonly == set() and not any(mode & stat.S_IRWXO for mode in found.values())
    assert {f"runs/{run_id}/checkpoint" for run_id in run_ids(sweep_id)} <= found.keys()
    folders = [
        path for path in directory(sweep_id).path.rglob("*") if path.is_dir() and "wandb" not in str(path)
    ]
    assert all(path.stat().st_mode & stat.S_ISGID for path in folders)


def test_a_directory_that_exists_does_not_become_one_for_a_group(capsys):
    before = os.umask(0o027)
    try:
        sweep_id = create(capsys)
    finally:
        os.umask(before)
    run("trains", "--sweep_id", sweep_id, "--count", "1", "--group_writable", "True")
    assert "group_writable: not used, as the sweep" in capsys.readouterr().err


def test_a_root_that_everybody_may_write_to_is_named(own_folder, capsys):
    Path("dysweep_logs").mkdir()
    Path("dysweep_logs").chmod(0o777)
    assert cli.create(["-c", "config.yaml"]) == 0
    told = capsys.readouterr()
    assert f"{own_folder / 'dysweep_logs'}: every user of this machine may write here" in told.err
    assert run("trains", "--sweep_id", told.out.strip(), "--count", "1") == 0
    assert "every user of this machine may write here" in capsys.readouterr().err
    Path("dysweep_logs").chmod(0o1777)  # as /tmp
    assert cli.create(["-c", "config.yaml"]) == 0
    assert "every user" not in capsys.readouterr().err
