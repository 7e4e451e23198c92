"""The commands: what they print, what they return, and what a user's mistakes give."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from helpers import Process, create, directory, run, states, wait_for

from dysweep import cli
from dysweep.arguments import COMMANDS
from dysweep.directory.runs import Attempt, State

ROOT = Path(__file__).parent.parent
CONFIG = """
base_config: {lr: 0.1, trainer: {lr: 1, layers: [{n: 1}, {n: 2}]}}
sweep_configuration:
  lr: {sweep: true, values: [1e-3, 0.5, 1, 2]}
"""
FUNCTIONS = """
import os, pathlib, time
from dysweep.directory.runs import RunDirectory

def record(config, checkpoint_dir):
    with open("executed", "a") as file:
        file.write(f"{config['lr']} {os.getpid()}\\n")
    print("trained with", config["lr"])

def fails_at_first(config, checkpoint_dir):
    seen = checkpoint_dir / "seen"
    if config["lr"] == 1 and not seen.exists():
        seen.touch()
        raise ValueError("the loss is nan")

def is_taken_over(config, checkpoint_dir):
    run = RunDirectory(checkpoint_dir.parent)
    run.claim(run.last_attempt())

def always_fails(config, checkpoint_dir):
    raise ValueError("never")

def more(config, checkpoint_dir, epochs, device="cpu"):
    pathlib.Path("more").write_text(f"{epochs!r} {device!r}")

def waits(config, checkpoint_dir):
    try:
        (checkpoint_dir / "started").touch()
        if not (checkpoint_dir / "saved").exists():
            time.sleep(600)
    finally:
        (checkpoint_dir / "saved").touch()
"""


@pytest.fixture(autouse=True)
def files(own_folder):
    (own_folder / "config.yaml").write_text(CONFIG)
    (own_folder / "functions.py").write_text(FUNCTIONS)


def wait_for_files(pattern, count=1):
    return wait_for(lambda: len(found := list(Path().glob(pattern))) >= count and found)


def test_the_quickstart_finishes_all_its_runs_and_says_where(start, tmp_path):
    arguments = ["-c", "tutorials/quickstart/config.yaml", "--default_root_dir", tmp_path / "logs"]
    function = ["--package", "tutorials.quickstart.train", "--function", "main"]
    process = start("dysweep_run_resume", *arguments, *function, cwd=ROOT)
    out, err = process.communicate()
    assert (process.returncode, out) == (0, "")
    lines = err.splitlines()
    place, sweep_id = directory(root=tmp_path / "logs").path, directory(root=tmp_path / "logs").sweep.sweep_id
    assert lines[-3] == f"48 runs finished; results in {place}"
    compare = f"dysweep_results --sweep_id {sweep_id} --default_root_dir {tmp_path / 'logs'}"
    assert lines[-1] == f"  to compare   {compare}"
    assert [line.split()[0] for line in lines if " finished " in line and "/48" in line] == [
        f"{place}/48" for place in range(1, 49)
    ]
    metrics = [run.last_attempt().end().metrics for run in directory(root=tmp_path / "logs").runs()]
    assert all(0.5 < each["accuracy"] <= 1 for each in metrics)
    reached = [each["accuracy"] for each in metrics]
    first = f"{sweep_id}-{reached.index(max(reached)) + 1:04d}"
    many = reached.count(max(reached))
    assert max(reached) > 0.95 and many > 1
    assert lines[-2].startswith(f"  best so far  accuracy {max(reached):.4g}  {first}  model=")
    assert lines[-2].endswith(f"  (1 of {many} runs with this value)")


def test_create_prints_the_id_alone_and_describes_the_sweep_for_people(start):
    process = start("dysweep_create", "-c", "config.yaml")
    out, err = process.communicate()
    sweep_id = directory().sweep.sweep_id
    assert out == f"{sweep_id}\n"
    assert err.splitlines() == [
        f"sweep {sweep_id}: 4 runs, in dysweep_logs/checkpoints-{sweep_id}",
        "  lr  0.001, 0.5, 1, 2",
        f"next:  dysweep_run_resume --package PACKAGE --function FUNCTION --sweep_id {sweep_id}",
    ]


def test_four_agents_at_once_execute_every_grid_point_exactly_once(start, capsys):
    values = list(range(40))
    sweep_id = create(capsys, f"--sweep_configuration={{lr: {{sweep: true, values: {values}}}}}")
    arguments = ["--package", "functions", "--function", "record", "--sweep_id", sweep_id]
    agents = [start("dysweep_run_resume", *arguments) for _ in range(4)]
    assert [agent.communicate() and agent.returncode for agent in agents] == [0, 0, 0, 0]
    executed = [line.split() for line in Path("executed").read_text().splitlines()]
    assert sorted(int(value) for value, _ in executed) == values
    assert len({process for _, process in executed}) > 1
    assert set(states()) == {State.FINISHED}


def test_a_failing_run_does_not_stop_the_agent_and_is_resumed(capsys):
    assert run("fails_at_first", "-c", "config.yaml") == 1
    err = capsys.readouterr().err
    assert "ValueError: the loss is nan" in err and 'raise ValueError("the loss is nan")' in err
    assert "3 runs finished, 1 failed; results in" in err
    resume = f"--sweep_id {directory().sweep.sweep_id} --resume"
    command = f"dysweep_run_resume --package functions --function fails_at_first {resume}"
    assert err.splitlines()[-1] == f"  to resume    {command}"
    assert states() == [State.FINISHED, State.FINISHED, State.FAILED, State.FINISHED]
    sweep_id = directory().sweep.sweep_id
    attempt = directory().run(f"{sweep_id}-0003").last_attempt()
    assert attempt.end().error["type"] == "ValueError"
    assert "the loss is nan" in attempt.end().error["traceback"]
    assert "the loss is nan" in attempt.log_path.read_text()
    assert run("fails_at_first", "--sweep_id", sweep_id, "--resume", "--count", "5") == 0
    assert states() == [State.FINISHED] * 4
    assert run("fails_at_first", "--sweep_id", sweep_id, "--resume", "True") == 0
    assert "no run to resume" in capsys.readouterr().err


def test_a_run_that_was_taken_over_is_not_finished_by_the_process_that_had_it(capsys):
    assert run("is_taken_over", "-c", "config.yaml", "--count", "1") == 1
    err = capsys.readouterr().err
    assert "another process has taken it over; stopped here" in err and "1 run finished" not in err
    [record] = directory().runs()
    assert [attempt.end() for attempt in (Attempt(record, 1), Attempt(record, 2))] == [None, None]


def test_what_keeps_failing_is_set_aside(capsys):
    run("always_fails", "-c", "config.yaml", "--count", "1", "--max_attempts", "2")
    sweep_id = directory().sweep.sweep_id
    assert run("always_fails", "--sweep_id", sweep_id, "--resume", "--max_attempts", "2") == 1
    capsys.readouterr()
    assert run("always_fails", "--sweep_id", sweep_id, "--resume", "--max_attempts", "2") == 0
    assert f"{sweep_id}-0001: given up after 2 attempts" in capsys.readouterr().err
    assert run("always_fails", "--sweep_id", sweep_id, "--rerun", "failed", "--max_attempts", "2") == 1
    assert directory().run(f"{sweep_id}-0001").last_attempt().number == 3


def test_a_run_that_was_given_up_and_has_finished_since_is_not_set_aside(capsys):
    run("always_fails", "-c", "config.yaml", "--count", "1", "--max_attempts", "1")
    sweep_id = directory().sweep.sweep_id
    status = ["--sweep_id", sweep_id, "--max_attempts", "1", "--json"]
    for number, set_aside in [(1, True), (2, False)]:
        capsys.readouterr()
        assert cli.status(status) == 0
        [read] = json.loads(capsys.readouterr().out)["runs"]
        assert (read["attempts"], read["set_aside"]) == (number, set_aside)
        run("record", "--sweep_id", sweep_id, "--rerun_id", f"{sweep_id}-0001")


def test_a_rerun_starts_from_scratch_and_keeps_the_old_checkpoint(capsys):
    run("fails_at_first", "-c", "config.yaml")
    sweep_id = directory().sweep.sweep_id
    run_id = f"{sweep_id}-0003"
    assert run("fails_at_first", "--sweep_id", sweep_id, "--rerun_id", run_id) == 1
    path = directory().run(run_id).path
    assert (path / "checkpoint.0001/seen").exists()
    assert run("fails_at_first", "--sweep_id", sweep_id, "--rerun_id", run_id, "--delete_checkpoints") == 1
    assert sorted(each.name for each in path.glob("checkpoint*")) == ["checkpoint", "checkpoint.0001"]
    assert run("fails_at_first", "--sweep_id", sweep_id, "--rerun_id", run_id, "--resume") == 0
    assert run("fails_at_first", "--sweep_id", sweep_id, "--rerun_id", run_id, "--resume") == 2
    assert f"{run_id} is finished" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_lets_the_function_clean_up_and_resume_goes_on(start, capsys, number):
    arguments = ["--package", "functions", "--function", "waits", "--count", "1"]
    agent = start("dysweep_run_resume", "-c", "config.yaml", *arguments)
    wait_for_files("dysweep_logs/*/runs/*/checkpoint/started")
    agent.send_signal(number)
    _, err = agent.communicate()
    work = [*arguments[:4], "--sweep_id", directory().sweep.sweep_id]
    assert agent.returncode == 128 + number
    assert "Traceback" not in err and f"to resume: dysweep_run_resume {' '.join(work)} --resume" in err
    assert states() == [State.PREEMPTED]
    wait_for_files("dysweep_logs/*/runs/*/checkpoint/saved")
    assert run("waits", "--sweep_id", directory().sweep.sweep_id, "--resume") == 0
    assert states() == [State.FINISHED]


def test_a_function_that_ignores_the_signal_is_ended_after_grace(start, tmp_path):
    (tmp_path / "stubborn.py").write_text(
        "import time\n"
        "def main(config, checkpoint_dir):\n"
        "    (checkpoint_dir / 'started').touch()\n"
        "    while True:\n"
        "        try:\n"
        "            time.sleep(600)\n"
        "        except BaseException:\n"
        "            pass\n"
    )
    agent = start(
        "dysweep_run_resume",
        "-c",
        "config.yaml",
        "--package",
        "stubborn",
        "--function",
        "main",
        "--grace",
        "0.3",
    )
    wait_for_files("dysweep_logs/*/runs/*/checkpoint/started")
    agent.send_signal(signal.SIGTERM)
    agent.communicate()
    assert agent.returncode == 128 + signal.SIGTERM
    assert states() == [State.PREEMPTED]


def test_a_function_that_swallows_the_signal_can_ask_for_it(start, tmp_path):
    (tmp_path / "polling.py").write_text(
        "import threading, time\n"
        "import dysweep\n"
        "def main(config, checkpoint_dir):\n"
        "    assert not dysweep.preempted()\n"
        "    try:\n"
        "        (checkpoint_dir / 'started').touch()\n"
        "        while not dysweep.preempted():\n"
        "            time.sleep(0.01)\n"
        "    except BaseException:\n"
        "        pass\n"
        "    while not dysweep.preempted():\n"
        "        time.sleep(0.01)\n"
        "    (checkpoint_dir / 'asked').touch()\n"
    )
    work = ["--package", "polling", "--function", "main"]
    agent = start("dysweep_run_resume", "-c", "config.yaml", *work)
    [started] = wait_for_files("dysweep_logs/*/runs/*/checkpoint/started")
    agent.send_signal(signal.SIGTERM)
    assert agent.wait() == 128 + signal.SIGTERM
    assert states() == [State.PREEMPTED] and started.with_name("asked").exists()


@pytest.mark.parametrize(
    ("kind", "resume", "executed"),
    [
        ("failed", [], ["1", "2"]),
        ("preempted", [], ["0.001"]),
        ("crashed", [], ["0.5"]),
        ("all", [], ["0.001", "0.5", "1", "2"]),
        ("failed", ["--resume", "True"], ["1", "2"]),
    ],
)
def test_runs_of_one_state_are_executed_again(start, capsys, kind, resume, executed):
    sweep_id = create(capsys)
    work = ["--package", "functions", "--function", "waits", "--sweep_id", sweep_id, "--count", "1"]
    for number in (signal.SIGTERM, signal.SIGKILL):
        agent = start("dysweep_run_resume", *work)
        wait_for_files("dysweep_logs/*/runs/*/checkpoint/started", 1 if number == signal.SIGTERM else 2)
        agent.send_signal(number)
        agent.wait()
    assert run("always_fails", "--sweep_id", sweep_id, "--max_attempts", "1") == 1
    assert states() == [State.PREEMPTED, State.CRASHED, State.FAILED, State.FAILED]
    for each in directory().runs():
        (each.checkpoint_path / "old").touch()
    assert run("record", "--sweep_id", sweep_id, "--rerun", kind, *resume, "--max_attempts", "2") == 0
    assert [line.split()[0] for line in Path("executed").read_text().splitlines()] == executed
    old = [each for each in directory().runs() if (each.checkpoint_path / "old").exists()]
    anew = set() if resume else set(executed)
    assert {str(each.config()["lr"]) for each in old} == {"0.001", "0.5", "1", "2"} - anew
    assert cli.run_resume(["-c", "config.yaml", *work[:4], "--rerun", "failed"]) == 2
    assert "sweep_id: missing" in capsys.readouterr().err


def test_an_agent_with_recover_ends_with_what_others_have_lost_meanwhile(start, capsys):
    sweep_id = create(capsys)
    work = ["--package", "functions", "--sweep_id", sweep_id]
    other = start("dysweep_run_resume", *work, "--function", "waits")
    [started] = wait_for_files("dysweep_logs/*/runs/*/checkpoint/started")
    Path("slow.py").write_text(
        "import time\n"
        "def main(config, checkpoint_dir):\n"
        "    time.sleep(0.5)\n"
        "    open('slow', 'a').write(f\"{config['lr']}\\n\")\n"
    )
    agent = start(
        "dysweep_run_resume", "--package", "slow", "--function", "main", "--sweep_id", sweep_id, "--recover"
    )
    wait_for_files("slow")
    other.kill()
    assert agent.wait() == 0
    assert Path("slow").read_text().split() == ["0.5", "1", "2", "0.001"]
    assert states() == [State.FINISHED] * 4


def test_a_killed_process_leaves_a_crashed_run_that_is_resumed(start):
    agent = start("dysweep_run_resume", "-c", "config.yaml", "--package", "functions", "--function", "waits")
    [started] = wait_for_files("dysweep_logs/*/runs/*/checkpoint/started")
    sweep_id = directory().sweep.sweep_id
    assert states() == [State.RUNNING]
    assert run("waits", "--sweep_id", sweep_id, "--rerun_id", f"{sweep_id}-0001") == 2
    agent.kill()
    agent.communicate()
    assert states() == [State.CRASHED]
    started.with_name("saved").touch()
    assert run("waits", "--sweep_id", sweep_id, "--resume") == 0
    assert states() == [State.FINISHED]


def test_an_agent_that_finds_nothing_new_names_what_is_lost(capsys):
    run("always_fails", "-c", "config.yaml")
    capsys.readouterr()
    sweep_id = directory().sweep.sweep_id
    command = f"dysweep_run_resume --package functions --function record --sweep_id {sweep_id}"
    assert run("record", "--sweep_id", directory().sweep.sweep_id) == 0
    assert capsys.readouterr().err.splitlines() == [
        "no run was left to execute",
        "  whole sweep  4 failed",
        f"  to resume    {command} --resume",
    ]
    work = ["--sweep_id", directory().sweep.sweep_id, "--resume"]
    assert run("always_fails", *work) == 1
    capsys.readouterr()
    assert run("record", *work, "--max_attempts", "2") == 0
    assert capsys.readouterr().err.splitlines()[-2:] == [
        "  whole sweep  4 failed, 4 given up after 2 attempts that failed",
        f"  to rerun     {command} --max_attempts 2 --rerun failed",
    ]


def test_trees_that_an_existing_sweep_does_not_use_are_named(capsys):
    sweep_id = create(capsys)
    work = ["--package", "functions", "--function", "record", "--sweep_id", sweep_id, "--count", "1"]
    assert cli.run_resume([*work, "-c", "config.yaml"]) == 0
    assert "not used" not in capsys.readouterr().err
    assert cli.run_resume([*work, "-c", "config.yaml", "--base_config.lr", "3"]) == 0
    assert f"base_config: not used, as the sweep {sweep_id} keeps" in capsys.readouterr().err


def test_an_agent_with_recover_goes_on_with_lost_runs_first(start):
    agent = start("dysweep_run_resume", "-c", "config.yaml", "--package", "functions", "--function", "waits")
    wait_for_files("dysweep_logs/*/runs/*/checkpoint/started")
    agent.kill()
    agent.communicate()
    assert run("record", "--sweep_id", directory().sweep.sweep_id, "--recover", "--count", "2") == 0
    assert [line.split()[0] for line in Path("executed").read_text().splitlines()] == ["0.001", "0.5"]


def test_a_damaged_run_is_named_and_the_others_go_on(capsys):
    run("always_fails", "-c", "config.yaml")
    [_, damaged, *_] = directory().runs()
    (damaged.path / "run.json").write_text('{"run_id": ')
    sweep_id = directory().sweep.sweep_id
    assert run("record", "--sweep_id", sweep_id, "--resume") == 0
    assert f"{damaged.path / 'run.json'}: damaged or unreadable" in capsys.readouterr().err
    assert states() == [State.FINISHED, State.FAILED, State.FINISHED, State.FINISHED]


@pytest.mark.parametrize(
    ("arguments", "read"),
    [
        (["--base_config.trainer.lr", "1e-3"], lambda config: config["trainer"]["lr"] == 1e-3),
        (
            ["--base_config.trainer.new.deep=[1, 2]"],
            lambda config: config["trainer"]["new"] == {"deep": [1, 2]},
        ),
        (
            ["--base_config.trainer.layers.1.n", "5"],
            lambda config: config["trainer"]["layers"][1] == {"n": 5},
        ),
        (["--base_config", "{lr: 1e-4}"], lambda config: config == {"lr": 0.001}),
        (["--sweep_configuration.lr.values", "[9]"], lambda config: config["lr"] == 9),
    ],
)
def test_settings_are_overridden_inside_trees(capsys, arguments, read):
    assert run("record", "-c", "config.yaml", "--count", "1", *arguments) == 0
    [only] = directory().runs()
    assert read(only.config())


def test_more_arguments_reach_the_function():
    assert (
        run("more", "-c", "config.yaml", "--count", "1", "--run_additional_args", "epochs:3", "device:on")
        == 0
    )
    assert Path("more").read_text() == "3 True"


def test_trees_may_be_files_beside_the_config(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/base.yaml").write_text("lr: 0.1\nfrom: base")
    (tmp_path / "sub/space.json").write_text('{"lr": {\t"sweep": true, "values": [7]}}')
    (tmp_path / "sub/config.yaml").write_text("base_config: base.yaml\nsweep_configuration: space.json")
    assert run("record", "-c", "sub/config.yaml") == 0
    [only] = directory().runs()
    assert only.config() == {"lr": 7, "from": "base"}


def test_an_id_of_digits_stays_text(capsys):
    assert run("record", "--sweep_id", "00123456") == 1
    assert "no sweep '00123456'" in capsys.readouterr().err


def test_code_runs_only_where_it_is_allowed(capsys):
    code = "--sweep_configuration.x={dy__eval: 'lambda c: c[\"lr\"] * 2'}"
    sweep_id = create(capsys, code)
    assert run("record", "--sweep_id", sweep_id) == 2
    err = capsys.readouterr().err
    assert "sweep_configuration.x.dy__eval" in err and "--allow_eval true" in err
    assert states() == [] and not Path("executed").exists()
    assert run("record", "--sweep_id", sweep_id, "--allow_eval", "true", "--count", "1") == 0
    [only] = directory().runs()
    assert only.config()["x"] == 0.002


def test_a_package_that_fails_to_import_shows_its_traceback(capsys):
    Path("broken.py").write_text("import nothing_like_this\n")
    assert cli.run_resume(["-c", "config.yaml", "--package", "broken", "--function", "main"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err and "broken.py" in err and "'nothing_like_this'" in err
    assert "importlib" not in err and "cli.py" not in err


def test_ids_of_runs_that_leave_the_directory_are_refused(capsys):
    sweep_id = create(capsys)
    for run_id in ("../../x", "/etc", ".hidden", "a\0b", ""):
        assert run("record", "--sweep_id", sweep_id, f"--rerun_id={run_id}") == 2
    assert run("record", "--sweep_id", sweep_id, "--rerun_id", "x") == 1
    assert "unknown run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace('"format_version": 1', '"format_version": 99'), "format_version is 99"),
        (lambda text: text[: len(text) // 2], "sweep.json: damaged or unreadable"),
        (lambda text: "[]", "format_version is None"),
        (lambda text: json.dumps({**json.loads(text), "space": "{}"}), "sweep.json: damaged or unreadable"),
    ],
)
def test_a_sweep_that_cannot_be_read_is_named(capsys, change, message):
    sweep_id = create(capsys)
    path = directory().record_path
    path.write_text(change(path.read_text()))
    assert run("record", "--sweep_id", sweep_id) == 1
    err = capsys.readouterr().err
    assert message in err and str(path) in err and err.count("\n") == 1


def test_a_custom_directory_is_the_sweep_directory_itself(capsys):
    sweep_id = create(capsys, "--custom_checkpoint_dir", "mine")
    assert Path("dysweep_logs/mine/sweep.json").exists()
    assert cli.create(["-c", "config.yaml", "--custom_checkpoint_dir", "mine"]) == 2
    assert "holds a sweep already" in capsys.readouterr().err
    assert run("record", "--sweep_id", sweep_id, "--custom_checkpoint_dir", "mine") == 0


def test_help_explains_what_the_command_uses(start):
    shown = {}
    for script in ("dysweep_create", "dysweep_run_resume", "dysweep_status", "dysweep_sync"):
        process = start(script, "--help")
        shown[script] = process.communicate()[0]
        assert process.returncode == 0 and "Union" not in shown[script] and "null" not in shown[script]
    assert "--allow_eval [true|false]" in shown["dysweep_create"]
    assert "--count" not in shown["dysweep_create"] and "--count N" in shown["dysweep_run_resume"]
    assert "--method grid|random|bayes" in shown["dysweep_run_resume"]
    assert "(default: 120.0)" in shown["dysweep_sync"] and "--grace" not in shown["dysweep_sync"]


def test_an_option_of_another_command_is_refused(capsys):
    assert cli.create(["-c", "config.yaml", "--count", "3"]) == 2
    assert "--count is an option of dysweep_run_resume, not of dysweep_create" in capsys.readouterr().err


def test_all_settings_are_printed_as_a_file_that_makes_the_same_sweep(capsys):
    config = str(ROOT / "tutorials/quickstart/config.yaml")
    assert cli.create(["-c", config, "--dry_run", "--limit", "48"]) == 0
    before = capsys.readouterr().out
    assert cli.create(["-c", config, "--run_name", "{model}", "--print_config"]) == 0
    printed = capsys.readouterr().out
    assert (
        "# W&B's search method, if sweep_configuration has none; grid by default (grid|random|bayes)"
        in printed
    )
    assert "run_name: '{model}'" in printed and "grace" not in printed
    Path("printed.yaml").write_text(printed)
    assert cli.create(["-c", "printed.yaml", "--dry_run", "--limit", "48"]) == 0
    assert capsys.readouterr().out == before


def test_editors_get_a_schema_of_the_file(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.create(["--print_schema"])
    schema = json.loads(capsys.readouterr().out)
    jsonschema.validate(yaml.safe_load((ROOT / "tutorials/quickstart/config.yaml").read_text()), schema)
    for wrong in ({"bas_config": {}}, {"count": "many"}, {"method": "grd"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
    Path("config.json").write_text('{"$schema": "schema.json", "base_config": {}}')
    assert cli.create(["-c", "config.json"]) == 2
    assert "sweep_configuration: missing" in capsys.readouterr().err


def test_the_shell_completes_all_commands_with_options_values_and_ids(start, tmp_path, capsys):
    run("record", "-c", "config.yaml", "--count", "1")
    [folder] = (tmp_path / "dysweep_logs").iterdir()
    sweep_id = folder.name.removeprefix("checkpoints-")
    script = tmp_path / "completion"
    script.write_text(start("dysweep", "--print_completion", "bash").communicate()[0])
    assert script.read_text() == start("dysweep_status", "--print_completion", "bash").communicate()[0]
    ask = f"""
        source {script}
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); "_shtab_$1"; echo "${{COMPREPLY[@]}}"
    """
    for words, completed in [
        (["dysweep_run_resume", "--swee"], "--sweep_configuration --sweep_id --sweep_name"),
        (["dysweep_run_resume", "--goal", "m"], "maximize minimize"),
        (["dysweep", "s"], "status sync"),
        (["dysweep", "status", "--sweep_id", ""], sweep_id),
        (["dysweep_status", "--log", ""], f"{sweep_id}-0001"),
        (["dysweep_run_resume", "--default_root_dir", "nothing", "--sweep_id", ""], ""),
    ]:
        command = ["bash", "-c", ask, "bash", *words]
        assert subprocess.run(command, capture_output=True, text=True).stdout.strip() == completed, words


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is needed")
def test_zsh_completes_commands_options_and_ids(start, tmp_path):
    run("record", "-c", "config.yaml", "--count", "1")
    sweep_id = directory().sweep.sweep_id
    script = tmp_path / "completion"
    script.write_text(start("dysweep", "--print_completion", "zsh").communicate()[0])
    (tmp_path / ".zshrc").write_text(f'PS1=READY; autoload -Uz compinit; compinit -u; eval "$(<{script})"\n')
    terminal, other_end = pty.openpty()
    environment = {**os.environ, "ZDOTDIR": str(tmp_path), "TERM": "dumb"}
    with Process(
        ["zsh", "-i"], stdin=other_end, stdout=other_end, stderr=other_end, env=environment
    ) as shell:
        os.close(other_end)
        shown = []

        def appears(text):
            shown.append(os.read(terminal, 1024).decode())
            return text in "".join(shown)

        try:
            wait_for(lambda: appears("READY"))
            for words, completed in [
                ("dysweep sta", "dysweep status"),
                ("dysweep status --sweep_id ", f"--sweep_id {sweep_id}"),
                ("dysweep_run_resume --goal mi", "--goal minimize"),
                ("dysweep_status --log ", f"--log {sweep_id}-0001"),
            ]:
                os.write(terminal, f"{words}\t".encode())
                wait_for(lambda completed=completed: appears(completed))
                os.write(terminal, b"\x15")
        finally:
            shell.kill()
            os.close(terminal)


@pytest.mark.parametrize("word", COMMANDS)
def test_help_and_errors_name_the_command_as_it_was_typed(start, word):
    for typed in ([COMMANDS[word]], ["dysweep", word]):
        name = " ".join(typed)
        assert start(*typed, "--help").communicate()[0].startswith(f"usage: {name} [options]\n")
        out, err = start(*typed, "--typo").communicate()
        assert (out, err.count("\n")) == ("", 1) and err.startswith(f"{name}: --typo: unknown option")


def test_an_option_of_another_command_is_named_with_it_as_that_was_typed(start):
    for typed, other in (("dysweep_run_resume", "dysweep_create"), ("dysweep run", "dysweep create")):
        err = start(*typed.split(), "--extend", "3").communicate()[1]
        assert err == f"{typed}: --extend is an option of {other}, not of {typed}\n"


def test_one_command_has_them_all(start, capsys):
    overview = start("dysweep").communicate()[0]
    assert re.findall("^  ([a-z]+)  ", overview, re.MULTILINE) == [
        "create",
        "run",
        "launch",
        "status",
        "sync",
    ]
    assert start("dysweep", "--help").communicate()[0] == overview
    sweep_id = start("dysweep", "create", "-c", "config.yaml").communicate()[0].strip()
    work = ["--package", "functions", "--function", "record", "--sweep_id", sweep_id]
    assert start("dysweep", "run", *work).wait() == 0
    with Process([sys.executable, "-m", "dysweep", "status"], stdout=-1, text=True) as process:
        assert sweep_id in process.communicate()[0] and process.returncode == 0
    process = start("dysweep", "stats")
    assert process.communicate()[1] == "dysweep: stats: unknown command; did you mean 'status'?\n"
    assert process.returncode == 2
