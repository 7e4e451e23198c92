"""Measure the search without W&B: `python -m tests.search_quality`, with `--gp` where torch is.

Functions with a known minimum are searched through sweep directories, with claims and ends of runs as agents
record them, but without W&B and without a function. Each goal is a ratio to random search, or to a study of
Optuna that is asked directly, in the same process.
"""

import argparse
import math
import random
import sys
import tempfile
import time
from pathlib import Path
from statistics import geometric_mean

from dysweep import Space
from dysweep.agents.offline import DirectoryServer
from dysweep.agents.sources import Claims
from dysweep.directory.heartbeat import Watch
from dysweep.directory.runs import State
from dysweep.directory.sweep import Sweep, SweepDirectory
from dysweep.language.combinations import choose
from dysweep.language.points import Draws

SMALLEST = 1e-6  # smaller regrets count as this


def real(low, high):
    return {"sweep": True, "min": float(low), "max": float(high)}


def logarithmic(low, high):
    return {"sweep": True, "distribution": "log_uniform_values", "min": low, "max": high}


def choice(**branches):
    values = [{"kind": kind, **tree} for kind, tree in branches.items()]
    return {"sweep": True, "sweep_alias": list(branches), "values": values}


def branin(config, noise):
    """Dixon and Szegö, "The global optimization problem: an introduction", 1978; its minimum is 0.397887."""
    x, y = config["x1"], config["x2"]
    valley = y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6
    return valley**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


def cash(config, noise):
    """The choice of a learner and its settings, two levels deep; an error rate with noise, 0.05 at best."""
    model = config["model"]
    if model["kind"] == "svm":
        e = math.log10(model["C"]) - 1
        if model["kernel"]["kind"] == "linear":
            value = 0.22 + 0.02 * e * e
        else:
            g = math.log10(model["kernel"]["gamma"]) + 2
            value = 0.12 + 0.02 * e * e + 0.06 * g * g + 0.02 * e * g
    elif model["kind"] == "forest":
        depth, features = (model["depth"] - 12) / 11, (model["features"] - 0.4) / 0.6
        value = 0.16 + 0.10 * depth**2 + 0.05 * features**2
    else:
        rate, optimizer = math.log10(model["lr"]), model["optimizer"]
        shape = 0.06 * ((model["layers"] - 3) / 2) ** 2 + 0.08 * ((model["dropout"] - 0.2) / 0.4) ** 2
        if optimizer["kind"] == "adam":
            value = min(0.9, 0.06 + shape + 0.10 * (rate + 3) ** 2)
        else:
            u = (optimizer["momentum"] - 0.9) / 0.9
            value = min(0.9, 0.05 + shape + 0.10 * (rate + 2 + u) ** 2 + 0.10 * u * u)
    return value + noise(0, 0.005)


MODEL = choice(
    svm={"C": logarithmic(1e-3, 1e3), "kernel": choice(linear={}, rbf={"gamma": logarithmic(1e-4, 1e1)})},
    forest={"depth": {"sweep": True, "min": 1, "max": 20}, "features": real(0.1, 1.0)},
    net={
        "lr": logarithmic(1e-5, 1.0),
        "layers": {"sweep": True, "min": 1, "max": 5},
        "dropout": real(0.0, 0.6),
        "optimizer": choice(adam={}, sgd={"momentum": real(0.0, 0.99)}),
    },
)
FUNCTIONS = {
    "branin": ({"x1": real(-5, 10), "x2": real(0, 15)}, branin, 0.39788735772973816),
    "cash": ({"model": MODEL}, cash, 0.05),
}


class Regret:
    """How far the best point so far is from the minimum; gives the noisy values that a search gets to see."""

    def __init__(self, name, seed):
        parameters, self.function, self.minimum = FUNCTIONS[name]
        self.space = Space.compile(parameters, method="bayes")
        self.noise = random.Random(seed).gauss
        self.best = math.inf

    def value(self, assignment):
        config = self.space.resolve({}, assignment)
        self.best = min(self.best, self.function(config, lambda mean, deviation: 0.0) - self.minimum)
        return self.function(config, self.noise)

    @property
    def least(self):
        return max(self.best, SMALLEST)


def directory_of(folder, space, seed):
    described = {"method": "bayes", "metric": {"name": "loss", "goal": "minimize"}, "sweep_seed": seed}
    directory = SweepDirectory(folder)
    directory.create(Sweep("abcd", "offline", None, "p", None, {}, described, space.to_json()))
    return directory


def agent_of(directory):
    claims = Claims(directory, lambda assignment, config: None, False, 3, False, Watch(120), 5)
    return DirectoryServer(claims).new_runs().claims()


def from_directory(name, runs, seed, agents=1):
    """Search with a directory; of several agents each claims a run before the first has ended."""
    regret = Regret(name, seed)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        directory = directory_of(Path(folder) / "sweep", regret.space, seed)
        sources = [agent_of(directory) for _ in range(agents)]
        under_way = []
        for number in range(runs):
            if len(under_way) == agents:
                finish(under_way.pop(0), regret)
            under_way.append(next(sources[number % agents]))
        for claim in under_way:
            finish(claim, regret)
    return regret.least


def finish(claim, regret):
    claim.attempt.finish(State.FINISHED, None, {"loss": regret.value(claim.assignment)})


def at_random(name, runs, seed):
    regret = Regret(name, seed)
    draws = Draws(regret.space, seed)
    for number in range(runs):
        regret.value(draws.assignment(number))
    return regret.least


def by_optuna(name, runs, seed):
    """Search with one study of Optuna that is asked directly, by the same sampler."""
    import optuna

    from dysweep import search

    regret = Regret(name, seed)
    dimensions = {each.name: search._Dimension(each) for each in regret.space.flat}
    with search._quiet(), search._one_thread():
        study = optuna.create_study(sampler=search._sampler(regret.space, 0, seed))
        for _ in range(runs):
            trial = study.ask()
            point = choose(
                regret.space, lambda parameter, trial=trial: dimensions[parameter.name].asked(trial)
            )
            study.tell(trial, regret.value(point))
    return regret.least


def mean(search, name, runs, seeds, **more):
    return geometric_mean(search(name, runs, seed, **more) for seed in range(seeds))


def repeated_points(folder):
    """Let 8 agents search a space of 60 points; return how many were tried, and how often one was again."""
    parameters = {
        "model": choice(
            a={"n": {"sweep": True, "min": 1, "max": 10}}, b={"m": {"sweep": True, "min": 1, "max": 5}}
        ),
        "size": {"sweep": True, "values": [1, 2, 4, 8]},
    }
    space = Space.compile(parameters, method="bayes")
    directory = directory_of(folder / "finite", space, 1)
    agents, points = [agent_of(directory) for _ in range(8)], []
    while claims := [claim for claim in [next(agent, None) for agent in agents] if claim is not None]:
        for claim in claims:
            points.append(str(claim.assignment))
            claim.attempt.finish(State.FINISHED, None, {"loss": len(points) % 7})
    return len(set(points)), len(points) - len(set(points))


def seconds_of_a_suggestion(folder, runs):
    """Return the CPU seconds for the next run of a new agent, and of one that has read the others before."""
    regret = Regret("cash", 0)
    directory = directory_of(folder / str(runs), regret.space, 0)
    draws = Draws(regret.space, 0)
    for number in range(runs):
        assignment = draws.assignment(number)
        attempt = directory.start_run(f"abcd-{number + 1:04d}", assignment, None, {})
        attempt.finish(State.FINISHED, None, {"loss": regret.value(assignment)})
    agent, seconds, points = agent_of(directory), [], []
    for _ in range(2):
        begun = time.process_time()
        points.append(next(agent).assignment)
        seconds.append(time.process_time() - begun)
    twin = agent_of(directory)
    for run in list(directory.runs())[-2:]:  # the same directory once more
        run.path.rename(folder / run.run_id)
    same = [next(twin).assignment, next(twin).assignment] == points
    return (*seconds, same)


def row(what, figure, goal, met):
    print(f"| {what} | {figure} | {goal} | {'met' if met else 'NOT met'} |", flush=True)
    return met


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gp", action="store_true", help="measure the Gaussian process, which needs torch")
    parser.add_argument("--seeds", type=int, default=40)
    given = parser.parse_args()
    if not given.gp:
        sys.modules["torch"] = (
            None  # then the tree-structured estimator searches where nothing is conditional, too
        )
    met = []
    print("| what | measured | goal | |\n|---|---|---|---|")
    few = max(2, given.seeds // 4)
    by_chance = mean(at_random, "branin", 30, few)
    ratio = mean(from_directory, "branin", 30, few) / by_chance
    met.append(
        row(f"Branin, 30 runs, {few} seeds: regret to random search's", f"{ratio:.3g}", "0.75", ratio <= 0.75)
    )
    if not given.gp:
        for name in ("branin", "cash"):
            ours, direct = (mean(search, name, 60, given.seeds) for search in (from_directory, by_optuna))
            what = f"{name}, 60 runs, {given.seeds} seeds: regret to that of Optuna asked directly"
            met.append(
                row(what, f"{ours:.3g} / {direct:.3g} = {ours / direct:.2f}", "1.7", ours / direct <= 1.7)
            )
        ratio = ours / mean(at_random, "cash", 60, given.seeds)
        met.append(row("cash, the same: to random search's", f"{ratio:.2f}", "0.6", ratio <= 0.6))
        one, eight = (mean(from_directory, "cash", 100, few, agents=agents) for agents in (1, 8))
        what = f"cash, 100 runs, {few} seeds: 8 agents' regret to one's"
        met.append(row(what, f"{eight:.3g} / {one:.3g} = {eight / one:.2f}", "2", eight / one <= 2))
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            tried, again = repeated_points(Path(folder))
            what = "8 agents, 60 points: tried, and tried again"
            met.append(row(what, f"{tried}, {again}", "60, 0", (tried, again) == (60, 0)))
            for runs, goal in ((1000, 0.2), (5000, 1.0)):
                first, then, same = seconds_of_a_suggestion(Path(folder), runs)
                what = f"a suggestion at {runs} finished runs, CPU seconds: of a new agent, and the next"
                met.append(row(what, f"{first:.2f}, {then:.2f}", goal, max(first, then) <= goal))
                met.append(row("the same directory gives the same two runs", same, "True", same))
    return 0 if all(met) else 1


FOLDER = "/dev/shm" if Path("/dev/shm").is_dir() else None  # the disk is not what is measured

if __name__ == "__main__":
    sys.exit(main())
