"""What may be given as the function: anything whose call does the work."""

import asyncio
import functools
import warnings
from pathlib import Path

import pytest

from dysweep import FunctionError, cli, dysweep_run_resume
from dysweep.checkpoint import SweepDirectory

BASE = {"lr": 0.1, "data": {"dataset": "mnist"}}
SPACE = {"lr": {"sweep": True, "values": [0.5, 0.25]}}
CONFIG = """
base_config: {lr: 0.1}
sweep_configuration: {lr: {sweep: true, values: [0.5, 0.25]}}
"""


def created(**settings):
    return dysweep_run_resume(base_config=BASE, sweep_configuration=SPACE, **settings)


def ends_of(sweep_id):
    directory = SweepDirectory(Path("dysweep_logs") / f"checkpoints-{sweep_id}")
    return [directory.run(run_id).last_attempt().end() for run_id in sorted(directory.run_ids())]


async def waits(config, checkpoint_dir):
    pass


def yields(config, checkpoint_dir):
    yield config


async def waits_and_yields(config, checkpoint_dir):
    yield config


class Trainer:
    def __init__(self, config=None, checkpoint_dir=None):
        self.config = config

    async def __call__(self, config, checkpoint_dir):
        pass

    async def train(self, config, checkpoint_dir):
        pass

    def test(self, config, checkpoint_dir):
        return config["lr"]


FUNCTIONS_THAT_WAIT = {
    "async def": (waits, "async function"),
    "a generator": (yields, "generator function"),
    "an async generator": (waits_and_yields, "generator function"),
    "a partial": (functools.partial(functools.partial(waits), config=None), "async function"),
    "a method": (Trainer().train, "async function"),
    "an object": (Trainer(), "async function"),
    "a partial of an object": (functools.partial(Trainer()), "async function"),
}


@pytest.mark.parametrize("function, kind", FUNCTIONS_THAT_WAIT.values(), ids=FUNCTIONS_THAT_WAIT)
def test_a_function_whose_call_does_nothing_yet_is_refused(function, kind):
    sweep_id = created()
    with pytest.raises(FunctionError, match=f"{kind}.* so calling it does not run it; give a function that"):
        dysweep_run_resume(sweep_id=sweep_id, function=function)
    assert list(Path("dysweep_logs").glob("*/runs/*")) == []


def test_the_command_refuses_an_async_function_before_a_sweep_is_made(tmp_path, capsys):
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "waiting.py").write_text("async def main(config, checkpoint_dir):\n    pass\n")
    assert cli.run_resume(["-c", "config.yaml", "--package", "waiting", "--function", "main"]) == 2
    err = capsys.readouterr().err
    assert "main: it is an async function" in err and err.count("\n") == 1
    assert not Path("dysweep_logs").exists()


def logged(function):
    @functools.wraps(function)
    def wrapper(**kwargs):
        return function(**kwargs)

    return wrapper


@pytest.mark.parametrize("function", [waits, yields, waits_and_yields])
def test_a_run_that_returns_what_nothing_runs_has_failed(function, capsys):
    sweep_id = created()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dysweep_run_resume(sweep_id=sweep_id, function=logged(function))
    assert {end.outcome for end in ends_of(sweep_id)} == {"failed"}
    assert "which nothing runs; give a function that runs it" in ends_of(sweep_id)[0].error["message"]
    assert "Traceback" not in capsys.readouterr().err


def runs(function):
    @functools.wraps(function)
    def wrapper(**kwargs):
        return asyncio.run(function(**kwargs))

    return wrapper


@pytest.mark.parametrize(
    "function",
    [
        Trainer,
        Trainer().test,
        functools.partial(Trainer.test, Trainer()),
        runs(waits),
        functools.partial(dict, a=1),
    ],
    ids=["a class", "a method", "a partial", "a decorator that runs it", "a builtin"],
)
def test_everything_else_that_can_be_called_is_called(function):
    sweep_id = created()
    dysweep_run_resume(sweep_id=sweep_id, function=function)
    assert [end.outcome for end in ends_of(sweep_id)] == ["finished", "finished"]
