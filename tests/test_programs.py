"""Programs that execute runs: unchanged scripts, in any language, and what becomes of them."""

import json
import os
import shlex
import signal
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers import create, directory, run_of, states, wait_for

from dysweep import ConfigError, ProgramError, cli, dysweep_run_resume, open_sweep

CONFIG = """
base_config: {lr: 0.1, model: {depth: 2, name: a b}, tags: [x, 1], none: null, flag: true}
sweep_configuration:
  parameters:
    lr: {sweep: true, values: [1.0, 2.0]}
    model: {sweep: true, sweep_alias: [deep], values: [{depth: 9}]}
"""
PROGRAMS = {
    "argv.py": """
import json, sys
json.dump(sys.argv[1:], open("argv.json", "w"))
""",
    "plain.py": """
import argparse, wandb
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
args, _ = parser.parse_known_args()
run = wandb.init(project="mine", name="x", config={"lr": 7.0, "batch": 32})
assert wandb.config.lr == args.lr and wandb.config.batch == 32
print("training", args.lr)
for step in range(3):
    run.log({"loss": args.lr * step})
""",
    "asks.py": """
import dysweep, json, sys, os
run = dysweep.current_run()
assert run.config == json.load(open(sys.argv[1])), sys.argv
assert run.checkpoint_dir.is_dir() and run.run_dir == run.checkpoint_dir.parent
json.dump({"attempt": run.attempt, "lr": run.config["lr"]}, open(run.run_dir / "metrics.json", "w"))
print(run.run_id, run.sweep_id)
assert sys.stdin.read() == ""
""",
    "ends.py": """
import os, signal, sys
print("first line")
print("the last line")
sys.stdout.flush()
how = sys.argv[1]
if how.startswith("SIG"):
    os.kill(os.getpid(), int(how[3:]) if how[3:].isdecimal() else getattr(signal, how))
sys.exit(int(how))
""",
    "leaves.py": """
import os, subprocess, sys
child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
open("left", "w").write(str(child.pid))
if sys.argv[1:] == ["forks"] and os.fork():
    os._exit(0)
if sys.argv[1:] == ["closes"]:
    os.close(1), os.close(2)
""",
    "talks.py": """
import sys
for step in range(500):
    sys.stderr.write(f"\\rtraining {step}/500")
sys.stderr.write("\\n")
print("windows\\r")
print("no end", end="")
""",
    "train.sh": """
for word in "$@"; do echo "word $word"; done
printf '{"loss": %s}' "$(wc -c < "$DYSWEEP_CONFIG")" > "$DYSWEEP_RUN_DIR/metrics.json"
touch "$DYSWEEP_CHECKPOINT_DIR/saved"
""",
    "app.py": """
import hydra, wandb
from omegaconf import OmegaConf

@hydra.main(version_base=None, config_path='conf', config_name='config')
def main(config):
    wandb.init(project="mine", config=OmegaConf.to_container(config))
    wandb.log({"loss": config.lr * config.model.depth})

main()
""",
    "floods.py": """
print("the beginning")
for number in range(100_000):
    print("line", number, "x" * 20)
print("the end")
""",
    "waits.py": """
import os, signal, sys, time, wandb
from pathlib import Path
saved = Path(os.environ["DYSWEEP_CHECKPOINT_DIR"]) / "step"
first = int(saved.read_text()) if saved.exists() else 0
if sys.argv[1] == "ignores":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if sys.argv[1] == "saves":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
run = wandb.init(project="mine")
for step in range(first, 5):
    run.log({"step": step}, step=step)
    saved.write_text(str(step + 1))
    if step == 2 and first == 0:
        Path("pid").write_text(str(os.getpid()))
        while not Path("enough").exists():
            time.sleep(0.02)
""",
}


@pytest.fixture(autouse=True)
def programs(own_folder):
    (own_folder / "config.yaml").write_text(CONFIG)
    for name, text in PROGRAMS.items():
        (own_folder / name).write_text(text)


def python(*words):
    return shlex.join([sys.executable, *words])


def work(sweep_id, command, *arguments):
    return cli.run_resume(["--sweep_id", sweep_id, "--command", command, *arguments])


def is_alive(pid):
    return Path(f"/proc/{pid}").exists()


def test_an_unchanged_script_joins_its_run(capfd):
    sweep_id = create(capfd)
    assert work(sweep_id, python("plain.py") + " {args}", "--run_name", "lr{lr}") == 0
    out, err = capfd.readouterr()
    assert out == "training 1.0\ntraining 2.0\n"
    assert "1/2  " in err and "loss" not in err.split("finished")[0]
    sweep = open_sweep(sweep_id)
    assert [run.metrics for run in sweep.runs] == [{"loss": 2.0}, {"loss": 4.0}]
    for run in directory().runs():
        assert "training" in run.last_attempt().log_path.read_text()
        # One start by the program; one more gives the run the sweep's group and name.
        starts = list(run.path.glob("wandb/offline-run-*"))
        assert len(starts) == 2 and all(run.run_id in path.name for path in starts)


@pytest.mark.parametrize("place", [".", "{run_dir}/logs", "{run_dir}/logs/{attempt}"])
def test_what_a_script_writes_to_a_dir_of_its_own_is_its_runs_too(capfd, place):
    """Lightning's logger gives W&B a `dir` whatever WANDB_DIR says, `.` by default."""
    Path("own.py").write_text(
        "import os, sys, wandb\n"
        "os.makedirs(sys.argv[1], exist_ok=True)\n"
        "run = wandb.init(dir=sys.argv[1])\n"
        "run.log({'loss': run.config.lr, 'attempt': int(os.environ['DYSWEEP_ATTEMPT'])})\n"
        "sys.exit(int(sys.argv[2]) - 1)\n"
    )
    Path("wandb/offline-run-20260101_000000-another").mkdir(parents=True)
    sweep_id = create(capfd)
    assert (
        work(sweep_id, f"{python('own.py')} {place} 2", "--count", "1") == 1
    )  # it fails after it has logged
    assert work(sweep_id, f"{python('own.py')} {place} 1", "--resume") == 0
    [run] = open_sweep(sweep_id).runs[:1]
    assert run.state == "finished" and run.metrics == {"loss": 1.0, "attempt": 2}
    written = [path.name for path in Path().rglob("offline-run-*") if path.is_dir()]
    kept = [path.name for path in run_of(sweep_id).path.glob("wandb/offline-run-*")]
    assert sorted(written) == sorted([*kept, "offline-run-20260101_000000-another"]) and len(kept) >= 2


def test_a_script_finds_the_whole_tree_in_wandb_config_where_that_is_asked_for(capfd):
    sweep_id = create(capfd)
    script = "import wandb; wandb.init(config={{'flag': 0}}); print(wandb.config.flag, wandb.config.model)"
    command = shlex.join([sys.executable, "-c", script])
    assert work(sweep_id, command, "--wandb_config", "tree", "--count", "1") == 0
    assert capfd.readouterr().out == "True deep\n"


def test_a_program_without_wandb_reports_by_a_file_and_gets_a_run(capfd):
    sweep_id = create(capfd)
    assert work(sweep_id, python("asks.py") + " {config}") == 0
    sweep = open_sweep(sweep_id)
    assert [run.metrics for run in sweep.runs] == [{"attempt": 1, "lr": 1.0}, {"attempt": 1, "lr": 2.0}]
    assert capfd.readouterr().out.splitlines() == [f"{sweep_id}-000{n} {sweep_id}" for n in (1, 2)]
    [folder] = run_of(sweep_id).path.glob("wandb/offline-run-*")
    assert folder.name.endswith(f"{sweep_id}-0001")


def test_a_shell_script_is_a_program(capfd):
    sweep_id = create(capfd)
    assert work(sweep_id, "sh train.sh {params}") == 0
    assert capfd.readouterr().out.splitlines()[:2] == ["word --lr=1.0", "word --model=deep"]
    [first, second] = open_sweep(sweep_id).runs
    assert first.metrics["loss"] == (run_of(sweep_id).path / "run_config.json").stat().st_size
    assert (run_of(sweep_id, 2).checkpoint_path / "saved").exists() and second.state == "finished"


@pytest.mark.skipif(find_spec("hydra") is None, reason="Hydra is not installed")
def test_an_unchanged_hydra_app_is_a_program(capfd):
    Path("config.yaml").write_text(
        "base_config: {lr: 0.5, model: {depth: 2, name: mlp}, layers: [1, 2]}\n"
        "sweep_configuration: {model: {depth: {sweep: true, values: [3, 4]}}}\n"
    )
    sweep_id = create(capfd)
    Path("conf").mkdir()
    Path("conf/config.yaml").write_text("lr: 0.1\nmodel: {depth: 1, name: x}\nlayers: []\n")
    assert work(sweep_id, python("app.py") + " {args_no_hyphens}") == 0
    assert [run.metrics for run in open_sweep(sweep_id).runs] == [{"loss": 1.5}, {"loss": 2.0}]


WORDS = {
    "args": (
        ["{args}"],
        ["--lr=1.0", "--model.depth=9", "--model.name=a b", '--tags=["x", 1]', "--none=null", "--flag=True"],
    ),
    "hydra": (
        ["{args_no_hyphens}"],
        ["lr=1.0", "model.depth=9", "model.name=a b", 'tags=["x", 1]', "none=null", "flag=True"],
    ),
    "params": (["{params}"], ["--lr=1.0", "--model=deep"]),
    "texts": (["{run_id}-{attempt}", "{{{sweep_id}}}"], ["ID-0001-1", "{ID}"]),
    "of W&B": (["${args}", "${args_no_hyphens}"], ["--lr=1.0", "--model=deep", "lr=1.0", "model=deep"]),
    "json of W&B": (["${args_json}"], ['{"lr": 1.0, "model": "deep"}']),
    "a variable": (["${envvar:PLACE}!"], ["here!"]),
}


@pytest.mark.parametrize(("words", "expected"), WORDS.values(), ids=WORDS)
def test_placeholders_stand_for_what_the_run_has(capfd, monkeypatch, words, expected):
    monkeypatch.setenv("PLACE", "here")
    sweep_id = create(capfd)
    assert work(sweep_id, shlex.join([sys.executable, "argv.py", *words]), "--count", "1") == 0
    assert json.loads(Path("argv.json").read_text()) == [word.replace("ID", sweep_id) for word in expected]


def test_the_program_and_the_command_of_a_sweep_file_of_wandb_are_executed_where_it_is_given(capfd):
    text = CONFIG.replace("  parameters:", "  program: argv.py\n  parameters:")
    Path("config.yaml").write_text(text)
    sweep_id = create(capfd)
    assert cli.run_resume(["-c", "config.yaml", "--sweep_id", sweep_id, "--count", "1"]) == 0
    assert json.loads(Path("argv.json").read_text()) == ["--lr=1.0", "--model=deep"]
    Path("argv.json").unlink()
    assert (
        cli.run_resume(["--sweep_id", sweep_id]) == 2
    )  # not from the sweep's record, where others may write
    assert not Path("argv.json").exists() and "--command" in capfd.readouterr().err


def test_the_command_of_a_file_is_a_text_or_a_list(capfd):
    for command in ("python argv.py '{run_id} x'", ["python", "argv.py", "{run_id} x"]):
        Path("config.yaml").write_text(CONFIG + f"command: {json.dumps(command)}\n")
        assert cli.run_resume(["-c", "config.yaml", "--count", "1"]) == 0
        assert json.loads(Path("argv.json").read_text())[0].endswith("-0001 x")


def test_a_function_of_a_file_is_executed_too(capfd):
    Path("functions.py").write_text("def main(config, checkpoint_dir): print('lr', config['lr'])\n")
    Path("config.yaml").write_text(CONFIG + "package: functions\nfunction: main\n")
    sweep_id = create(capfd)
    assert cli.run_resume(["-c", "config.yaml", "--sweep_id", sweep_id]) == 0
    assert capfd.readouterr().out == "lr 1.0\nlr 2.0\n"


ENDS = {
    "0": ("finished", None),
    "3": ("failed", "exit code 3: the last line"),
    "75": ("preempted", None),
    "SIGSEGV": ("crashed", "ended by SIGSEGV"),
    "SIG40": ("crashed", "ended by signal 40"),  # a real-time signal
    "SIGKILL": ("crashed", "ended by SIGKILL (the kernel, if memory ran out)"),
    "SIGTERM": ("crashed", "ended by SIGTERM"),
}


@pytest.mark.parametrize("how", ENDS)
def test_its_exit_code_is_its_outcome(capfd, how):
    state, message = ENDS[how]
    sweep_id = create(capfd)
    code = work(sweep_id, python("ends.py", how), "--count", "1")
    assert code == {"finished": 0, "preempted": 128 + signal.SIGTERM}.get(state, 1)
    [run] = [run for run in open_sweep(sweep_id).runs if run.attempts]
    assert (run.state, run.error and run.error["message"]) == (state, message)
    if message:
        assert run.error["traceback"].splitlines() == ["first line", "the last line"]
    assert "Traceback" not in capfd.readouterr().err


def test_a_program_that_crashes_in_one_run_does_not_keep_the_others_from_finishing(capfd):
    sweep_id = create(capfd)
    command = shlex.join(
        [
            sys.executable,
            "-c",
            "import os, sys, json; json.load(open(sys.argv[1]))['lr'] == 1.0 and os.kill(os.getpid(), 11)",
            "{config}",
        ]
    )
    assert work(sweep_id, command, "--recover") == 1
    sweep = open_sweep(sweep_id)
    assert [(run.state, run.attempts) for run in sweep.runs] == [("crashed", 3), ("finished", 1)]
    assert sweep.runs[0].set_aside


@pytest.mark.parametrize("how", ["stays", "forks", "closes"])
def test_what_it_leaves_running_ends_with_it(capfd, how):
    sweep_id = create(capfd)
    assert work(sweep_id, python("leaves.py", how), "--count", "1") == 0
    assert not is_alive(Path("left").read_text())


def test_a_line_that_is_overwritten_is_kept_as_it_was_at_last(capfd):
    sweep_id = create(capfd)
    assert work(sweep_id, python("talks.py"), "--count", "1") == 0
    log = run_of(sweep_id).last_attempt().log_path.read_bytes()
    assert sorted(log.split(b"\n")) == [b"", b"no end", b"training 499/500", b"windows"]
    assert capfd.readouterr().err.count("training") == 500


def test_of_a_long_log_the_middle_is_cut(capfd):
    sweep_id = create(capfd)
    assert work(sweep_id, python("floods.py"), "--count", "1", "--max_log_mb", "0.1") == 0
    log = run_of(sweep_id).last_attempt().log_path.read_text()
    assert len(log) < 110_000
    first, *_, last = log.splitlines()
    assert (first, last) == ("the beginning", "the end") and "cut by dysweep" in log


WRONG = {
    "nothing": ([], "--package: missing; say which function executes a run"),
    "both": (["--command", "true", "--package", "p", "--function", "f"], "command: a function is given, too"),
    "no such program": (
        ["--command", "no_such_program {config}"],
        "no_such_program is not found",
    ),
    "not executable": (
        ["--command", "./argv.py"],
        "./argv.py is not executable; did you mean python ./argv.py?",
    ),
    "an open quote": (["--command", "python 'train.py"], "cannot be split into words (No closing quotation)"),
    "empty": (["--command", " "], "command: is empty"),
    "unknown placeholder": (
        ["--command", "true {cnofig}"],
        "unknown placeholder {cnofig}; did you mean 'config'?",
    ),
    "unknown of W&B": (["--command", "true ${argz}"], "unknown placeholder ${argz}; did you mean 'args'?"),
    "a brace": (["--command", "true {"], "a { without its other half; write {{ for a {"),
    "several words": (["--command", "true x{args}"], "becomes several words; write it with blanks around it"),
    "no program": (["--command", "true ${program}"], "${program}: missing"),
    "no variable": (["--command", "true ${envvar:NOT_SET}"], "the environment has no NOT_SET"),
    "arguments": (
        ["--command", "true", "--run_additional_args", "a:1"],
        "run_additional_args: is for a function",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_command_is_one_line_before_anything_is_claimed(capfd, case):
    words, message = WRONG[case]
    sweep_id = create(capfd)
    assert cli.run_resume(["--sweep_id", sweep_id, *words]) == 2
    err = capfd.readouterr().err
    assert message in err and err.count("\n") == 1
    assert not states()


def test_nul_in_a_value_fails_the_run_with_a_word(capfd):
    Path("config.yaml").write_text(
        'base_config: {a: "x\\0y"}\nsweep_configuration: {b: {sweep: true, values: [1]}}\n'
    )
    sweep_id = create(capfd)
    assert work(sweep_id, python("argv.py") + " {args}") == 1
    [run] = open_sweep(sweep_id).runs
    assert run.state == "failed" and "cannot hold NUL; use {config}" in run.error["message"]


def test_in_python_a_command_takes_the_place_of_a_function():
    settings = {"base_config": {}, "sweep_configuration": {"lr": {"sweep": True, "values": [1, 2]}}}
    sweep_id = dysweep_run_resume(command=[sys.executable, "-c", "pass"], **settings)
    assert open_sweep(sweep_id).counts == {"finished": 2}
    with pytest.raises(ConfigError, match="a function is given, too"):
        dysweep_run_resume(sweep_id=sweep_id, command="true", function=lambda config, checkpoint_dir: None)
    with pytest.raises(ProgramError, match="exit code 5"):
        run_id = open_sweep(sweep_id).runs[0].run_id
        command = [sys.executable, "-c", "raise SystemExit(5)"]
        dysweep_run_resume(sweep_id=sweep_id, command=command, rerun_id=run_id)


@pytest.mark.parametrize("how", ["saves", "dies", "ignores"])
def test_a_signal_reaches_the_program_once_and_the_run_is_resumed(start, capfd, how):
    sweep_id = create(capfd)
    command = ["--sweep_id", sweep_id, "--command", python("waits.py", how), "--count", "1"]
    agent = start("dysweep_run_resume", *command, "--grace", "2" if how == "ignores" else "60")
    pid = wait_for(lambda: Path("pid").exists() and Path("pid").read_text())
    agent.send_signal(signal.SIGTERM)
    agent.send_signal(signal.SIGUSR1)
    _, err = agent.communicate()
    assert agent.returncode in (128 + signal.SIGTERM, 128 + signal.SIGUSR1), err
    assert "Traceback" not in err and not is_alive(pid)
    assert open_sweep(sweep_id).counts == {"preempted": 1, "pending": 1}
    Path("enough").touch()
    assert cli.run_resume([*command, "--resume"]) == 0
    [run] = [run for run in open_sweep(sweep_id).runs if run.attempts]
    assert (run.state, run.attempts, run.metrics["step"]) == ("finished", 2, 4)


def test_a_program_does_not_outlive_its_agent(start, capfd):
    sweep_id = create(capfd)
    command = ["--sweep_id", sweep_id, "--command", python("waits.py", "ignores"), "--grace", "1"]
    agent = start("dysweep_run_resume", *command)
    pid = wait_for(lambda: Path("pid").exists() and Path("pid").read_text())
    agent.kill()
    agent.communicate()
    wait_for(lambda: not is_alive(pid))
    Path("enough").touch()
    assert cli.run_resume([*command, "--recover"]) == 0
    assert [(run.state, run.attempts) for run in open_sweep(sweep_id).runs] == [
        ("finished", 2),
        ("finished", 1),
    ]


def test_a_program_that_is_killed_is_crashed_and_the_agent_continues(start, capfd):
    sweep_id = create(capfd)
    agent = start("dysweep_run_resume", "--sweep_id", sweep_id, "--command", python("waits.py", "dies"))
    pid = int(wait_for(lambda: Path("pid").exists() and Path("pid").read_text()))
    Path("enough").touch()
    os.kill(pid, signal.SIGKILL)
    _, err = agent.communicate()
    assert agent.returncode == 1, err
    assert open_sweep(sweep_id).counts == {"crashed": 1, "finished": 1}


def test_all_processes_of_a_job_are_signalled_and_the_run_is_preempted(start, capfd):
    sweep_id = create(capfd)
    command = ["--sweep_id", sweep_id, "--command", python("waits.py", "saves"), "--count", "1"]
    agent = start("dysweep_run_resume", *command)
    pid = int(wait_for(lambda: Path("pid").exists() and Path("pid").read_text()))
    supervisor = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    for each in (supervisor, pid, agent.pid):  # as a batch system does
        os.kill(each, signal.SIGTERM)
    _, err = agent.communicate()
    assert agent.returncode == 128 + signal.SIGTERM, err
    assert open_sweep(sweep_id).counts == {"preempted": 1, "pending": 1}
    assert not is_alive(supervisor) and not is_alive(pid)
    Path("enough").touch()
    assert cli.run_resume([*command, "--resume"]) == 0


def test_a_killed_supervisor_ends_the_program_and_not_the_agent(start, capfd):
    sweep_id = create(capfd)
    agent = start("dysweep_run_resume", "--sweep_id", sweep_id, "--command", python("waits.py", "saves"))
    pid = int(wait_for(lambda: Path("pid").exists() and Path("pid").read_text()))
    supervisor = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    Path("enough").touch()
    os.kill(supervisor, signal.SIGKILL)
    _, err = agent.communicate()
    assert agent.returncode == 1 and not is_alive(pid), err
    assert open_sweep(sweep_id).counts == {"crashed": 1, "finished": 1}
