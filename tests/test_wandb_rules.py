"""What W&B's schema of sweeps says is checked when a sweep is created, with W&B or without."""

from pathlib import Path

import pytest

import dysweep
from dysweep import ConfigError

ONE = {"a": {"sweep": True, "values": [1, 2]}}


def create(described=None, base=None, mode="offline", **settings):
    return dysweep.dysweep_run_resume(
        mode=mode, base_config={"a": 1} if base is None else base, sweep_configuration=described, **settings
    )


REFUSED = {
    "goal: max": (
        {"metric": {"name": "acc", "goal": "max"}},
        "metric.goal: no goal 'max'; did you mean 'maximize'?",
    ),
    "goal: min": (
        {"metric": {"name": "acc", "goal": "min"}},
        "metric.goal: no goal 'min'; did you mean 'minimize'?",
    ),
    "goal: lower": (
        {"metric": {"name": "acc", "goal": 1}},
        "metric.goal: no goal 1; there are minimize, maximize",
    ),
    "metric's key": (
        {"metric": {"name": "acc", "gaol": "maximize"}},
        "metric.gaol: unknown key; did you mean 'goal'?",
    ),
    "metric without name": ({"metric": {"goal": "maximize"}}, "metric.name: the metric's name is needed"),
    "metric as list": ({"metric": ["acc"]}, "metric: write it as {name: loss, goal: minimize}"),
    "target": ({"metric": {"name": "acc", "target": "1"}}, "metric.target: a finite number is needed"),
    "impute": (
        {"metric": {"name": "acc", "impute": "first"}},
        "metric.impute: 'first' is none of latest, best, worst",
    ),
    "method": (
        {"method": "hyperband"},
        "method: no method 'hyperband'; there are grid, random, bayes, custom",
    ),
    "method as list": ({"method": ["grid"]}, "method: no method ['grid']"),
    "unknown key": ({"paramters_2": 1}, "paramters_2: unknown key; did you mean 'parameters'?"),
    "very unknown key": ({"x": 1}, "sweep_configuration.x: unknown key; there are"),
    "name": ({"name": 3}, "sweep_configuration.name: 3 is not text; write it in quotes"),
    "run_cap": ({"run_cap": 0}, "run_cap: must be a whole number of at least 1, got 0"),
    "bayes": ({"method": "bayes"}, "sweep_configuration.metric: missing, and bayes needs it"),
    "early_terminate's type": (
        {"metric": {"name": "a"}, "early_terminate": {"type": "median", "min_iter": 3}},
        "early_terminate.type: 'median' is no type; W&B has hyperband",
    ),
    "early_terminate's key": (
        {"metric": {"name": "a"}, "early_terminate": {"type": "hyperband", "min_iters": 3}},
        "early_terminate.min_iters: unknown key; did you mean 'min_iter'?",
    ),
    "early_terminate's bounds": (
        {"metric": {"name": "a"}, "early_terminate": {"type": "hyperband", "max_iter": 3}},
        "early_terminate.s: missing; max_iter needs it",
    ),
    "early_terminate without bounds": (
        {"metric": {"name": "a"}, "early_terminate": {"type": "hyperband", "eta": 3}},
        "early_terminate: needs min_iter, or max_iter and s",
    ),
    "early_terminate's number": (
        {"metric": {"name": "a"}, "early_terminate": {"type": "hyperband", "min_iter": 1.5}},
        "early_terminate.min_iter: must be a whole number of at least 1, got 1.5",
    ),
    "early_terminate's eta": (
        {"metric": {"name": "a"}, "early_terminate": {"type": "hyperband", "min_iter": 1, "eta": 1}},
        "early_terminate.eta: must be more than 1, got 1",
    ),
    "early_terminate without metric": (
        {"early_terminate": {"type": "hyperband", "min_iter": 3}},
        "sweep_configuration.metric: missing, and early_terminate needs it",
    ),
}


@pytest.mark.parametrize("mode", ["online", "offline"])
@pytest.mark.parametrize(("keys", "message"), REFUSED.values(), ids=REFUSED)
def test_what_wandb_refuses_is_refused_at_creation(keys, message, mode):
    with pytest.raises(ConfigError) as raised:
        create({"parameters": ONE, **keys}, mode=mode, project="study")
    assert str(raised.value).startswith("sweep_configuration") and message in str(raised.value)
    assert not Path("dysweep_logs").exists()


NODES = {
    "distribution": (
        {"distribution": "loguniform", "min": 1, "max": 2},
        ".distribution: no distribution 'loguniform'",
    ),
    "its type": ({"distribution": ["normal"]}, ".distribution: no distribution ['normal']"),
    "one bound": ({"min": 1.0}, ": 'uniform' needs min and max, and max is missing"),
    "contradiction": ({"min": 3, "max": 1}, ".min: 3 is larger than max, which is 1"),
    "text as bound": (
        {"min": "1e-3", "max": 1.0},
        ".min: a finite number is needed, this is the text '1e-3'",
    ),
    "boolean as bound": (
        {"min": False, "max": 1.0},
        ".min: a finite number is needed, this is the boolean false",
    ),
    "infinite bound": (
        {"min": 0.0, "max": float("inf")},
        ".max: a finite number is needed, this is the number inf",
    ),
    "log of nothing": (
        {"distribution": "log_uniform_values", "min": 0, "max": 1},
        ".min: 'log_uniform_values' needs",
    ),
    "no whole number": (
        {"distribution": "int_uniform", "min": 0.5, "max": 2},
        ".min: 'int_uniform' takes whole numbers",
    ),
    "values and bounds": (
        {"values": [1], "min": 0, "max": 1},
        ".min: 'categorical' does not take it; there are values",
    ),
    "value and values": (
        {"values": [1], "value": 1},
        ".value: 'categorical' does not take it; did you mean 'values'?",
    ),
    "q": ({"min": 0.0, "max": 1.0, "q": 0.1}, ".q: 'uniform' does not take it; there are min, max"),
    "no q": ({"distribution": "q_uniform", "min": 0.0, "max": 1.0, "q": 0}, ".q: must be more than 0, got 0"),
    "sigma": ({"distribution": "normal", "sigma": -1}, ".sigma: must be more than 0, got -1"),
    "mean": ({"distribution": "normal", "mean": 0}, ".mean: 'normal' does not take it; there are mu, sigma"),
    "probabilities": (
        {"values": [1, 2], "probabilities": [0.5, 0.6]},
        ".probabilities: must add up to 1, and are 1.1",
    ),
    "negative": (
        {"values": [1, 2], "probabilities": [1.5, -0.5]},
        ".probabilities: each must be a number of at least 0",
    ),
    "categorical": (
        {"distribution": "categorical", "values": [1, 2], "probabilities": [0.5, 0.5]},
        ".distribution: 'categorical' takes no probabilities; leave the distribution out",
    ),
    "nested": (
        {"parameters": {"b": {"values": [1]}}},
        ".parameters: W&B's nested `parameters` is not needed",
    ),
    "a key of two lines": ({"values": [1], "a\nb": 1}, r"['a\nb']: 'categorical' does not take it"),
    "other key": ({"values": [1], "foo": 1}, ".foo: 'categorical' does not take it; there are values"),
}


@pytest.mark.parametrize(("node", "message"), NODES.values(), ids=NODES)
def test_a_parameter_that_wandb_refuses_is_refused_at_creation(node, message):
    described = {"method": "random", "parameters": {"a": {"sweep": True, **node}}}
    with pytest.raises(ConfigError) as raised:
        create(described, mode="online", project="study")
    assert str(raised.value).startswith("sweep_configuration.parameters.a" + message)


WITHOUT_EFFECT = {
    "controller": (
        {"controller": {"type": "local"}},
        "sweep_configuration.controller: no effect offline; only W&B can do this",
    ),
    "program": (
        {"program": "train.py", "command": ["python"]},
        "sweep_configuration.program and sweep_configuration.command: used by agents that are given this",
    ),
    "several metrics": (
        {"metrics": [{"name": "a"}]},
        "sweep_configuration.metrics: only a scheduler of W&B's uses it; name one as metric: {name: loss",
    ),
    "no goal": (
        {"metric": {"name": "val/acc"}},
        "sweep_configuration.metric: val/acc has no goal, so it is minimized; add `goal`",
    ),
}


@pytest.mark.parametrize(("keys", "message"), WITHOUT_EFFECT.values(), ids=WITHOUT_EFFECT)
def test_what_has_no_effect_is_said_and_the_sweep_is_made(keys, message, caplog):
    assert create({"parameters": ONE, **keys})
    assert caplog.text.count(message) == 1


def test_exponents_that_look_like_values_and_a_missing_q_are_said(caplog):
    parameters = {
        "lr": {"sweep": True, "distribution": "log_uniform", "min": 0.0001, "max": 0.1},
        "p": {"sweep": True, "distribution": "q_uniform", "min": 0.0, "max": 0.5},
        "exponents": {"sweep": True, "distribution": "log_uniform", "min": -9.2, "max": -2.3},
        "rounded": {"sweep": True, "distribution": "q_uniform", "min": 0.0, "max": 0.5, "q": 0.1},
    }
    create({"method": "random", "run_cap": 1, "parameters": parameters})
    assert (
        "sweep_configuration.parameters.lr: min and max of log_uniform are exponents of e, so this draws "
        "from 1 to 1.105; to draw from 0.0001 to 0.1, write distribution: log_uniform_values" in caplog.text
    )
    assert "parameters.p: without q the values are whole numbers; add q: 0.1, for example" in caplog.text
    assert "parameters.exponents" not in caplog.text and "parameters.rounded" not in caplog.text


def test_the_metric_means_the_same_inside_and_beside_the_sweep_configuration(caplog):
    for described, settings, metric in [
        (ONE, {"metric": "loss"}, {"name": "loss"}),
        ({"parameters": ONE, "metric": {"name": "loss"}}, {}, {"name": "loss"}),
        (ONE, {"metric": "acc", "goal": "maximize"}, {"name": "acc", "goal": "maximize"}),
        (
            {"parameters": ONE, "metric": {"name": "acc"}},
            {"goal": "maximize"},
            {"name": "acc", "goal": "maximize"},
        ),
        (
            {"parameters": ONE, "metric": {"name": "acc", "goal": "maximize"}},
            {"metric": "acc"},
            {"name": "acc", "goal": "maximize"},
        ),
    ]:
        assert dysweep.open_sweep(create(described, **settings)).sweep.sweep_configuration["metric"] == metric
    with pytest.raises(ConfigError, match=r"^goal: no effect without a metric; add its name"):
        create(ONE, goal="maximize")
    with pytest.raises(ConfigError, match=r"^goal: 'minimize' contradicts sweep_configuration.metric.goal"):
        create({"parameters": ONE, "metric": {"name": "acc", "goal": "maximize"}}, goal="minimize")


def test_settings_that_an_existing_sweep_does_not_use_are_named(caplog):
    described = {"name": "first", "metric": {"name": "loss"}, "parameters": ONE}
    sweep_id = create(described)
    work = {"sweep_id": sweep_id, "function": lambda config, checkpoint_dir: None}
    same = {"sweep_name": "first", "method": "grid", "metric": "loss", "goal": "minimize", "mode": "offline"}
    dysweep.dysweep_run_resume(**work, **same, base_config={"a": 1}, sweep_configuration=described)
    assert "not used" not in caplog.text
    other = {
        "sweep_name": "x",
        "method": "random",
        "metric": "acc",
        "goal": "maximize",
        "project": "x",
        "entity": "y",
    }
    other_tree = {**described, "metric": {"name": "acc"}}
    dysweep.dysweep_run_resume(**work, **other, sweep_configuration=other_tree)
    names = "sweep_configuration and sweep_name and method and metric and goal and project and entity"
    assert f"{names}: not used, as the sweep {sweep_id} keeps what it was created with" in caplog.text
