"""Agents that get SIGTERM at random moments of functions that fork: `python fork_rounds.py KIND ROUNDS SEED`.

One process imports everything once; each round is a child of it, with an offline sweep of its own. Prints
one line of JSON: how many signals were sent, what went wrong, and after how many rounds workers of
`multiprocessing` were left, as Python itself leaves them when its pool is interrupted while it starts them.
"""

import json
import logging
import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path

import joblib
import torch
import wandb  # noqa: F401 - imported once, for all rounds

import dysweep

GRACE = 20
ODD = (".json", ".end.json", ".heartbeat", ".log")


def raw():
    memory = bytearray(30_000_000)  # so that a fork takes a while
    for _ in range(10):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        logging.getLogger().warning("%d", len(memory))


def pool():
    with multiprocessing.get_context("fork").Pool(2) as workers:
        workers.map(abs, [-1, -2])


def loader():
    for _ in torch.utils.data.DataLoader(list(range(8)), batch_size=2, num_workers=2):
        pass


def parallel():
    joblib.Parallel(n_jobs=2, backend="multiprocessing")(joblib.delayed(abs)(each) for each in range(4))


def child(kind, folder):
    os.setsid()
    os.chdir(folder)
    errors = os.open("errors", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(errors, 1)
    os.dup2(errors, 2)

    def function(config, checkpoint_dir):
        Path("started").touch()
        try:
            while True:
                globals()[kind]()
        finally:
            Path("told").touch()

    space = {"lr": {"sweep": True, "values": [1, 2]}}
    try:
        sweep_id = dysweep.dysweep_run_resume(mode="offline", base_config={}, sweep_configuration=space)
        dysweep.dysweep_run_resume(mode="offline", sweep_id=sweep_id, function=function, grace=GRACE)
    except dysweep.Preempted:
        sys.exit(143)  # not os._exit: joining what is left of the workers is part of the end


def session_is_empty(leader):
    for each in filter(str.isdigit, os.listdir("/proc")):
        try:
            state, _, _, session = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(session) == leader and state != "Z":
            return False
    return True


def within(seconds, condition):
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return found


def round_of(kind, folder, chance):
    """Run one agent until it has ended; give what was wrong, and its process id."""
    folder.mkdir()
    agent = os.fork()
    if agent == 0:
        code = 1
        try:
            child(kind, folder)
        except SystemExit as ended:
            code = ended.code
            multiprocessing.util._exit_function()
        finally:
            os._exit(code)
    status = []

    def ended():
        found, code = os.waitpid(agent, os.WNOHANG)
        status.append(os.waitstatus_to_exitcode(code)) if found else None
        return bool(found)

    try:
        if not within(60, (folder / "started").exists):
            return "not started", agent
        time.sleep(chance.random() * 0.5)
        os.kill(agent, signal.SIGTERM)
        if not within(GRACE + 40, ended):
            return "hung", agent
        problems = [] if status == [143] else [f"exit code {status}"]
        if not (folder / "told").exists():
            problems.append("signal lost")
        files = {str(each.relative_to(folder)) for each in folder.glob("dysweep_logs/*/runs/*/attempts/*")}
        if {each.rpartition("/")[2] for each in files} != {f"0001{end}" for end in ODD} or len(files) != 4:
            problems.append(f"records {sorted(files)}")
        ends = [json.loads(each.read_text())["outcome"] for each in folder.glob("**/*.end.json")]
        if ends != ["preempted"]:
            problems.append(f"outcomes {ends}")
        if "Preempted" in (folder / "errors").read_text():
            problems.append("a traceback of Preempted")
        return ", ".join(problems), agent
    finally:
        if not status:
            os.kill(agent, signal.SIGKILL)
            os.waitpid(agent, 0)


if __name__ == "__main__":
    kind, rounds, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    chance = random.Random(seed)
    wrong, left = {}, 0
    for number in range(rounds):
        folder = Path.cwd() / f"{kind}-{seed}-{number}"
        problem, agent = round_of(kind, folder, chance)
        if not within(5, lambda agent=agent: session_is_empty(agent)):
            left += 1
            os.killpg(agent, signal.SIGKILL)
        if problem:
            wrong[number] = problem
            print(kind, number, problem, (folder / "errors").read_text()[-3000:], file=sys.stderr, flush=True)
    print(json.dumps({"signals": rounds, "wrong": wrong, "left": left}))
