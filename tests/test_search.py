"""Random and bayes without W&B: what is drawn, what is suggested, and what the directory serves of it."""

import json
import math
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from statistics import fmean, pstdev

import helpers
import pytest

from dysweep import ConfigError, LanguageError, Space, cli, dysweep_run_resume, open_sweep
from dysweep.agents.offline import DirectoryServer
from dysweep.agents.sources import Claims
from dysweep.directory.heartbeat import Watch
from dysweep.directory.runs import State
from dysweep.language.combinations import Combinations
from dysweep.language.definition import define
from dysweep.language.distributions import multiples, quantile, share_below
from dysweep.language.points import Draws

LINES = (Path(__file__).parent / "data/distributions.jsonl").read_text(encoding="utf-8").splitlines()
CASES = [json.loads(line) for line in LINES]
DRAWN = 5_000
METRIC = {"name": "loss", "goal": "minimize"}
# Two branches, of which one has nothing that is swept.
MODEL = {
    "sweep": True,
    "sweep_alias": ["a", "b"],
    "values": [{"kind": "a"}, {"kind": "b", "x": {"sweep": True, "min": 0.0, "max": 1.0}}],
}
REAL = {"sweep": True, "min": 0.0, "max": 1.0}
TWO = {"sweep": True, "sweep_alias": ["a", "b"], "values": [{"y": REAL}, {"x": REAL}]}
FINITE = {
    "model": {
        "sweep": True,
        "sweep_alias": ["a", "b"],
        "values": [{"n": {"sweep": True, "min": 1, "max": 3}}, {"m": {"sweep": True, "values": ["s", "t"]}}],
    },
    "size": {"sweep": True, "min": 0, "max": 4, "q": 2, "distribution": "q_uniform"},
}


def of(cases):
    return pytest.mark.parametrize("case", cases, ids=lambda case: case["id"])


def defined(parameters, **words):
    no_settings = {key: (key, None) for key in ("name", "method", "metric.name", "metric.goal")}
    described = {"method": "random", "run_cap": 5, **words, "parameters": parameters}
    return define({}, described, no_settings, False, "offline")


def drawn(node, count=DRAWN):
    draws = Draws(Space.compile({"p": {"sweep": True, **node}}, method="random"), 7)
    return [draws.assignment(number)["p"] for number in range(count)]


@of([case for case in CASES if "quantiles" in case and not {"values", "value"} & case["parameter"].keys()])
def test_the_values_at_shares_of_the_draws_are_those_of_wandb(case):
    for share, expected in case["quantiles"]:
        value = quantile(case["parameter"], share)
        assert type(value) is type(expected) and value == pytest.approx(expected, rel=1e-10)
        if not case["distribution"].startswith("q_") and case["value_type"] == "float":
            assert share_below(case["parameter"], value) == pytest.approx(share, rel=1e-9)


@of([case for case in CASES if "quantiles" in case])
def test_what_is_drawn_has_the_distribution_of_wandb(case):
    values = drawn(case["parameter"])
    if "probabilities" in case:
        counts = Counter(map(json.dumps, values))
        expected = {json.dumps(value): share for value, share in case["probabilities"] if share}
        assert sum(counts[value] for value in expected) >= 0.998 * DRAWN  # the table leaves the rarest out
        for value, share in expected.items():
            assert abs(counts[value] - DRAWN * share) <= 5 * math.sqrt(DRAWN * share * (1 - share)) + 1
    else:
        low, high = (math.inf if end is None else end for end in case["interval"])
        assert all(type(value).__name__ == case["value_type"] for value in values)
        assert (low in (None, math.inf) or min(values) >= low) and max(values) <= high
    if "mean" in case:
        assert abs(fmean(values) - case["mean"]) <= 5 * case["std"] / math.sqrt(DRAWN) + 1e-9
        if case["distribution"] not in ("log_normal", "q_log_normal"):  # their fourth moments are too large
            assert pstdev(values) == pytest.approx(case["std"], rel=0.08, abs=1e-9)


@of([case for case in CASES if "error" in case])
def test_a_distribution_that_means_nothing_is_an_error_at_its_place(case):
    with pytest.raises((LanguageError, ConfigError)) as caught:
        defined({"p": {"sweep": True, **case["parameter"]}})
    where = str(caught.value).partition(": ")[0]
    assert where == ".".join(filter(None, ["sweep_configuration.parameters.p", case["error"]["path_ends"]]))


def test_each_parameter_is_drawn_for_itself():
    one = Draws(Space.compile({"model": MODEL}, method="random"), "s")
    more = {"lr": {"sweep": True, "min": 0.0, "max": 1.0}, "model": MODEL}
    both = Draws(Space.compile(more, method="random"), "s")
    points = [one.assignment(number) for number in range(20)]
    assert [{**both.assignment(number)} for number in range(20)] == [
        {**point, "lr": both.assignment(number)["lr"]} for number, point in enumerate(points)
    ]
    assert all(point.get("b.x") != both.assignment(number)["lr"] for number, point in enumerate(points))
    assert {"model": "a"} in points and any(point.keys() == {"model", "b.x"} for point in points)
    assert points != [Draws(one.space, "t").assignment(number) for number in range(20)]


def test_every_combination_is_there_once_with_the_parameters_of_its_branches():
    combinations = Combinations(Space.compile(FINITE, method="bayes"))
    points = [combinations.point(index) for index in range(combinations.size)]
    assert points == [
        {"model": model, "size": size, **{name: value}}
        for model, name, values in (("a", "a.n", (1, 2, 3)), ("b", "b.m", ("s", "t")))
        for value in values
        for size in (0, 2, 4)
    ]
    assert combinations.runs == 15 and Combinations(Space.compile({"m": MODEL}, method="bayes")).runs is None
    assert list(multiples({"distribution": "q_uniform", "min": 1, "max": 10, "q": 4})) == [0, 1, 2]


def test_the_preview_shows_the_very_runs_of_a_seed(own_folder, capsys):
    (own_folder / "functions.py").write_text("def trains(config, checkpoint_dir): pass\n")
    (own_folder / "config.yaml").write_text(
        "base_config: {x: 0.5}\nsweep_configuration:\n  method: random\n  run_cap: 4\n  sweep_seed: 3\n"
        "  parameters: {x: {sweep: true, min: 0.0, max: 1.0}}\n"
    )
    assert cli.create(["-c", "config.yaml", "--dry_run", "--dry_run_dir", "seen"]) == 0
    assert capsys.readouterr().out.startswith("4 runs\n")
    sweep_id = helpers.create(capsys)
    assert helpers.run("trains", "--sweep_id", sweep_id) == 0
    sweep = open_sweep(sweep_id)
    assert sweep.counts == {"finished": 4} and sweep.total == 4
    comments = [path.read_text().partition("\n")[0] for path in sorted(Path("seen").iterdir())]
    assert comments == [f"# {json.dumps(run.assignment)}" for run in sweep.runs]
    assert len({run.assignment["x"] for run in sweep.runs}) == 4


def test_without_run_cap_random_search_has_no_end(own_folder, caplog, capsys):
    configuration = {"method": "random", "parameters": {"model": MODEL}}
    sweep_id = dysweep_run_resume(base_config={}, sweep_configuration=configuration)
    assert "run_cap: missing, so the sweep never ends; --count N" in caplog.text
    work = {"sweep_id": sweep_id, "function": lambda config, checkpoint_dir: None}
    dysweep_run_resume(**work, count=3)
    dysweep_run_resume(**work, count=2)
    sweep = open_sweep(sweep_id)
    assert [run.run_id[-4:] for run in sweep.runs] == ["0001", "0002", "0003", "0004", "0005"]
    assert sweep.total is None and sweep.counts == {"finished": 5}
    seed = Draws(sweep.sweep.compiled, sweep_id)
    assert [run.assignment for run in sweep.runs] == list(map(seed.assignment, range(5)))


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_every_draw_is_run_with_each_seed(method, own_folder):
    import wandb

    parameters = {
        "model": {"sweep": True, "sweep_alias": ["c"], "values": [MODEL["values"][1]]},
        "seed": {"sweep": True, "sweep_repeats": [11, 42]},
    }
    configuration = {"method": method, "run_cap": 5, "metric": METRIC, "parameters": parameters}
    sweep_id = dysweep_run_resume(base_config={"seed": 0}, sweep_configuration=configuration)

    def trains(config, checkpoint_dir):
        wandb.log({"loss": config["model"]["x"]})

    dysweep_run_resume(sweep_id=sweep_id, function=trains)
    runs = [run.assignment for run in open_sweep(sweep_id).runs]
    assert [run["seed"] for run in runs] == [11, 42, 11, 42, 11]
    values = [run["c.x"] for run in runs]
    assert values[0] == values[1] != values[2] == values[3] != values[4]


def sweep_of(parameters, **words):
    configuration = {"method": "bayes", "metric": METRIC, "sweep_seed": 1, **words, "parameters": parameters}
    sweep_id = dysweep_run_resume(base_config={}, sweep_configuration=configuration)
    return helpers.directory(sweep_id)


def agent_of(directory):
    claims = Claims(directory, lambda assignment, config: None, False, 3, False, Watch(60), beat=5)
    return DirectoryServer(claims).new_runs().claims()


def finish(claim, loss):
    outcome = State.FAILED if loss is None else State.FINISHED
    error = {"type": "ValueError", "message": "no"} if loss is None else None
    assert claim.attempt.finish(outcome, error, {} if loss is None else {"loss": loss})


def loss_of(point):
    return (point.get("b.x", 0.9) - 0.3) ** 2 + point.get("a.y", 0.0) + (point["model"] == "a")


def points_of(directory):
    return [run.record()["assignment"] for run in directory.runs()]


def test_a_search_is_the_same_with_the_same_results(own_folder):
    chosen = []
    for _ in range(2):
        directory = sweep_of({"model": TWO}, run_cap=25)
        for claim in agent_of(directory):
            finish(claim, loss_of(claim.assignment))
        chosen.append(points_of(directory))
    assert chosen[0] == chosen[1] and len(set(map(json.dumps, chosen[0]))) == 25
    assert fmean(map(loss_of, chosen[0][15:])) < fmean(map(loss_of, chosen[0][:10])) / 2


def test_what_is_suggested_depends_on_what_was_found(own_folder):
    last = []
    for sign in (1, -1):
        directory = sweep_of({"model": TWO}, run_cap=30)
        for claim in agent_of(directory):
            finish(claim, sign * loss_of(claim.assignment))
        last.append(Counter(point["model"] for point in points_of(directory)[15:]))
    assert last[0]["b"] > last[0]["a"] and last[1]["b"] < last[1]["a"]


def test_the_goal_turns_the_search_around(own_folder):
    chosen = []
    for goal, sign in (("minimize", 1), ("maximize", -1)):
        directory = sweep_of({"model": TWO}, run_cap=20, metric={"name": "loss", "goal": goal})
        for claim in agent_of(directory):
            finish(claim, sign * loss_of(claim.assignment))
        chosen.append(points_of(directory))
    assert chosen[0] == chosen[1]


def test_an_agent_that_has_worked_before_suggests_what_a_new_one_does(own_folder):
    chosen = []
    for is_new in (False, True):
        directory = sweep_of({"model": TWO}, run_cap=20)
        agent, under_way = agent_of(directory), []
        for _ in range(20):
            agent = agent_of(directory) if is_new else agent
            under_way.append(next(agent))
            if len(under_way) == 3:
                ended = under_way.pop(0)
                finish(ended, loss_of(ended.assignment))
        chosen.append(points_of(directory))
    assert chosen[0] == chosen[1]


def test_agents_at_once_try_every_point_of_a_finite_space_once(own_folder):
    directory = sweep_of(FINITE)
    agents = [agent_of(directory) for _ in range(4)]
    claimed = []
    while agents:
        turn = [(agent, next(agent, None)) for agent in agents]
        agents = [agent for agent, claim in turn if claim is not None]
        for claim in [claim for _, claim in turn if claim is not None]:
            claimed.append(claim)
            finish(claim, None if len(claimed) % 5 == 0 else len(claimed))
    points = points_of(directory)
    assert len(points) == len(set(map(json.dumps, points))) == 15
    assert open_sweep(directory.sweep.sweep_id).total == 15


def test_a_failed_run_counts_as_the_worst(own_folder):
    directory = sweep_of({"model": TWO}, run_cap=40)
    for claim in agent_of(directory):
        finish(claim, None if claim.assignment["model"] == "b" else random.Random(claim.place).random())
    last = Counter(point["model"] for point in points_of(directory)[20:])
    assert last["a"] > 2 * last["b"]


def test_a_run_is_named_after_the_parameters_that_it_uses(own_folder):
    configuration = {"method": "random", "run_cap": 8, "sweep_seed": 1, "parameters": {"model": MODEL}}
    sweep_id = dysweep_run_resume(
        base_config={}, sweep_configuration=configuration, run_name="{model} at {b.x:.2f}"
    )
    dysweep_run_resume(sweep_id=sweep_id, function=lambda config, checkpoint_dir: None)
    runs = open_sweep(sweep_id).runs
    assert {run.name for run in runs if run.assignment["model"] == "a"} == {"a at -"}
    assert all(
        run.name == f"b at {run.assignment['b.x']:.2f}" for run in runs if run.assignment["model"] == "b"
    )


def test_another_folder_among_the_runs_does_not_end_a_search(own_folder):
    directory = sweep_of({"model": MODEL}, run_cap=3)
    claim = next(agent_of(directory))
    shutil.copytree(claim.attempt.run.path, directory.runs_path / f"{claim.run_id} copy")
    assert next(agent_of(directory)).run_id == directory.run_id(2)


def test_a_damaged_run_is_named_and_left_out(own_folder, caplog):
    directory = sweep_of({"model": MODEL}, run_cap=4)
    agent = agent_of(directory)
    claim = next(agent)
    (claim.attempt.run.path / "run.json").write_text("{")
    assert next(agent).run_id.endswith("-0002") and next(agent).run_id.endswith("-0003")
    assert caplog.text.count("the run is left out of the search") == 1


@pytest.mark.parametrize("goal", ["minimize", "maximize"])
@pytest.mark.parametrize("method", ["grid", "random", "bayes"])
def test_no_run_is_started_once_the_target_is_reached(method, goal, own_folder, capsys):
    import wandb

    configuration = {
        "method": method,
        "run_cap": 30,
        "metric": {"name": "loss", "goal": goal, "target": 3},
        "parameters": {"n": {"sweep": True, "min": 0, "max": 9}, "m": {"sweep": True, "min": 0, "max": 9}},
    }
    sweep_id = dysweep_run_resume(base_config={"n": 0}, sweep_configuration=configuration)
    losses = iter([8, math.nan, 7, 3, 1] if goal == "minimize" else [-8, math.nan, 1, 3, 4])

    def trains(config, checkpoint_dir):
        wandb.log({"loss": next(losses)})

    dysweep_run_resume(sweep_id=sweep_id, function=trains)
    assert f"{sweep_id}-0004 has reached the metric's target, 3" in capsys.readouterr().err
    assert open_sweep(sweep_id).counts == {"finished": 4}


def test_the_users_random_numbers_stay_as_they_are(own_folder):
    numpy = pytest.importorskip("numpy")
    directory = sweep_of({"x": {"sweep": True, "min": 0.0, "max": 1.0}}, run_cap=13)
    random.seed(0)
    numpy.random.seed(0)
    before = random.getstate(), json.dumps(numpy.random.get_state()[1].tolist())
    for claim in agent_of(directory):
        finish(claim, loss_of({"model": "b", "b.x": claim.assignment["x"]}))
    assert (random.getstate(), json.dumps(numpy.random.get_state()[1].tolist())) == before


def test_bayes_without_optuna_says_how_to_get_it(own_folder):
    (own_folder / "config.yaml").write_text(
        "base_config: {x: 1}\nmode: offline\nsweep_configuration:\n  method: bayes\n  metric: {name: loss}\n"
        "  parameters: {x: {sweep: true, min: 0.0, max: 1.0}}\n"
    )
    program = "import sys; sys.modules['optuna'] = None; from dysweep import cli; sys.exit(cli.create())"
    command = [sys.executable, "-c", program, "-c", "config.yaml"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2 and "pip install 'dysweep[search]'" in ended.stderr
    assert not Path("dysweep_logs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"method": "custom"}, "sweep_configuration.method: 'custom' is for W&B's scheduler"),
        ({"method": "bayes"}, "sweep_configuration.metric: missing"),
        ({"method": "grid", "sweep_seed": 1}, "sweep_seed: a grid draws nothing"),
        ({"sweep_seed": True}, "sweep_seed: a whole number is needed"),
    ],
)
def test_a_search_that_makes_no_sense_is_an_error(words, message):
    with pytest.raises(ConfigError, match=message):
        defined({"x": {"sweep": True, "values": [1, 2]}}, **words)


def test_words_that_a_search_offline_does_not_use_are_said(caplog):
    node = {"sweep": True, "values": [1, 2], "probabilities": [0.5, 0.5]}
    defined({"x": node}, method="bayes", metric={**METRIC, "impute": "best"})
    assert "metric.impute: no effect offline" in caplog.text
    assert "x.probabilities: no effect on a search offline" in caplog.text
