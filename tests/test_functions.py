"""Functions of every kind, one call from Python, and what 0.1's users wrote."""

import asyncio
import enum
import functools
import re
import typing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import wandb

import dysweep
from dysweep import (
    ConfigError,
    FunctionError,
    NotFoundError,
    cli,
    dysweep_run_resume,
    open_sweep,
    parse_dictionary_onto_dataclass,
)

SPACE = {"lr": {"sweep": True, "values": [0.5, 0.25]}}


def created(**settings):
    return dysweep_run_resume(base_config={"lr": 0.1}, sweep_configuration=SPACE, **settings)


async def works_later(config, checkpoint_dir):
    pass


def generates(config, checkpoint_dir):
    yield


async def generates_later(config, checkpoint_dir):
    yield


class Later:
    async def __call__(self, config, checkpoint_dir):
        pass


@pytest.mark.parametrize(
    "function", [works_later, generates, generates_later, Later(), functools.partial(works_later)]
)
def test_a_function_whose_call_does_nothing_yet_is_refused(function):
    sweep_id = created()
    with pytest.raises(FunctionError, match="does nothing yet"):
        dysweep_run_resume(sweep_id=sweep_id, function=function)
    assert open_sweep(sweep_id).counts == {"pending": 2}


def test_a_function_that_cannot_be_called_leaves_no_sweep():
    for function in (works_later, lambda settings: None):
        with pytest.raises(FunctionError):
            created(function=function)
    assert not Path("dysweep_logs").exists()


def test_a_misspelt_argument_of_the_function_is_named(capsys, tmp_path):
    (tmp_path / "functions.py").write_text("def main(config, checkpoint_dir, epochs=1): pass\n")
    (tmp_path / "config.yaml").write_text(
        "base_config: {}\nsweep_configuration: {a: {sweep: true, values: [1]}}"
    )
    words = ["-c", "config.yaml", "--package", "functions", "--function", "main"]
    assert cli.run_resume([*words, "--run_additional_args", "epoch:3"]) == 2
    said = "run_additional_args: main takes no 'epoch'; did you mean 'epochs'?"
    assert said in capsys.readouterr().err and not (tmp_path / "dysweep_logs").exists()
    assert cli.run_resume([*words, "--run_additional_args", "epochs:3"]) == 0


def test_a_sweep_inside_a_function_is_refused_before_it_is_created(tmp_path):
    def function(config, checkpoint_dir):
        created(function=lambda config, checkpoint_dir: None)

    with pytest.raises(FunctionError, match="another agent is at work in this process"):
        created(function=function)
    assert len(list((tmp_path / "dysweep_logs").iterdir())) == 1


def test_a_call_that_returns_a_coroutine_has_failed(capsys):
    sweep_id = created()
    with pytest.raises(FunctionError, match="returned a coroutine, so nothing has run yet"):
        dysweep_run_resume(sweep_id=sweep_id, function=lambda **arguments: works_later(**arguments))
    assert open_sweep(sweep_id).counts == {"failed": 2}
    assert "Traceback" not in capsys.readouterr().err


def runs_it(function):
    @functools.wraps(function)
    def wrapper(*arguments, **keywords):
        return asyncio.run(function(*arguments, **keywords))

    return wrapper


class Trainer:
    def train(self, config, checkpoint_dir):
        pass


@pytest.mark.parametrize(
    "function",
    [
        Trainer().train,
        functools.partial(Trainer.train, None),
        runs_it(works_later),
        lambda config, checkpoint_dir: asyncio.run(works_later(config, checkpoint_dir)),
    ],
)
def test_what_can_be_called_is_called(function):
    sweep_id = created()
    dysweep_run_resume(sweep_id=sweep_id, function=function)
    assert open_sweep(sweep_id).counts == {"finished": 2}


def test_one_call_creates_a_sweep_and_works_on_it():
    seen = []
    sweep_id = created(function=lambda config, checkpoint_dir: seen.append(config["lr"]))
    assert seen == [0.5, 0.25] and open_sweep(sweep_id).counts == {"finished": 2}


def test_a_file_of_settings_is_accepted(tmp_path):
    folder = tmp_path / "configs"
    folder.mkdir()
    (folder / "base.yaml").write_text("lr: 0.1")
    path = folder / "config.yaml"
    path.write_text("base_config: base.yaml\nsweep_configuration: {lr: {sweep: true, values: [1, 2]}}")
    for each in (path, str(path)):
        assert open_sweep(dysweep_run_resume(each)).counts == {"pending": 2}
    path.write_text("base_cofnig: {}")
    with pytest.raises(ConfigError, match="config.yaml: base_cofnig: unknown setting"):
        dysweep_run_resume(path)


def test_a_call_in_which_every_run_failed_says_so():
    def fails(config, checkpoint_dir):
        raise ZeroDivisionError(f"with {config['lr']}")

    with pytest.raises(FunctionError, match="all 2 runs failed, with ZeroDivisionError: with 0.5") as raised:
        created(function=fails)
    assert isinstance(raised.value.__cause__, ZeroDivisionError)
    assert open_sweep(created(function=fails, raise_errors=False)).counts == {"failed": 2}
    created(function=lambda config, checkpoint_dir: 1 / (config["lr"] - 0.5))  # not every run


def test_an_exception_without_a_text_is_a_failed_run():
    class Odd(Exception):
        def __str__(self):
            return self.args[1]

    def fails(config, checkpoint_dir):
        raise Odd("x")

    runs = open_sweep(created(function=fails, raise_errors=False)).runs
    assert [(run.state, run.error["type"]) for run in runs] == [("failed", "Odd")] * 2


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Model:
    class_path: typing.Optional[str] = None  # noqa: UP045 - as 0.1's users wrote it
    init_args: typing.Optional[dict] = None  # noqa: UP045


@dataclass
class Training:
    model: typing.Optional[Model] = None  # noqa: UP045
    models: list[Model] = field(default_factory=list)
    data: typing.Optional[typing.Dict[str, typing.Any]] = None  # noqa: UP006, UP045
    betas: tuple[float, float] = (0.9, 0.999)
    rate: int | float = 0
    colour: Colour = Colour.RED
    anything: typing.Any = None
    kind: typing.Literal["a", "b"] = "a"


def test_dataclasses_in_dataclasses_are_understood():
    made = parse_dictionary_onto_dataclass(
        {
            "model": {"class_path": "M", "init_args": {"w": 3}},
            "models": [{"class_path": "A"}, {}],
            "data": {"dataset": "mnist", "class_path": "not.instantiated"},
            "betas": [1, 0.5],
            "rate": 0.5,
            "colour": "RED",
            "anything": [{"x": 1}],
        },
        Training,
    )
    assert made == Training(
        Model("M", {"w": 3}),
        [Model("A"), Model()],
        {"dataset": "mnist", "class_path": "not.instantiated"},
        (1.0, 0.5),
        0.5,
        Colour.RED,
        [{"x": 1}],
    )


@dataclass
class Loose:
    name: str = None
    size: typing.Union[float, int] = 0  # noqa: UP007 - as 0.1's users wrote it


def test_a_null_that_is_the_default_and_whole_numbers_stay_what_they_are():
    made = parse_dictionary_onto_dataclass({"name": None, "size": 3}, Loose)
    assert made.name is None and type(made.size) is int


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": {"init_arg": 3}}, "model.init_arg: unknown setting; did you mean 'init_args'?"),
        ({"model": {"init_args": 3}}, "model.init_args: 3 is not a mapping"),
        ({"models": [{}, {"class_path": 3}]}, "models[1].class_path: 3 is not text"),
        ({"model": 3}, "model: 3 is not a mapping of Model's fields"),
        ({"betas": [1]}, "betas: [1] is not a list of 2"),
        ({"colour": "blue"}, "colour: 'blue' is not red"),
        ({"kind": "c"}, "kind: 'c' is not a or b"),
    ],
)
def test_a_wrong_value_in_a_dataclass_is_named_with_its_place(given, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        parse_dictionary_onto_dataclass(given, Training)


CODE = "def named(conf, run_name):\n  return f\"{conf['lr']}_{run_name}\"\n"


@pytest.mark.parametrize(
    "changer",
    [
        {"function_descriptor": CODE},
        {"expression": CODE, "function_of_interest": "named"},
        {"expression": "lambda conf, run_name: f\"{conf['lr']}_{run_name}\""},
        "lambda conf, run_name: f\"{conf['lr']}_{run_name}\"",
    ],
)
def test_changers_of_names_are_understood_as_0_1_had_them(changer):
    settings = {"run_name_changer": changer, "function": lambda config, checkpoint_dir: None}
    with pytest.raises(ConfigError, match="allow_eval"):
        created(**settings)
    names = [run.name for run in open_sweep(created(**settings, allow_eval=True)).runs]
    assert all(re.fullmatch(r"0\.(5|25)_[a-z]+-[a-z]+-\d+", name) for name in names)
    assert len(set(names)) == 2


@pytest.mark.parametrize("changer", ["lambda conf, run_name: None", "lambda conf, run_name: [1]"])
def test_a_changer_that_gives_no_text_is_named(changer):
    with pytest.raises(ConfigError, match="it returned (NoneType|list), and a name is text"):
        created(run_name_changer=changer, allow_eval=True, function=Trainer().train)


def test_argparse_in_the_function_sees_its_own_defaults(start):
    Path("script.py").write_text(
        "import argparse\n"
        "def main(config, checkpoint_dir):\n"
        "    parser = argparse.ArgumentParser()\n"
        "    parser.add_argument('--resume', default='no')\n"
        "    print('ARGS', parser.parse_args().resume)\n"
    )
    sweep_id = created()
    work = ["--package", "script", "--function", "main", "--sweep_id", sweep_id, "--resume", "False"]
    out, err = start("dysweep_run_resume", *work).communicate()
    assert out.count("ARGS no") == 2, err


@pytest.mark.parametrize(("options", "code"), [("default=3", 0), ("required=True", 2)])
def test_argparse_at_the_import_of_the_module_gets_its_own_words(start, options, code):
    Path("script.py").write_text(
        "import argparse\n"
        "parser = argparse.ArgumentParser()\n"
        f"parser.add_argument('--epochs', {options})\n"
        "args = parser.parse_args()\n"
        "def main(config, checkpoint_dir): pass\n"
    )
    process = start(
        "dysweep_run_resume", "--package", "script", "--function", "main", "--sweep_id", created()
    )
    _, err = process.communicate()
    assert process.returncode == code and "Traceback" not in err
    if code:
        assert "usage: script" in err and "script: error: the following arguments are required" in err
        assert 'below `if __name__ == "__main__":`' in err


@dataclass
class Net:
    depth: int
    name: str = "mlp"


@dataclass
class Recipe:
    lr: float
    model: Net
    layers: list[int] = field(default_factory=list)


SEEN: list[object] = []


def takes_nothing():
    SEEN.append(dysweep.current_run().config["lr"])


def takes_the_config_only(config):
    SEEN.append(config["lr"])


def takes_the_folder_only(checkpoint_dir):
    SEEN.append(checkpoint_dir.is_dir())


def takes_a_default(config=None, *, checkpoint_dir=None):
    SEEN.append(config["lr"] if checkpoint_dir else None)


@pytest.mark.parametrize(
    ("function", "seen"),
    [
        (takes_nothing, [0.5, 0.25]),
        (takes_the_config_only, [0.5, 0.25]),
        (takes_the_folder_only, [True, True]),
        (takes_a_default, [0.5, 0.25]),
    ],
)
def test_a_function_may_do_without_what_it_does_not_need(function, seen):
    SEEN.clear()
    created(function=function)
    assert SEEN == seen
    with pytest.raises(NotFoundError, match="works on no run"):
        dysweep.current_run()


def takes_settings(config: Recipe, checkpoint_dir: Path):
    SEEN.append(config)


def test_a_config_that_is_annotated_with_a_dataclass_is_an_instance_of_it(capsys):
    SEEN.clear()
    base = {"lr": 1, "model": {"depth": 2}, "layers": [1]}
    space = {"model": {"depth": {"sweep": True, "values": [3, "deep"]}}}
    sweep_id = dysweep_run_resume(base_config=base, sweep_configuration=space, function=takes_settings)
    assert SEEN == [Recipe(1.0, Net(3), [1])]
    failed = open_sweep(sweep_id).runs[1]
    assert failed.state == "failed" and failed.error["type"] == "ConfigError"
    assert "config: Recipe does not take it" in failed.error["message"]
    assert "depth" in failed.error["message"] and "deep" in failed.error["message"]
    assert "Traceback" not in capsys.readouterr().err


def fails_everywhere(config, checkpoint_dir):
    raise ValueError(f"no {config['n']}")


def fails_at_three_places(config, checkpoint_dir):
    if config["n"] % 3 == 0:
        raise ValueError("a")
    if config["n"] % 3 == 1:
        raise ValueError("b")
    raise ValueError("c")


def fails_but_once(config, checkpoint_dir):
    if config["n"] != 2:
        raise ValueError("no")


@pytest.mark.parametrize(
    ("function", "more", "executed", "tracebacks"),
    [
        ("fails_everywhere", [], 5, 1),
        ("fails_everywhere", ["--max_failures", "2"], 2, 1),
        ("fails_everywhere", ["--max_failures", "0"], 8, 1),
        ("fails_at_three_places", [], 8, 3),
        ("fails_but_once", [], 8, 1),
    ],
)
def test_an_agent_stops_when_everything_fails_alike(
    capsys, monkeypatch, function, more, executed, tracebacks
):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    space = {"n": {"sweep": True, "values": list(range(8))}}
    sweep_id = dysweep_run_resume(base_config={}, sweep_configuration=space)
    work = ["--package", "test_functions", "--function", function, "--sweep_id", sweep_id, *more]
    assert cli.run_resume(work) == 1
    err = capsys.readouterr().err
    assert sum(run.attempts for run in open_sweep(sweep_id).runs) == executed
    assert err.count("Traceback") == tracebacks
    assert ("fix that and resume, or set --max_failures 0" in err) == (executed < 8)
    assert f"the same error as {sweep_id}-0001" in err


def reads_wandb_config(config):
    with wandb.init(config={"batch": 1, "own": 2}):
        SEEN.append({key: wandb.config[key] for key in wandb.config.keys() if key != "dy_config"})


@pytest.mark.parametrize(
    ("settings", "seen"),
    [
        ({}, {"net": "deep", "batch": 1, "own": 2}),
        ({"wandb_config": "tree"}, {"net": "deep", "batch": 32, "model": {"depth": 9}, "lr": 0.1, "own": 2}),
    ],
)
def test_wandb_config_holds_the_whole_tree_where_that_is_asked_for(settings, seen):
    SEEN.clear()
    net = {"sweep": True, "sweep_identifier": "net", "sweep_alias": ["deep"], "values": [{"depth": 9}]}
    dysweep_run_resume(
        base_config={"lr": 0.1, "batch": 32, "model": {"depth": 1}},
        sweep_configuration={"model": net},
        function=reads_wandb_config,
        **settings,
    )
    assert SEEN == [seen]


def train_of_wandb():
    with wandb.init(config={"batch": 1, "own": 2}) as run:
        SEEN.append((run.config.lr, run.config.batch, run.config.own, run.config.model["depth"]))


def test_a_function_without_config_finds_the_whole_tree_in_wandb_config():
    SEEN.clear()
    dysweep_run_resume(
        base_config={"lr": 0.1, "batch": 32, "model": {"depth": 1}},
        sweep_configuration={"lr": {"sweep": True, "values": [0.5]}},
        function=train_of_wandb,
    )
    assert SEEN == [(0.5, 32, 2, 1)]
