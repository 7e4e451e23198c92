"""`dysweep_create --extend`: what a changed definition adds to a sweep, while its runs stay as they are."""

import json
from pathlib import Path

import helpers
import pytest

from dysweep import FunctionError, cli, dysweep_run_resume, open_sweep
from dysweep.directory.extensions import Definitions

LINES = (Path(__file__).parent / "data/spaces.jsonl").read_text(encoding="utf-8").splitlines()
VECTORS = [vector for vector in map(json.loads, LINES) if "extend" in vector["tags"]]
SEEDS = "seed: {sweep: true, values: [%s]}"


@pytest.fixture
def sweep(own_folder, capsys):
    """Be in a folder with functions, and a sweep over two seeds that is finished."""
    (own_folder / "functions.py").write_text("def trains(config, checkpoint_dir): pass\n")
    write(SEEDS % "0, 1")
    sweep_id = helpers.create(capsys)
    assert helpers.run("trains", "--sweep_id", sweep_id) == 0
    capsys.readouterr()
    return sweep_id


def write(parameters, base="seed: 7", **words):
    words = "".join(f"  {word}: {value}\n" for word, value in words.items())
    below = f"  parameters: {{{parameters}}}\n"
    Path("config.yaml").write_text(f"base_config: {{{base}}}\nsweep_configuration:\n{words}{below}")


def extend(sweep_id, *more):
    return cli.create(["-c", "config.yaml", "--extend", sweep_id, *more])


def numbers(sweep_id):
    return [run.run_id.rpartition("-")[2] for run in open_sweep(sweep_id).runs]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["id"])
def test_the_configs_that_are_not_there_yet_are_added(vector, own_folder, capsys):
    sweep_id = dysweep_run_resume(
        base_config=vector["base_config"], sweep_configuration={"parameters": vector["sweep_parameters"]}
    )
    then = vector["then"]
    tree = {"parameters": then["sweep_parameters"], **then.get("sweep_configuration", {})}
    Path("config.json").write_text(
        json.dumps({"base_config": then["base_config"], "sweep_configuration": tree})
    )
    assert cli.create(["-c", "config.json", "--extend", sweep_id]) == 0
    assert f"{vector['added_count']} point" in capsys.readouterr().err
    sweep = helpers.directory(sweep_id)
    points = Definitions.of(sweep)
    assert points.size == vector["count"] + vector["added_count"]
    added = []
    for index in range(vector["count"], points.size):
        definition = sweep.definition(points.number(index))
        added.append(definition.compiled.resolve(definition.base_config, points.assignment(index)))
    written = [json.dumps(config, sort_keys=True) for config in (*added, *vector["added"])]
    assert sorted(written[: len(added)]) == sorted(written[len(added) :])
    assert cli.create(["-c", "config.json", "--extend", sweep_id]) == 0
    assert "0 points added" in capsys.readouterr().err


def test_new_points_get_the_next_numbers_and_are_run_once(sweep, capsys):
    before = {path: path.read_bytes() for path in Path("dysweep_logs").rglob("*.json")}
    write(SEEDS % "2, 1, 0, 3")
    assert extend(sweep, "--dry_run") == 0
    out, err = capsys.readouterr()
    assert (out, err.splitlines()[-1]) == (f"{sweep}\n", "2 points added, 2 were there")
    assert open_sweep(sweep).total == 2
    assert extend(sweep) == 0
    assert {path: path.read_bytes() for path in before} == before
    assert open_sweep(sweep).counts == {"pending": 2, "finished": 2}
    assert helpers.run("trains", "--sweep_id", sweep) == 0
    assert numbers(sweep) == ["0001", "0002", "0003", "0004"]
    assert [run.assignment for run in open_sweep(sweep).runs] == [{"seed": each} for each in (0, 1, 2, 3)]
    assert helpers.run("trains", "--sweep_id", sweep) == 0 and len(numbers(sweep)) == 4


def test_an_agent_that_is_at_work_goes_on_with_what_is_added(sweep):
    write(SEEDS % "0, 1, 2")
    assert extend(sweep) == 0
    seen = []

    def extends(config, checkpoint_dir):
        seen.append(config)
        if len(seen) == 1:
            write(SEEDS % "0, 1, 2, 3")
            assert extend(sweep) == 0

    dysweep_run_resume(sweep_id=sweep, function=extends)
    assert seen == [{"seed": 2}, {"seed": 3}]


def test_a_new_parameter_is_a_new_column_and_an_old_run_is_resumed_as_it_was(sweep, capsys):
    write(f"{SEEDS % '0, 1'}, lr: {{sweep: true, values: [1, 2]}}", base="seed: 7, lr: 1")
    assert extend(sweep) == 0
    assert "4 points added, 0 were there" in capsys.readouterr().err
    configs = []

    def fails(config, checkpoint_dir):
        configs.append(config)
        raise ValueError

    with pytest.raises(FunctionError):
        dysweep_run_resume(sweep_id=sweep, function=fails, count=1)
    for run in helpers.directory(sweep).runs():
        (run.path / "run_config.json").unlink()  # then it is made again, by the definition that the run is of
    with pytest.raises(ValueError):
        dysweep_run_resume(sweep_id=sweep, function=fails, rerun_id=f"{sweep}-0001")
    with pytest.raises(ValueError):
        dysweep_run_resume(sweep_id=sweep, function=fails, rerun_id=f"{sweep}-0003")
    assert configs == [{"seed": 0, "lr": 1}, {"seed": 0}, {"seed": 0, "lr": 1}]
    header, rows = open_sweep(sweep).rows()
    columns = [[row[header.index(name)] for name in ("seed", "lr")] for row in rows]
    assert columns == [[0, None], [1, None], [0, 1]]
    assert cli.status(["--sweep_id", sweep, "--runs"]) == 0
    assert helpers.run("trains", "--sweep_id", sweep, "--debug", "5") == 0
    assert "5: seed=1, lr=1" in capsys.readouterr().err


def test_a_program_gets_the_parameters_of_its_definition(sweep):
    write("lr: {sweep: true, values: [1, 2]}", base="seed: 7, lr: 1")
    assert extend(sweep) == 0
    Path("program.py").write_text("import sys; open('arguments', 'a').write(' '.join(sys.argv[1:]) + '\\n')")
    assert cli.run_resume(["--sweep_id", sweep, "--command", "python program.py {args}"]) == 0
    assert Path("arguments").read_text() == "--seed=7 --lr=1\n--seed=7 --lr=2\n"


@pytest.mark.parametrize("method", ["random", "bayes"])
def test_draws_go_on_with_more_runs_or_in_another_space(method, own_folder, capsys):
    (own_folder / "functions.py").write_text(
        "import wandb\ndef trains(config, checkpoint_dir): wandb.log({'loss': config['x']})\n"
    )
    words = {"method": method, "metric": "{name: loss}", "sweep_seed": 1}
    kind = "{sweep: true, sweep_alias: [real], values: [{sweep: true, min: %s, max: %s}]}"
    write(f"x: {kind % (0.0, 1.0)}", base="x: 0.5", run_cap=3, **words)
    sweep_id = helpers.create(capsys)
    assert helpers.run("trains", "--sweep_id", sweep_id) == 0
    for cap, low in ((5, 0.0), (7, 2.0)):
        write(f"x: {kind % (low, low + 1)}", base="x: 0.5", run_cap=cap, **words)
        assert extend(sweep_id) == 0
        assert "2 runs added, with the new definition" in capsys.readouterr().err
        assert helpers.run("trains", "--sweep_id", sweep_id) == 0
    values = [run.metrics["loss"] for run in open_sweep(sweep_id).runs]
    assert [value > 1 for value in values] == [False] * 5 + [True] * 2
    assert extend(sweep_id) == 0
    assert "0 runs added: nothing has changed" in capsys.readouterr().err
    write(f"x: {kind % (2.0, 3.0)}", base="x: 0.5", run_cap=6, **words)
    assert extend(sweep_id) == 2
    assert "run_cap: 6 is less than before (7)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("parameters", "words", "message"),
    [
        (SEEDS % "1", {"method": "random", "run_cap": 3}, "sweep_configuration.method: the sweep"),
        (SEEDS % "1", {"metric": "{name: loss}"}, "sweep_configuration.metric: the sweep"),
        ("seed: {sweep: true, min: 1, max: 100001}", {}, "100001 are more than 100000"),
        ("seed: {sweep: true, values: [{dy__eval: 'lambda c: 1'}]}", {}, "needs --allow_eval True"),
        (SEEDS % "1, 2", {"run_name": "x-{seed}"}, "has None, which stays; leave it out"),
        ("seed: {sweep: true}", {}, "sweep_configuration.parameters.seed"),
    ],
)  # fmt: skip
def test_what_cannot_extend_a_sweep_is_one_line(sweep, parameters, words, message, capsys):
    write(parameters, **{word: value for word, value in words.items() if word != "run_name"})
    assert extend(sweep, *([f"--run_name={words['run_name']}"] if "run_name" in words else [])) == 2
    err = capsys.readouterr().err
    assert message in err and "Traceback" not in err
    assert not list(Path("dysweep_logs").glob("*/sweep.0*"))


def test_a_sweep_that_is_not_there_or_is_in_wandb_cannot_be_extended(sweep, capsys):
    assert extend("nothing") == 1 and "nothing" in capsys.readouterr().err
    path = helpers.directory(sweep).record_path
    stored = json.loads(path.read_text())
    path.write_text(json.dumps({**stored, "mode": "online", "entity": "team"}))
    assert extend(sweep) == 2
    assert "--extend: W&B serves the sweep team/" in capsys.readouterr().err


def test_a_damaged_extension_is_named(sweep, capsys):
    write(SEEDS % "0, 1, 2")
    assert extend(sweep) == 0
    path = helpers.directory(sweep).definition_path(2)
    path.write_text(path.read_text()[:100])
    capsys.readouterr()
    assert cli.status(["--sweep_id", sweep]) == 1
    assert "sweep.0002.json" in capsys.readouterr().err
