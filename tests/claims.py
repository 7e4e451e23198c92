"""Measure how fast agents share the points of a sweep: `python tests/claims.py --agents 16 --seconds 0.1`.

The agents claim runs, wait, and record their ends, without W&B and without a function. What is printed is the
share of the time that an ideal sweep would take, with agents that cost nothing.
"""

import argparse
import multiprocessing
import tempfile
import time
from pathlib import Path

from dysweep import Space
from dysweep.agents.offline import DirectoryServer
from dysweep.agents.sources import Claims
from dysweep.directory.heartbeat import Watch
from dysweep.directory.runs import State
from dysweep.directory.sweep import Sweep, SweepDirectory


def work(path, seconds, barrier, done):
    directory = SweepDirectory(path)
    claims = Claims(directory, lambda assignment, config: None, False, 3, False, Watch(120), 5)
    barrier.wait()
    executed = 0
    for claim in DirectoryServer(claims).new_runs().claims():
        time.sleep(seconds)
        claim.attempt.finish(State.FINISHED, None, {"loss": 0.5})
        executed += 1
    done.put(executed)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--agents", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=0.1, help="of a run")
    parser.add_argument("--runs", type=int, default=None, help="of the sweep; 10 for each agent by default")
    parser.add_argument("--folder", default=None, help="a folder on the disk to measure")
    given = parser.parse_args()
    runs = given.runs or 10 * given.agents
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        space = Space.compile({"x": {"sweep": True, "values": list(range(runs))}})
        directory = SweepDirectory(Path(folder) / "checkpoints-abcd")
        sweep = Sweep("abcd", "offline", None, "p", None, {}, {"method": "grid"}, space.to_json())
        directory.create(sweep)
        barrier, done = spawn.Barrier(given.agents + 1), spawn.Queue()
        agents = [
            spawn.Process(target=work, args=(directory.path, given.seconds, barrier, done))
            for _ in range(given.agents)
        ]
        for agent in agents:
            agent.start()
        barrier.wait()
        begun = time.monotonic()
        executed = sorted(done.get() for _ in agents)
        took = time.monotonic() - begun
        for agent in agents:
            agent.join()
        finished = sum(run.state() is State.FINISHED for run in directory.runs())
    assert finished == runs == sum(executed), (finished, runs, executed)
    ideal = -(-runs // given.agents) * given.seconds
    print(
        f"{given.agents} agents, {runs} runs of {given.seconds} s: {took:.1f} s, {runs / took:.1f} runs/s, "
        f"{ideal / took:.0%} of the ideal, {executed[0]} to {executed[-1]} runs an agent"
    )


if __name__ == "__main__":
    main()
