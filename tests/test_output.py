"""What people see: short lines, logs as a terminal shows them, estimates, advice, closed pipes."""

import csv
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from helpers import SCRIPTS, Process

from dysweep import cli

PROMPTS = [
    "Read the passage and answer in one word.\nPassage: {passage}\nThink [/INST] and write :smile: it down.\n"
    * 30,
    "Answer the question in one word.\nQuestion: {question}\n",
]
FUNCTIONS = """
import os, pathlib, sys, time
import numpy as np
import wandb

def nothing(config, checkpoint_dir):
    pass

def val_acc(config, checkpoint_dir):
    wandb.log({"val_acc": 1, "time": 3})

def other(config, checkpoint_dir):
    wandb.log({"zzz": 1})

def no_number(config, checkpoint_dir):
    wandb.log({"acc": config["acc"]})

def returns_array(config, checkpoint_dir):
    return np.float32(0.5)

def returns_tensor(config, checkpoint_dir):
    return np.array(0.5)

def returns_pair(config, checkpoint_dir):
    return 0.5, 0.25

def returns_code(config, checkpoint_dir):
    return 0

def kept(config, checkpoint_dir):
    wandb.define_metric("acc", summary="min,max")
    for acc in (0.25, 0.75):
        wandb.log({"acc": acc})

def returns(config, checkpoint_dir):
    return {"acc": 0.5}

def returns_number(config, checkpoint_dir):
    return 0.5

def returns_list(config, checkpoint_dir):
    return [{"acc": 0.5}]

def infinite(config, checkpoint_dir):
    wandb.log({"acc": float("nan"), "loss": float("inf")})

def prints(config, checkpoint_dir):
    for part in range(20):
        print("part", part, flush=True)
        print("warning", part, file=sys.stderr, flush=True)
        os.system("echo from a program")
    wandb.log({"acc": 1})

def fails_late(config, checkpoint_dir):
    if config["lr"] == 1:
        wandb.log({"acc": 1})
        raise ValueError("late")

def resumes(config, checkpoint_dir):
    if not (checkpoint_dir / "seen").exists():
        (checkpoint_dir / "seen").touch()
        wandb.log({"best": 0.5, "acc": 1})
        raise ValueError("late")
    wandb.log({"acc": 2})

def logs_lr(config, checkpoint_dir):
    wandb.log({"acc": config["lr"]})
    if config["lr"] == 0.5:
        raise ValueError("never")

def fails(config, checkpoint_dir):
    raise ValueError("never")

def more(config, checkpoint_dir, seed):
    raise ValueError("never")

def ends_as_told(config, checkpoint_dir):
    end = pathlib.Path("end").read_text()
    if end == "crashed":
        os._exit(9)
    if end == "preempted":
        os.kill(os.getpid(), 15)
        time.sleep(60)
    if end == "failed":
        raise ValueError("told so")

def bars(config, checkpoint_dir):
    for state in range(500):
        sys.stderr.write(f"\\rtraining {state}/500")
    sys.stderr.write("\\n")
    sys.stdout.write("a long line\\rshort\\x1b[K\\n12\\b3\\n")
    for state in range(3):
        sys.stdout.write(f"\\router {state}\\n\\rinner {state}\\x1b[A")
    sys.stdout.write("\\n\\nend\\n")
"""


@pytest.fixture(autouse=True)
def functions(own_folder):
    (own_folder / "functions.py").write_text(FUNCTIONS)


def create(capsys, sweep, *options, base=None):
    settings = {
        "base_config": base if base is not None else dict.fromkeys(sweep),
        "sweep_configuration": sweep,
    }
    Path("config.json").write_text(json.dumps(settings))
    capsys.readouterr()
    assert cli.create(["-c", "config.json", *options]) == 0
    out, err = capsys.readouterr()
    return out.strip(), err


def swept(*values):
    return {"sweep": True, "values": list(values)}


def work(capsys, sweep_id, function, *options):
    capsys.readouterr()
    code = cli.run_resume(
        ["--package", "functions", "--function", function, "--sweep_id", sweep_id, *options]
    )
    return code, capsys.readouterr().err


def shown(capsys, sweep_id, *options):
    capsys.readouterr()
    assert cli.status(["--sweep_id", sweep_id, *options]) == 0
    return capsys.readouterr().out


def test_values_of_many_lines_are_one_short_line_everywhere_and_whole_for_scripts(capsys):
    sweep = {"prompt": swept(*PROMPTS), "n" * 300: swept(1)}
    sweep_id, told = create(capsys, sweep)
    assert len(told.splitlines()) == 4
    assert cli.create(["-c", "config.json", "--dry_run"]) == 0
    drawn = capsys.readouterr().out
    code, err = work(capsys, sweep_id, "nothing")
    assert code == 0 and len(err.splitlines()) == 4
    runs = shown(capsys, sweep_id, "--runs")
    assert len(runs.splitlines()) == 3 and "{question}" in runs
    for text in (told, err, runs):
        assert max(len(line.rstrip()) for line in text.splitlines()) < 150
        assert "[/INST]" in text or "down.\\n" in text
    assert max(len(line.rstrip()) for line in drawn.splitlines()) < 220 and len(drawn.splitlines()) == 9
    status = json.loads(shown(capsys, sweep_id, "--json"))
    assert [run["assignment"]["prompt"] for run in status["runs"]] == PROMPTS
    shown(capsys, sweep_id, "--csv", "runs.csv")
    with open("runs.csv", newline="") as file:
        assert [row["prompt"] for row in csv.DictReader(file)] == PROMPTS


def test_values_in_brackets_are_shown_as_they_are(capsys):
    sweep_id, _ = create(capsys, {"text": swept("[/INST] [bold] :smile:")})
    assert work(capsys, sweep_id, "nothing")[0] == 0
    assert "text=[/INST] [bold] :smile:" in shown(capsys, sweep_id, "--runs")


def test_a_log_is_printed_as_a_terminal_shows_it_and_kept_as_it_is(capsys):
    sweep_id, _ = create(capsys, {"lr": swept(1)})
    assert work(capsys, sweep_id, "bars")[0] == 0
    log = shown(capsys, sweep_id, "--log", f"{sweep_id}-0001")
    assert log.splitlines() == ["training 499/500", "short", "13", "outer 2", "inner 2", "end"]
    [kept] = Path("dysweep_logs").glob("*/runs/*/attempts/*.log")
    assert kept.read_bytes().count(b"\r") > 500


@pytest.mark.parametrize(
    ("function", "last"),
    [
        ("val_acc", "metric 'acc' was never logged; did you mean 'val_acc'? (the runs logged time, val_acc)"),
        ("other", "metric 'acc' was never logged; the runs logged zzz"),
        ("nothing", "metric 'acc' was never logged; the runs logged nothing"),
        *[
            (
                name,
                "metric 'acc' was never logged; the function returned acc, which is not recorded: "
                "give it to wandb.log (the runs logged nothing)",
            )
            for name in ("returns", "returns_list")
        ],
        *[
            (
                name,
                "metric 'acc' was never logged; what the function returns is not recorded, and nothing was "
                "logged; give it to wandb.log",
            )
            for name in (
                "returns_number",
                "returns_array",
                "returns_tensor",
                "returns_pair",
            )
        ],
    ],
)
def test_what_the_sweep_waits_for_and_nobody_logs_is_said_once(capsys, function, last):
    sweep_id, _ = create(capsys, {"lr": swept(1, 2)}, "--metric", "acc", "--goal", "maximize")
    code, err = work(capsys, sweep_id, function)
    assert code == 0 and err.splitlines()[2] == last and len(err.splitlines()) == 5


@pytest.mark.parametrize(("value", "kind"), [("0.93", "text"), (True, "a boolean"), ([0.5], "a list")])
def test_a_metric_that_was_logged_as_no_number_is_said(capsys, value, kind):
    sweep_id, _ = create(capsys, {"lr": swept(1)}, "--metric", "acc", base={"acc": value, "lr": 0})
    code, err = work(capsys, sweep_id, "no_number")
    said = f"metric 'acc' was logged as {kind}; log a number (float(...) of it)"
    assert code == 0 and err.splitlines()[1] == said


def test_an_exit_code_that_a_function_returns_is_no_metric(capsys):
    sweep_id, _ = create(capsys, {"lr": swept(1)})
    assert "not recorded" not in work(capsys, sweep_id, "returns_code")[1]


def test_an_agent_that_ends_well_names_what_others_have_left(capsys):
    sweep_id, _ = create(capsys, {"lr": swept(1, 2, 3)})
    Path("end").write_text("failed")
    assert work(capsys, sweep_id, "ends_as_told", "--count", "1")[0] == 1
    Path("end").write_text("finished")
    _, err = work(capsys, sweep_id, "ends_as_told", "--resume")
    command = f"dysweep_run_resume --package functions --function ends_as_told --sweep_id {sweep_id}"
    assert err.splitlines()[-2:] == ["  whole sweep  1 finished, 2 left", f"  to continue  {command}"]
    Path("end").write_text("failed")
    assert work(capsys, sweep_id, "ends_as_told", "--count", "1")[0] == 1
    Path("end").write_text("finished")
    code, err = work(capsys, sweep_id, "ends_as_told")
    assert code == 0
    assert err.splitlines()[-2:] == [
        "  whole sweep  2 finished, 1 failed",
        f"  to resume    {command} --resume",
    ]


def test_a_table_goes_to_stdout_too(capsys):
    sweep_id, _ = create(capsys, {"lr": swept(1, 2)})
    assert work(capsys, sweep_id, "nothing")[0] == 0
    shown(capsys, sweep_id, "--csv", "runs.csv")
    assert shown(capsys, sweep_id, "--csv", "-") == Path("runs.csv").read_bytes().decode()
    assert not Path("-").exists()


@pytest.mark.processes
def test_a_full_disk_behind_stdout_is_one_line(capsys):
    sweep_id, _ = create(capsys, {"lr": swept(1, 2)})
    for command in (
        ["dysweep_status", "--json", "--sweep_id", sweep_id],
        ["dysweep_create", "-c", "config.json"],
    ):
        with open("/dev/full", "w") as full:
            process = Process(
                [SCRIPTS / command[0], *command[1:]], stdout=full, stderr=subprocess.PIPE, text=True
            )
            _, err = process.communicate()
        last = f"{command[0]}: the output cannot be written (No space left on device)"
        assert (process.returncode, err.splitlines()[-1]) == (1, last) and "Traceback" not in err


def test_a_metric_that_only_a_failed_run_has_logged_was_logged(capsys):
    sweep_id, _ = create(capsys, {"lr": swept(1, 2)}, "--metric", "acc")
    code, err = work(capsys, sweep_id, "fails_late")
    assert code == 1 and "1 failed" in err and "never logged" not in err


def test_a_resumed_run_keeps_the_metrics_that_it_does_not_log_again(capsys):
    sweep_id, _ = create(capsys, {"lr": swept(1)}, "--metric", "best", "--goal", "maximize")
    assert work(capsys, sweep_id, "resumes")[0] == 1
    code, err = work(capsys, sweep_id, "resumes", "--resume")
    assert code == 0 and "best 0.5" in err and "never logged" not in err
    [run] = json.loads(shown(capsys, sweep_id, "--json"))["runs"]
    assert run["metrics"] == {"acc": 2, "best": 0.5}
    assert work(capsys, sweep_id, "resumes", "--rerun_id", run["run_id"])[0] == 1
    assert work(capsys, sweep_id, "nothing", "--rerun_id", run["run_id"])[0] == 0
    [run] = json.loads(shown(capsys, sweep_id, "--json"))["runs"]
    assert run["metrics"] == {}


def test_a_run_resumed_after_a_rerun_from_scratch_has_nothing_of_the_time_before(capsys):
    sweep_id, _ = create(capsys, {"lr": swept(1)})
    assert work(capsys, sweep_id, "resumes")[0] == 1
    one = ["--rerun_id", f"{sweep_id}-0001"]
    assert work(capsys, sweep_id, "fails", *one)[0] == 1
    assert work(capsys, sweep_id, "nothing", "--resume")[0] == 0
    [run] = json.loads(shown(capsys, sweep_id, "--json"))["runs"]
    assert (run["attempts"], run["metrics"]) == (3, {})


@pytest.mark.parametrize(("goal", "best"), [("minimize", "acc.min 0.25"), ("maximize", "acc.max 0.75")])
def test_of_the_kept_aggregates_the_one_that_fits_the_goal_is_the_metric(capsys, goal, best):
    sweep_id, _ = create(capsys, {"lr": swept(1)}, "--metric", "acc", "--goal", goal)
    _, err = work(capsys, sweep_id, "kept")
    assert best in err and "never logged" not in err
    shown(capsys, sweep_id, "--html", "report.html")
    assert f"<span>best {best.split()[0]}</span><b>{best.split()[1]}</b>" in Path("report.html").read_text()


def test_a_metric_that_is_no_number_is_shown_and_leaves_json_valid(capsys):
    sweep_id, _ = create(capsys, {"lr": swept(1)}, "--metric", "acc", "--goal", "maximize")
    _, err = work(capsys, sweep_id, "infinite")
    assert "acc nan" in err and "never logged" not in err
    header, line = shown(capsys, sweep_id, "--runs").splitlines()
    assert header.split()[4:] == ["acc", "parameters", "metrics"]
    assert line.split()[-3:] == ["nan", "lr=1", "loss=inf"]

    def refuse(constant):
        raise AssertionError(constant)

    status = json.loads(shown(capsys, sweep_id, "--json"), parse_constant=refuse)
    assert status["runs"][0]["metrics"] == {"acc": None, "loss": None}
    shown(capsys, sweep_id, "--csv", "runs.csv")
    assert Path("runs.csv").read_text().strip().endswith("nan,inf")
    shown(capsys, sweep_id, "--html", "report.html")
    page = Path("report.html").read_text()
    assert '["nan","nan"]' in page and "No run has logged a number yet" in page


@pytest.mark.processes
@pytest.mark.parametrize(
    ("ends", "given_up"),
    [
        (["failed", "failed"], True),
        (["crashed", "failed"], True),
        (["failed", "crashed"], True),
        (["failed", "preempted", "failed"], True),
        (["failed", "preempted"], False),
        (["preempted", "preempted", "failed"], False),
        (["failed", "failed", "preempted"], True),
    ],
)
def test_resume_status_and_advice_agree_on_which_runs_are_given_up(capsys, ends, given_up):
    sweep_id, _ = create(capsys, {"lr": swept(1)})
    agent = ["--package", "functions", "--function", "ends_as_told", "--sweep_id", sweep_id]
    for place, end in enumerate(ends):
        Path("end").write_text(end)
        again = ["--rerun_id", f"{sweep_id}-0001", "--resume"] if place else []
        with Process([SCRIPTS / "dysweep_run_resume", *agent, *again], stderr=subprocess.DEVNULL) as process:
            process.wait()
    status = json.loads(shown(capsys, sweep_id, "--json", "--max_attempts", "2"))
    assert [attempt["outcome"] for attempt in status["runs"][0]["history"]] == ends
    assert status["runs"][0]["set_aside"] is given_up
    assert ("given up" in shown(capsys, sweep_id, "--max_attempts", "2")) is given_up
    Path("end").write_text("finished")
    _, err = work(capsys, sweep_id, "ends_as_told", "--max_attempts", "2")
    assert ("to resume" in err, "1 given up" in err) == (not given_up, given_up)
    code, err = work(capsys, sweep_id, "ends_as_told", "--max_attempts", "2", "--resume")
    assert code == 0 and ("1 run finished" in err) is not given_up


@pytest.mark.processes
def test_advice_can_be_pasted(capsys):
    sweep_id, told = create(capsys, {"lr": swept(1)}, "--default_root_dir", "my logs", "--allow_eval")
    where = f"--sweep_id {sweep_id} --default_root_dir 'my logs' --allow_eval True"
    assert told.splitlines()[-1].endswith(f"--function FUNCTION {where}")
    options = ["--default_root_dir", "my logs", "--allow_eval", "--run_additional_args", "seed:3"]
    code, err = work(capsys, sweep_id, "more", *options)
    [advice] = re.findall(r"to resume +(.*)", err)
    assert code == 1
    command = f"dysweep_run_resume --package functions --function more {where} --run_additional_args seed:3"
    assert advice == f"{command} --resume"
    pasted = subprocess.run(
        advice, shell=True, capture_output=True, text=True, timeout=180,
        env={**os.environ, "PATH": f"{SCRIPTS}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert pasted.returncode == 1 and "0 runs finished, 1 failed" in pasted.stderr


def test_the_estimate_counts_what_this_agent_may_still_execute(capsys):
    sweep_id, _ = create(capsys, {"lr": swept(1, 2, 3)})
    _, err = work(capsys, sweep_id, "nothing", "--count", "1")
    assert "left)" not in err
    other = Path(next(Path("dysweep_logs").glob("*/runs")), f"{sweep_id}-0003")
    other.mkdir()  # as another agent does that has taken the last point
    _, err = work(capsys, sweep_id, "nothing")
    assert " 2/3  " in f" {err}" and "left)" not in err


def test_a_grid_beyond_counting_stays_quick_and_readable(capsys):
    sweep = {f"p{place}": swept(*range(10_000)) for place in range(10)}
    sweep_id, told = create(capsys, sweep)
    assert told.startswith(f"sweep {sweep_id}: 1.0e40 runs, ") and "7, ... (10000 values)" in told
    _, err = work(capsys, sweep_id, "nothing", "--count", "2")
    assert "1/1.0e40  " in err
    _, err = work(capsys, sweep_id, "kept", "--count", "1")
    assert "3/1.0e40" in err
    assert "1.0e40 pending" in shown(capsys, sweep_id)
    assert len(shown(capsys, sweep_id, "--runs").splitlines()) == 4
    assert len(json.loads(shown(capsys, sweep_id, "--json"))["runs"]) == 3
    shown(capsys, sweep_id, "--html", "report.html")


@pytest.mark.processes
def test_an_estimate_beyond_a_month_is_none(capsys):
    sweep_id, _ = create(capsys, {f"p{place}": swept(*range(10_000)) for place in range(5)})
    Path("functions.py").write_text(FUNCTIONS + "\nclass Stop(BaseException): pass\n")
    agent = ["--package", "functions", "--function", "nothing", "--sweep_id", sweep_id]
    with Process([SCRIPTS / "dysweep_run_resume", *agent], stderr=subprocess.PIPE, text=True) as process:
        line = next(line for line in process.stderr if "/1.0e20" in line)
        process.kill()
    assert line.rstrip().endswith("(more than 30 d left)")


@pytest.mark.processes
@pytest.mark.parametrize("options", [["--json"], ["--runs"], []])
def test_a_closed_pipe_ends_a_command_silently(capsys, options):
    sweep_id, _ = create(capsys, {"lr": swept(*range(3))})
    assert work(capsys, sweep_id, "nothing")[0] == 0
    assert_silent(["dysweep_status", *(["--sweep_id", sweep_id] if options else []), *options])


@pytest.mark.processes
def test_a_closed_pipe_ends_creation_silently(capsys):
    create(capsys, {"lr": swept(*range(3))})
    for option in ("--dry_run", "--print_config"):
        assert_silent(["dysweep_create", "-c", "config.json", option])


@pytest.mark.processes
@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["dysweep"], 141),
        (["dysweep", "--version"], 141),
        (["dysweep", "--print_completion", "bash"], 141),
        (["dysweep_create", "--help"], 0),  # argparse itself lets a closed pipe pass
        (["dysweep_run_resume", "--version"], 0),
        (["dysweep_status", "--print_completion", "zsh"], 141),
        (["dysweep_create", "--print_schema"], 141),
    ],
)
def test_a_closed_pipe_ends_help_silently(command, code):
    assert_silent(command, code)


@pytest.mark.processes
@pytest.mark.parametrize("streams", [["stdout"], ["stderr"], ["stdout", "stderr"]])
def test_an_agent_trains_and_logs_when_nobody_reads_its_output_any_more(capsys, streams):
    sweep_id, _ = create(capsys, {"lr": swept(1, 2)})
    reader, writer = os.pipe()
    os.close(reader)
    agent = ["--package", "functions", "--function", "prints", "--sweep_id", sweep_id]
    elsewhere = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [SCRIPTS / "dysweep_run_resume", *agent]
    with Process(command, **{**elsewhere, **dict.fromkeys(streams, writer)}) as process:
        os.close(writer)
        assert process.wait() == 0
    assert_all_is_logged(capsys, sweep_id)


@pytest.mark.processes
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_an_agent_with_closed_streams_trains_and_logs(capsys, closed):
    sweep_id, _ = create(capsys, {"lr": swept(1, 2)})
    agent = f"dysweep_run_resume --package functions --function prints --sweep_id {sweep_id} {closed}"
    with Process(["sh", "-c", f'"{SCRIPTS}"/{agent}'], stdout=subprocess.PIPE, text=True) as process:
        out, _ = process.communicate()
    assert process.returncode == 0 and "finished" not in out
    assert_all_is_logged(capsys, sweep_id)


def assert_all_is_logged(capsys, sweep_id):
    for run in json.loads(shown(capsys, sweep_id, "--json"))["runs"]:
        assert (run["state"], run["metrics"]) == ("finished", {"acc": 1})
        log = shown(capsys, sweep_id, "--log", run["run_id"])
        assert "part 19" in log and "warning 19" in log
        assert "from a program" not in log  # what a child prints has no place but the agent's own output


@pytest.mark.processes
@pytest.mark.parametrize("closed", [">&-", "2>&-", "2>&1 | true"])
def test_creation_with_closed_streams_creates_and_prints_nothing_but_the_id_on_stdout(capsys, closed):
    create(capsys, {"lr": swept(*range(3))})
    command = f'"{SCRIPTS}"/dysweep_create -c config.json --default_root_dir closed {closed}'
    with Process(["sh", "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        out, err = process.communicate()
    [created] = Path("closed").iterdir()
    assert out in ("", created.name.removeprefix("checkpoints-") + "\n")
    assert "Traceback" not in err and "Error" not in err


def assert_silent(command, code=141):
    reader, writer = os.pipe()
    os.close(reader)
    with Process(
        [SCRIPTS / command[0], *command[1:]], stdout=writer, stderr=subprocess.PIPE, text=True
    ) as process:
        os.close(writer)
        _, err = process.communicate()
    assert (process.returncode, err) == (code, "")


def test_an_agent_ends_with_the_best_run_of_all_and_the_next_command(capsys):
    sweep_id, _ = create(capsys, {"lr": swept(3, 1, 1.0, 0.5), "model": swept("net")}, "--metric", "acc")
    command = f"dysweep_run_resume --package functions --function logs_lr --sweep_id {sweep_id}"
    code, err = work(capsys, sweep_id, "logs_lr", "--count", "1")
    assert code == 0 and err.splitlines()[1:] == [
        f"1 run finished; results in dysweep_logs/checkpoints-{sweep_id}",
        "  whole sweep  1 finished, 3 left",
        f"  best so far  acc 3  {sweep_id}-0001  lr=3, model=net",
        f"  to continue  {command}",
    ]
    code, err = work(capsys, sweep_id, "logs_lr")
    assert code == 1 and err.splitlines()[-4:] == [
        f"2 runs finished, 1 failed; results in dysweep_logs/checkpoints-{sweep_id}",
        "  whole sweep  3 finished, 1 failed",
        f"  best so far  acc 1  {sweep_id}-0002  lr=1, model=net  (1 of 2 runs with this value)",
        f"  to resume    {command} --resume",
    ]
