"""Let a command end badly at each of its calls that change the sweep directory, and see that nothing is lost.

    python tests/crash_points.py                         every call of every command, in every way: hours
    python tests/crash_points.py --command agent --how kill --every 5

After each, `dysweep_status` tells the truth, and an agent with `--recover` (for what has failed, `--resume`)
finishes every point of the grid exactly once. Needs a C compiler. The processes are forked from this one,
which has imported everything.
"""

import argparse
import ctypes
import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

HERE = Path(__file__).parent
LIBRARY = "CRASH_POINTS_LIBRARY"
COUNT, KILL, FAIL, FAIL_FROM_HERE, LOSE_THE_REPLY, TEAR, TERMINATE, RECORD = range(8)
HOW = {  # what happens, with which error, to which calls
    "kill": (KILL, 0, b""),
    "SIGTERM": (TERMINATE, 0, b""),
    "EIO": (FAIL, errno.EIO, b""),
    "ENOSPC": (FAIL_FROM_HERE, errno.ENOSPC, b""),
    "EDQUOT": (FAIL_FROM_HERE, errno.EDQUOT, b""),
    "EINTR": (FAIL, errno.EINTR, b""),
    "ESTALE": (FAIL, errno.ESTALE, b""),
    "lost": (LOSE_THE_REPLY, 0, b""),
    "torn": (TEAR, 0, b""),
    "no links": (FAIL_FROM_HERE, errno.EPERM, b"link"),
    "no locks": (FAIL_FROM_HERE, errno.ENOSYS, b"flock"),
}
CONFIG = """
base_config: {lr: 1.0}
sweep_configuration: {lr: {sweep: true, values: [1.0, 2.0]}}
"""
FUNCTIONS = """
import os, signal, wandb

def trains(config, checkpoint_dir):
    (checkpoint_dir / "seen").touch()
    print("trained")
    wandb.log({"loss": config["lr"]})

def _first(config, checkpoint_dir):
    if config["lr"] == 1.0 and not (checkpoint_dir / "seen").exists():
        (checkpoint_dir / "seen").touch()
        return True

def fails(config, checkpoint_dir):
    if _first(config, checkpoint_dir):
        raise ValueError("the loss is nan")
    trains(config, checkpoint_dir)

def is_terminated(config, checkpoint_dir):
    if _first(config, checkpoint_dir):
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    trains(config, checkpoint_dir)

def vanishes(config, checkpoint_dir):
    if _first(config, checkpoint_dir):
        os.kill(os.getpid(), signal.SIGKILL)
    trains(config, checkpoint_dir)
"""
FIRST = "the first run"
AGENT = ["--package", "work", "--lease", "1"]
# What was there before, by the function of an agent that worked on a new sweep, and the command on top of it.
COMMANDS = {
    "create": (None, ["create", "-c", "config.yaml"]),
    "agent": ("", ["run", "--function", "trains"]),
    "failing agent": ("", ["run", "--function", "fails"]),
    "terminated agent": ("", ["run", "--function", "is_terminated"]),
    "resume of a preempted run": ("is_terminated", ["run", "--function", "trains", "--resume"]),
    "resume of a crashed run": ("vanishes", ["run", "--function", "trains", "--resume"]),
    "resume of a failed run": ("fails", ["run", "--function", "trains", "--resume"]),
    "rerun": ("trains", ["run", "--function", "trains", "--rerun_id", FIRST]),
    "rerun that deletes": (
        "trains",
        ["run", "--function", "trains", "--rerun_id", FIRST, "--delete_checkpoints", "True"],
    ),
    "recover": ("vanishes", ["run", "--function", "trains", "--recover", "True"]),
    "sync": ("trains", ["sync"]),
}


def compiled(folder):
    """Compile the library that is preloaded; None without a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    library = Path(folder) / "crash_points.so"
    source = HERE / "crash_points.c"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def run(words, folder, what=(COUNT, 0, b""), number=0, seconds=60):
    """Execute a command in a process of its own; return its exit status, and the calls that it told of."""
    told = tempfile.TemporaryFile("w+")
    pid = os.fork()
    if pid == 0:
        os.chdir(folder)
        sys.path.insert(0, str(folder))
        said = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(said, 1)
        os.dup2(said, 2)
        os.setpgid(0, 0)
        code = 70
        try:
            from dysweep import cli

            library = ctypes.CDLL(os.environ[LIBRARY])
            library.arm(os.fsencode(folder / "dysweep_logs"), *what, ctypes.c_long(number), told.fileno())
            command = {"create": cli.create, "run": cli.run_resume, "sync": cli.sync}[words[0]]
            code = command(words[1:])
        except BaseException as problem:
            import traceback

            traceback.print_exception(problem)
        finally:
            import wandb

            sys.stdout.flush()
            wandb.teardown()
            os._exit(code)
    end = time.monotonic() + seconds
    while not (done := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > end:
            os.killpg(pid, signal.SIGABRT)
            os.waitpid(pid, 0)
            return "no end", ""
        time.sleep(0.005)
    told.seek(0)
    with told:
        return os.waitstatus_to_exitcode(done[1]), told.read().strip("\n")


def status(folder):
    """Return what dysweep_status tells of the only sweep below a folder; None if there is none."""
    from dysweep import cli

    found = list((folder / "dysweep_logs").glob("*/sweep.json"))
    if not found:
        return None
    out = io.StringIO()
    with redirect_stdout(out):
        sweep_id = found[0].parent.name.removeprefix("checkpoints-")
        root = ["--default_root_dir", str(folder / "dysweep_logs")]
        assert cli.status(["--sweep_id", sweep_id, "--json", *root]) == 0
    return json.loads(out.getvalue())


def with_sweep(words, folder):
    if words[0] == "create":
        return words
    seen = status(folder)
    named = [seen["runs"][0]["run_id"] if word == FIRST else word for word in words]
    return [*named, *([] if words[0] == "sync" else AGENT), "--sweep_id", seen["sweep_id"]]


def prepare(before, folder):
    folder.mkdir()
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "work.py").write_text(FUNCTIONS)
    if before is not None:
        assert run(["create", "-c", "config.yaml"], folder)[0] == 0
    if before:
        run(with_sweep(["run", "--function", before], folder), folder)
        if before == "is_terminated":
            assert status(folder)["counts"].get("preempted") == 1


def problem_after_sync(words, folder, server):
    """Return what is wrong after a sync that ended badly; None if nothing is."""
    code, _ = run(words, folder)
    if code != 0:
        return f"the next sync ended with {code}"
    runs = list(server.backend.runs.values())
    if len(server.backend.sweeps) != 1:
        return f"W&B has {len(server.backend.sweeps)} sweeps"
    if [run.state for run in runs] != ["finished"] * 2 or len({run.sweep for run in runs}) != 1:
        return f"W&B has {[(run.name, run.state, run.sweep) for run in runs]}"
    return None


def problem_after(words, folder, code):
    """Return what is wrong after a command that ended badly; None if nothing is."""
    if words[0] == "create":
        seen = status(folder)
        if (code == 0) != (seen is not None) and code >= 0:
            return f"exit code {code}, and the sweep is {'there' if seen else 'missing'}"
        if seen is None and run(["create", "-c", "config.yaml"], folder)[0] != 0:
            return "it cannot be created any more"
    seen = status(folder)
    if seen["damaged"]:
        return f"damaged: {seen['damaged']}"
    finished = {run["run_id"] for run in seen["runs"] if run["state"] == "finished"}
    ends = {run["run_id"]: run["attempts"] for run in seen["runs"]}
    for more in (["--recover", "True"], ["--resume"]):
        if more == ["--resume"] and not status(folder)["counts"].get("failed"):
            continue
        done, _ = run(with_sweep(["run", "--function", "trains", *more], folder), folder)
        if done != 0:
            return f"the next agent ({more[0]}) ended with {done}"
    seen = status(folder)
    if seen["counts"] != {"finished": 2} or seen["damaged"]:
        return f"in the end {seen['counts']}, damaged {seen['damaged']}"
    if sorted(run["assignment"]["lr"] for run in seen["runs"]) != [1.0, 2.0]:
        return "a point was lost or executed as two runs"
    again = [run["run_id"] for run in seen["runs"] if run["run_id"] in finished]
    if any(run["attempts"] > ends[run["run_id"]] for run in seen["runs"] if run["run_id"] in again):
        return "a finished run was executed again"
    return None


@contextmanager
def served(words):
    """Let W&B's test server answer what needs it."""
    if words[0] != "sync":
        yield None
        return
    from wandb_server import Server

    server = Server().start()
    before = {name: os.environ.get(name) for name in server.environment}
    os.environ.update(server.environment)
    try:
        yield server
    finally:
        os.environ.update({name: value for name, value in before.items() if value is not None})
        server.stop()


def try_command(name, how, every, workspace):
    """Let a command end badly at every n-th of its calls; return how many were tried, and what went wrong."""
    before, words = COMMANDS[name]
    template = workspace / "template"
    prepare(before, template)
    tried, wrong = 0, []
    for number in range(1, 10_000, every):
        folder = workspace / "trial"
        shutil.copytree(template, folder)
        with served(words) as server:
            whole = with_sweep(words, folder)
            code, call = run(whole, folder, HOW[how], number)
            if not call:
                shutil.rmtree(folder)
                break
            tried += 1
            if code == "no end":
                problem = "it does not end"
            elif server is not None:
                problem = problem_after_sync(whole, folder, server)
            else:
                problem = problem_after(words, folder, code)
        if problem is None and code not in (0, 1, 2, 128 + signal.SIGTERM, -signal.SIGTERM, -signal.SIGKILL):
            problem = f"exit code {code}"
        if problem is None and "Traceback" in (said := (folder / "said").read_text()):
            problem = "a traceback" if "the loss is nan" not in said else None
        if problem is not None:
            kept = workspace / f"{name.replace(' ', '-')}-{how}-{number}"
            folder.rename(kept)
            wrong.append(
                {"number": number, "call": call, "exit": code, "problem": problem, "kept": str(kept)}
            )
        else:
            shutil.rmtree(folder)
    shutil.rmtree(template)
    return tried, wrong


def preload():
    """Go on in a process that has the library, and that has imported what all forked ones need."""
    if LIBRARY not in os.environ:
        with tempfile.TemporaryDirectory() as folder:
            library = compiled(folder)
            if library is None:
                sys.exit("no C compiler (cc)")
            own = {LIBRARY: str(library), "LD_PRELOAD": str(library)}
            environment = {**os.environ, **own, "WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false"}
            sys.exit(subprocess.run([sys.executable, *sys.argv], env=environment, check=False).returncode)
    import wandb  # noqa: F401

    from dysweep import cli  # noqa: F401


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--command", action="append", choices=COMMANDS)
    parser.add_argument("--how", action="append", choices=HOW)
    parser.add_argument("--every", type=int, default=1, help="try every n-th call")
    given = parser.parse_args()
    preload()
    found = Counter()
    folder = Path(tempfile.mkdtemp())
    for name in given.command or COMMANDS:
        for how in given.how or HOW:
            tried, wrong = try_command(name, how, given.every, folder)
            found.update(tried=tried, wrong=len(wrong))
            print(f"{name:<26} {how:<8} {tried:>4} calls, {len(wrong)} wrong", flush=True)
            for each in wrong:
                print(f"    {each}", flush=True)
    if not found["wrong"]:
        shutil.rmtree(folder)
    print(f"{found['tried']} tried, {found['wrong']} wrong")
    sys.exit(1 if found["wrong"] else 0)


if __name__ == "__main__":
    main()
