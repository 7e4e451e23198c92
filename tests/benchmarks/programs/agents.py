"""Agents that share a sweep without W&B: `agents.py AGENTS RUNS SECONDS`; prints their share of the ideal."""

import json
import multiprocessing
import os
import sys
import time
from pathlib import Path

from dysweep import Space
from dysweep.agents.offline import DirectoryServer
from dysweep.agents.sources import Claims
from dysweep.directory.heartbeat import Watch
from dysweep.directory.runs import State
from dysweep.directory.sweep import Sweep, SweepDirectory


def work(path, seconds, barrier, done):
    claims = Claims(SweepDirectory(path), lambda assignment, config: None, False, 3, False, Watch(120), 5)
    barrier.wait()
    executed = 0
    for claim in DirectoryServer(claims).new_runs().claims():
        time.sleep(seconds)
        claim.attempt.finish(State.FINISHED, None, {"loss": 0.5})
        executed += 1
    done.put(executed)


def main():
    agents, runs, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    space = Space.compile({"x": {"sweep": True, "values": list(range(runs))}})
    path = Path(os.environ.get("SLOW_DISK") or Path.cwd() / "checkpoints-abcd")
    sweep = Sweep("abcd", "offline", None, "p", None, {}, {"method": "grid"}, space.to_json())
    SweepDirectory(path).create(sweep)
    spawn = multiprocessing.get_context("spawn")
    barrier, done = spawn.Barrier(agents + 1), spawn.Queue()
    each = [spawn.Process(target=work, args=(path, seconds, barrier, done)) for _ in range(agents)]
    for agent in each:
        agent.start()
    barrier.wait()
    begun = time.monotonic()
    executed = [done.get() for _ in each]
    took = time.monotonic() - begun
    for agent in each:
        agent.join()
    assert sum(executed) == runs, executed
    ideal = -(-runs // agents) * seconds
    print(json.dumps({"share": ideal / took, "fewest": min(executed), "most": max(executed)}))


if __name__ == "__main__":
    main()
