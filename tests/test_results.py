"""`dysweep_results`, and the same from Python: tables, the best runs, configs, importance."""

import csv
import io
import itertools
import json
import math
import re
import statistics
from pathlib import Path

import pandas
import pytest
from helpers import directory

import dysweep
from dysweep import ConfigError, NotFoundError, cli, dysweep_run_resume
from dysweep.directory.runs import State
from dysweep.files import load_file

MODELS, DATASETS, SEEDS = ["knn", "tree", "net"], ["wine", "iris"], range(5)
# Of one model the values on wine are 0.1 lower; of net one run on wine fails, of tree one on iris diverges.
ON_IRIS = {
    "knn": [0.80, 0.81, 0.82, 0.83, 0.84],
    "tree": [0.90, 0.91, 0.92, 0.93, 0.94],
    "net": [0.91, 0.92, 0.93, 0.94, 0.95],
}
# Student's t for 95 %, two-sided, from a printed table: with 4 and with 3 degrees of freedom.
T4, T3 = 2.7764, 3.1824


def created(parameters, metric=("accuracy", "maximize"), base=None):
    """Create a sweep that its directory serves, and return its id."""
    described = {"metric": {"name": metric[0], "goal": metric[1]}} if metric else {}
    return dysweep_run_resume(
        base_config=base or {}, sweep_configuration={**described, "parameters": parameters}
    )


def record(sweep_id, number, assignment, metrics, state=State.FINISHED):
    """Record a run as an agent does; with the state None it is left as it is while it is executed."""
    sweep = directory(sweep_id)
    config = sweep.sweep.compiled.resolve(sweep.sweep.base_config, assignment)
    attempt = sweep.start_run(f"{sweep_id}-{number:04d}", assignment, None, config)
    if state is not None:
        error = {"type": "MemoryError", "message": "out", "traceback": ""} if state is State.FAILED else None
        attempt.finish(state, error, metrics)


@pytest.fixture
def study():
    """Three models on two data sets with five seeds; one run has failed, one has diverged."""
    parameters = {
        "model": {"sweep": True, "values": MODELS},
        "dataset": {"sweep": True, "values": DATASETS},
        "seed": {"sweep": True, "sweep_repeats": 5},
    }
    sweep_id = created(parameters, base={"model": "knn", "dataset": "iris", "seed": 0, "epochs": 3})
    number = 0
    for model in MODELS:
        for dataset in DATASETS:
            for seed in SEEDS:
                number += 1
                value = round(ON_IRIS[model][seed] - (0.1 if dataset == "wine" else 0), 2)
                where = (model, dataset, seed)
                failed = where == ("net", "wine", 3)
                metrics = {"accuracy": math.nan if where == ("tree", "iris", 2) else value, "loss": 1 - value}
                assignment = {"model": model, "dataset": dataset, "seed": seed}
                state = State.FAILED if failed else State.FINISHED
                record(sweep_id, number, assignment, {} if failed else metrics, state)
    return sweep_id


def shown(capsys, *arguments):
    capsys.readouterr()
    assert cli.results(list(arguments)) == 0, capsys.readouterr().err
    return capsys.readouterr().out


def refused(capsys, *arguments):
    capsys.readouterr()
    assert cli.results(list(arguments)) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


def lines(text):
    return [re.split(r" {2,}", line.strip()) for line in text.splitlines()]


def test_runs_are_listed_the_best_first_and_those_that_do_not_count_are_named(study, capsys):
    header, *rows, caption, note = lines(shown(capsys, "--sweep_id", study))
    assert header == ["run_id", "state", "model", "dataset", "seed", "accuracy"]
    assert rows[0] == [f"{study}-0030", "finished", "net", "iris", "4", "0.95"]
    values = [float(row[-1]) for row in rows[:28]]
    assert values == sorted(values, reverse=True)
    assert {tuple(row[:2] + row[-1:]) for row in rows[28:]} == {
        (f"{study}-0018", "finished", "nan"),
        (f"{study}-0024", "failed", "-"),
    }
    assert note == ["note: 28 of 30 runs; without a value that counts: 1 with NaN, 1 failed"]


def test_runs_are_chosen_sorted_and_cut(study, capsys):
    wine = ["--sweep_id", study, "--where", "dataset=wine", "--where", "accuracy<=0.83"]
    header, *rows, _, counts, only, cut = lines(shown(capsys, *wine, "--top", "2"))
    assert [row[-1] for row in rows] == ["0.83", "0.83"]  # of tree and of net
    assert counts == ["note: 12 of 12 runs"]  # of the 15 on wine one has failed, one has 0.84, one 0.85
    assert only == ["note: only runs with dataset=wine, accuracy<=0.83"]
    assert cut == ["note: the first 2 of 12 runs"]
    rows = lines(shown(capsys, "--sweep_id", study, "--sort", "seed:desc", "--top", "6"))[1:7]
    assert {row[4] for row in rows} == {"4"}
    worst = lines(shown(capsys, "--sweep_id", study, "--metric", "loss", "--goal", "maximize"))[1]
    assert worst[0] == f"{study}-0001" and float(worst[-1]) == pytest.approx(0.3)


def test_groups_have_the_mean_deviation_median_and_interval_computed_by_hand(study, capsys):
    out = shown(capsys, "--sweep_id", study, "--by", "model,dataset", "--format", "csv")
    rows = {(row["model"], row["dataset"]): row for row in csv.DictReader(io.StringIO(out))}
    assert list(rows) == [(model, dataset) for model in MODELS for dataset in DATASETS]
    for (model, dataset), row in rows.items():
        values = [value - (0.1 if dataset == "wine" else 0) for value in ON_IRIS[model]]
        if (model, dataset) == ("net", "wine"):
            del values[3]
        if (model, dataset) == ("tree", "iris"):
            del values[2]
        mean, deviation = sum(values) / len(values), statistics.stdev(values)
        half = (T4 if len(values) == 5 else T3) * deviation / len(values) ** 0.5
        assert (int(row["n"]), int(row["missing"])) == (len(values), 5 - len(values))
        assert float(row["mean"]) == pytest.approx(mean)
        assert float(row["std"]) == pytest.approx(deviation)
        assert float(row["median"]) == pytest.approx(statistics.median(values))
        assert float(row["low"]) == pytest.approx(mean - half, abs=1e-6)
        assert float(row["high"]) == pytest.approx(mean + half, abs=1e-6)
    assert cli.results(["--sweep_id", study, "--format", "csv"]) == 0
    assert "28 of 30 runs; without a value that counts: 1 with NaN, 1 failed" in capsys.readouterr().err
    first = lines(shown(capsys, "--sweep_id", study, "--by", "model,dataset"))[1]
    # 0.7, 0.71, ..., 0.74: variance 0.00025; 2.7764 * 0.015811 / sqrt(5) = 0.019632
    top = ["--sort", "accuracy", "--top", "1"]
    row, _, _, cut = lines(shown(capsys, "--sweep_id", study, "--by", "model", *top))[1:]
    assert (row[0], cut) == ("net", ["note: the first 1 of 3 rows"])
    assert first == ["knn", "wine", "0.720 ± 0.016", "5", "0.720", "[0.700, 0.740]"]


def test_a_pivot_marks_the_best_and_what_does_not_differ_significantly(study, capsys):
    out = shown(capsys, "--sweep_id", study, "--by", "model", "--pivot", "dataset", "--format", "markdown")
    header, _, *rows, _, caption = out.splitlines()
    assert header == "| model | dataset=wine | dataset=iris |"
    # By Welch's test net differs from knn (t = 11 on iris), and not from tree (t = 0.8).
    assert rows == [
        "| knn | 0.720 ± 0.016 | 0.820 ± 0.016 |",
        "| tree | <ins>0.820 ± 0.016</ins> | <ins>0.920 ± 0.018 (n = 4)</ins> |",
        "| net | **0.828 ± 0.017 (n = 4)** | **0.930 ± 0.016** |",
    ]
    assert "Welch's t-test, p ≥ 0.05" in caption and "standard deviation over seed" in caption
    assert "28 of 30 runs; without a value that counts: 1 with NaN, 1 failed" in caption
    turned = shown(
        capsys, "--sweep_id", study, "--by", "model,dataset", "--pivot", "dataset", "--format", "markdown",
        "--goal", "minimize",
    )  # fmt: skip
    assert "| knn | **0.720 ± 0.016** | **0.820 ± 0.016** |" in turned and "<ins>" not in turned


def test_groups_of_unequal_spread_are_compared_by_welch_and_not_by_student(capsys):
    values = {"a": [0.96, 0.98, 1.0, 1.02, 1.04], "b": [0.86, 0.94]}
    sweep_id = created({"model": {"sweep": True, "values": ["a", "b"]}})
    rows = [(model, value) for model, own in values.items() for value in own]
    for number, (model, value) in enumerate(rows):
        record(sweep_id, number, {"model": model}, {"accuracy": value})
    # Welch: t = 0.1 / sqrt(0.001/5 + 0.0032/2) = 2.36 with df = 1.26, critical is more than 4.3;
    # Student: t = 0.1 / sqrt(0.00144 * (1/5 + 1/2)) = 3.15 with 5, critical is 2.57.
    out = shown(capsys, "--sweep_id", sweep_id, "--by", "model", "--format", "markdown")
    assert [line.split(" | ")[1] for line in out.splitlines()[2:4]] == [
        "**1.000 ± 0.032**", "<ins>0.900 ± 0.057</ins>",
    ]  # fmt: skip


def test_runs_that_were_stopped_early_count_and_are_named(capsys):
    sweep_id = created({"lr": {"sweep": True, "values": [1, 2]}})
    record(sweep_id, 1, {"lr": 1}, {"accuracy": 0.5})
    record(sweep_id, 2, {"lr": 2}, {"accuracy": 0.75}, State.KILLED)
    out = shown(capsys, "--sweep_id", sweep_id)
    assert "note: 2 of 2 runs\nnote: 1 of them stopped early, with the last value\n" in out
    assert lines(shown(capsys, "--sweep_id", sweep_id, "--best", "--where", "state!=killed"))[1][-1] == "0.5"


def test_latex_has_the_same_cells_with_its_own_signs_escaped(capsys):
    sweep_id = created({"my_model": {"sweep": True, "values": ["a&b", "50%_{#}", "~^\\$", [1]]}})
    for number, model in enumerate(["a&b", "50%_{#}", "~^\\$", "[1]"]):
        record(sweep_id, number, {"my_model": model}, {"accuracy": number / 4})
    out = shown(capsys, "--sweep_id", sweep_id, "--by", "my_model", "--format", "latex")
    rows = [line.strip() for line in out.splitlines() if line.endswith(r"\\")]
    assert rows[0] == r"my\_model & accuracy & n & median & 95 \% CI \\"
    assert rows[1].startswith(r"a\&b & 0.0 (n = 1) & 1 & 0.0 & - \\")
    assert rows[2].startswith(r"50\%\_\{\#\} & 0.25 (n = 1) &")
    assert rows[3].startswith(r"\textasciitilde{}\textasciicircum{}\textbackslash{}\$ & 0.5 (n = 1) &")
    assert rows[4].startswith(r"{[}1{]} & \textbf{0.75 (n = 1)} &")  # `\\ [` would begin a length
    assert r"\begin{tabular}{lrrrr}" in out and r"\toprule" in out and r"p $\ge$ 0.05" in out


def test_the_best_run_of_each_group(study, capsys):
    out = lines(shown(capsys, "--sweep_id", study, "--best", "--by", "dataset"))
    assert [row[0] for row in out[1:3]] == [f"{study}-0025", f"{study}-0030"]  # wine, iris
    [_, *rows, _, _] = lines(shown(capsys, "--sweep_id", study, "--best", "3"))
    assert [row[-1] for row in rows] == ["0.95", "0.94", "0.94"]


def test_an_exported_config_is_a_base_config(study, capsys):
    assert shown(capsys, "--sweep_id", study, "--export", "best.yaml") == ""
    assert load_file("best.yaml") == {"model": "net", "dataset": "iris", "seed": 4, "epochs": 3}
    about = Path("best.yaml").read_text().splitlines()[0]
    assert about.startswith(
        f"# config of run {study}-0030 (accuracy 0.95), finished, of sweep {study}: model=net"
    )
    again = created({"epochs": {"sweep": True, "values": [1, 2]}}, base="best.yaml")
    assert directory(again).sweep.base_config["model"] == "net"
    wanted = ["--export", "-", "--run", f"{study}-0001"]
    assert "model: knn\ndataset: wine\nseed: 0\n" in shown(capsys, "--sweep_id", study, *wanted)


def test_a_comment_of_several_lines_does_not_become_config(capsys):
    parameters = {"prompt": {"sweep": True, "values": ["one\nseed: 1", "two"]}}
    sweep_id = created(parameters, metric=("two\nseed: 1", "maximize"))
    record(sweep_id, 1, {"prompt": "one\nseed: 1"}, {"two\nseed: 1": 1})
    assert shown(capsys, "--sweep_id", sweep_id, "--export", "best.yaml") == ""
    assert load_file("best.yaml") == {"prompt": "one\nseed: 1"}


def test_two_runs_are_compared(study, capsys):
    out = shown(capsys, "--sweep_id", study, "--diff", f"{study}-0001", f"{study}-0030", "--format", "json")
    rows = json.loads(out)["rows"]
    assert [tuple(row.values()) for row in rows] == [
        ("setting", "model", '"knn"', '"net"'),
        ("setting", "dataset", '"wine"', '"iris"'),
        ("setting", "seed", "0", "4"),
        ("metric", "accuracy", 0.7, 0.95),
        ("metric", "loss", pytest.approx(0.3), pytest.approx(0.05)),
    ]
    same = refused(capsys, "--sweep_id", study, "--diff", f"{study}-0024", f"{study}-0024")
    assert "--diff: two different runs are needed" in same


def test_json_has_the_values_that_were_chosen_and_no_nan(capsys):
    values = [1, "1", True, None, 0.5]
    sweep_id = created({"depth": {"sweep": True, "values": values}})
    for number, value in enumerate(values):
        metrics = {"accuracy": math.inf if value == 0.5 else number}
        record(sweep_id, number, {"depth": value}, metrics)
    whole = json.loads(shown(capsys, "--sweep_id", sweep_id, "--by", "depth", "--format", "json"))
    assert [(row["depth"], row["n"], row["mean"]) for row in whole["rows"]] == [
        (1, 1, 0), ("1", 1, 1), (True, 1, 2), (None, 1, 3), (0.5, 0, None),
    ]  # fmt: skip
    assert [type(row["depth"]) for row in whole["rows"][:3]] == [int, str, bool]
    assert whole["notes"] == [
        "4 of 5 runs; without a value that counts: 1 with an infinite value",
        "1 of 5 cells is empty",
    ]
    assert lines(shown(capsys, "--sweep_id", sweep_id, "--where", 'depth="1"'))[1][-1] == "1.0"


def test_csv_has_no_formulas(capsys):
    sweep_id = created({"formula": {"sweep": True, "values": ["=1+1", "b"]}})
    record(sweep_id, 1, {"formula": "=1+1"}, {"accuracy": 1})
    assert "'=1+1" in shown(capsys, "--sweep_id", sweep_id, "--format", "csv")


def test_a_single_seed_has_no_deviation_and_no_interval(study, capsys):
    out = lines(shown(capsys, "--sweep_id", study, "--by", "model,dataset", "--where", "seed=0"))
    assert out[1] == ["knn", "wine", "0.7 (n = 1)", "1", "0.7", "-"]


def test_a_running_sweep_says_how_many_runs_are_missing(capsys):
    sweep_id = created({"lr": {"sweep": True, "values": [1, 2, 3, 4, 5]}})
    record(sweep_id, 1, {"lr": 1}, {"accuracy": 0.5})
    record(sweep_id, 2, {"lr": 2}, {}, state=None)
    record(sweep_id, 3, {"lr": 3}, {"loss": 0.5})
    note = "1 of 5 runs; without a value that counts: 1 running, 1 without the metric, 2 not started"
    assert f"note: {note}\n" in shown(capsys, "--sweep_id", sweep_id)
    (directory(sweep_id).path / f"runs/{sweep_id}-0001/attempts/0001.end.json").write_text("{")
    assert cli.results(["--sweep_id", sweep_id, "--metric", "loss", "--goal", "minimize"]) == 0
    out, err = capsys.readouterr()
    assert "1 damaged run left out" in out and "0001.end.json: damaged" in err


def test_sweeps_with_different_parameters_are_one_table(capsys):
    first = created({"model": {"sweep": True, "values": ["knn"]}})
    record(first, 1, {"model": "knn"}, {"accuracy": 0.5})
    second = created({"depth": {"sweep": True, "values": [2, 3]}})
    record(second, 1, {"depth": 2}, {"accuracy": 0.75})
    out = shown(capsys, "--sweep_id", first, "--sweep_id", second)
    header, *rows, _, _, one, other = lines(out)
    assert header == ["run_id", "sweep_id", "state", "model", "depth", "accuracy"]
    assert rows == [
        [f"{second}-0001", second, "finished", "-", "2", "0.75"],
        [f"{first}-0001", first, "finished", "knn", "-", "0.5"],
    ]
    assert (one, other) == (
        [f"note: sweep {first} has no parameter depth"],
        [f"note: sweep {second} has no parameter model"],
    )
    third = created({"depth": {"sweep": True, "values": [2, 3]}}, metric=("loss", "minimize"))
    record(third, 1, {"depth": 2}, {"loss": 0.75})
    assert "optimize accuracy and loss; say which" in refused(capsys, "--sweep_id", first, third)


def test_names_of_parameters_may_be_those_of_columns(capsys):
    sweep_id = created({name: {"sweep": True, "values": [1, 2]} for name in ("state", "mean", "accuracy")})
    record(sweep_id, 1, {"state": 1, "mean": 2, "accuracy": 1}, {"accuracy": 0.5})
    header, row, *_ = lines(shown(capsys, "--sweep_id", sweep_id))
    assert header[1:] == ["state", "parameter.state", "mean", "accuracy", "metric.accuracy"]
    assert row[1:] == ["finished", "1", "2", "1", "0.5"]
    out = shown(capsys, "--sweep_id", sweep_id, "--by", "mean", "--format", "csv")
    assert out.splitlines()[0] == "parameter.mean,n,mean,std,median,low,high,missing"


def test_a_conditional_parameter_is_a_gap_where_it_does_not_apply(capsys):
    depth = {"sweep": True, "values": [2, 3]}
    model = {"sweep": True, "sweep_alias": ["tree", "knn"], "values": [{"depth": depth}, {}]}
    sweep_id = created({"model": model}, base={"model": {}})
    for number, chosen in enumerate(["tree, depth=2", "tree, depth=3", "knn"]):
        record(sweep_id, number, {"model": chosen}, {"accuracy": number / 4})
    out = lines(shown(capsys, "--sweep_id", sweep_id, "--by", "model,tree.depth"))
    assert [row[:3] for row in out[1:4]] == [
        ["tree", "2", "0.0 (n = 1)"], ["tree", "3", "0.25 (n = 1)"], ["knn", "-", "0.5 (n = 1)"],
    ]  # fmt: skip


def test_cells_that_no_run_fills_are_shown_and_counted(capsys):
    depth = {"sweep": True, "values": [2, 3]}
    model = {"sweep": True, "sweep_alias": ["tree", "knn"], "values": [{"depth": depth}, {}]}
    sweep_id = created({"model": model, "data": {"sweep": True, "values": ["b", "a"]}}, base={"model": {}})
    done = [("tree, depth=2", "b"), ("tree, depth=3", "b"), ("tree, depth=3", "a"), ("knn", "a")]
    for number, (chosen, data) in enumerate(done):
        record(sweep_id, number, {"model": chosen, "data": data}, {"accuracy": number / 4})
    spread = ["--by", "model,tree.depth", "--pivot", "data"]
    header, *rows, _, missing, empty = lines(shown(capsys, "--sweep_id", sweep_id, *spread))
    assert header == ["model", "tree.depth", "data=b", "data=a"]
    assert rows == [
        ["tree", "2", "0.0 (n = 1)", "-"],
        ["tree", "3", "0.25 (n = 1)", "0.5 (n = 1)"],
        ["knn", "-", "-", "0.75 (n = 1)"],
    ]
    assert missing == ["note: 4 of 6 runs; without a value that counts: 2 not started"]
    assert empty == ["note: 2 of 6 cells are empty"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--metric", "acuracy"], "--metric: no run has logged 'acuracy'; did you mean 'accuracy'?"),
        (
            ["--metric", "loss", "--best"],
            "--goal: the sweep does not say whether 'loss' is to be large or small",
        ),
        (["--where", "dataset=wines"], "--where: no run has 'dataset=wines'; dataset is wine, iris"),
        (["--where", "dataset=wine", "--where", "accuracy>0.9"], "no run has dataset=wine and accuracy>0.9"),
        (["--where", "datset=wine"], "--where: no parameter 'datset'; did you mean 'dataset'?"),
        (["--where", "seed=first"], "--where: 'seed' holds numbers, got 'seed=first'"),
        (["--where", "model<3"], "--where: 'model' does not hold numbers, so only = and != apply"),
        (["--where", "wine"], "--where: 'wine' is not a condition, as dataset=wine"),
        (["--by", "modle"], "--by: no parameter 'modle'; did you mean 'model'?"),
        (["--by", ","], "--by: names of parameters are needed, as model,dataset"),
        (["--pivot", "dataset"], "--pivot: it needs --by"),
        (["--by", "dataset", "--pivot", "dataset"], "--by needs another parameter than 'dataset'"),
        (["--by", "model", "--pivot", "dataset", "--top", "1"], "--top: not with --pivot"),
        (["--sort", "acuracy"], "--sort: no column 'acuracy'; did you mean 'accuracy'?"),
        (["--best", "--importance"], "--importance and --best: one of them at a time"),
        (["--diff", "a"], "--diff: two different runs are needed, got a"),
        (["--run", "a"], "--run: it needs --export"),
        (["--export", "x", "--top", "1"], "--top: not with --export"),
        (["--export", "nowhere/x"], "--export: nowhere/x cannot be written (No such file"),
        (["--top", "0"], "--top: must be at least 1, got 0"),
        (
            ["--importance", "--where", "seed=0", "--where", "model=net"],
            "it needs 10 runs with a value that counts",
        ),
        (["--format", "excel"], "--format: 'excel' is not text or markdown or latex or csv or json"),
    ],
)
def test_mistakes_are_one_line(study, capsys, arguments, message):
    assert message in refused(capsys, "--sweep_id", study, *arguments)


def test_mistakes_in_what_is_looked_at(study, capsys):
    assert "--sweep_id: missing" in refused(capsys)
    assert cli.results(["--sweep_id", "nothing"]) == 1
    assert "no sweep 'nothing'" in capsys.readouterr().err
    assert cli.results(["--sweep_id", study, "--diff", f"{study}-0001", "other"]) == 1
    assert "other: unknown run of sweep" in capsys.readouterr().err
    empty = created({"lr": {"sweep": True, "values": [1, 2]}})
    assert "no run has logged a number yet" in refused(capsys, "--sweep_id", empty)
    without = created({"lr": {"sweep": True, "values": [1, 2]}}, metric=None)
    record(without, 1, {"lr": 1}, {"loss": 1, "epoch": 3})
    assert "the sweep declares none; its runs have logged epoch, loss" in refused(
        capsys, "--sweep_id", without
    )


def test_a_parameter_without_effect_is_the_least_important(capsys):
    parameters = {
        "lr": {"sweep": True, "values": [1, 2, 3]},
        "colour": {"sweep": True, "values": ["red", "green", "blue"]},
        "model": {"sweep": True, "values": ["knn", "net"]},
        "seed": {"sweep": True, "sweep_repeats": 3},
    }
    sweep_id = created(parameters)
    number = 0
    for lr in (1, 2, 3):
        for colour in ("red", "green", "blue"):
            for model in ("knn", "net"):
                for seed in range(3):
                    number += 1
                    noise = ((number * 7919) % 13 - 6) / 100
                    value = lr + (0.5 if model == "net" else 0) + noise
                    assignment = {"lr": lr, "colour": colour, "model": model, "seed": seed}
                    record(sweep_id, number, assignment, {"accuracy": value})
    found = dysweep.open_sweep(sweep_id).importance()
    assert list(found.parameters["parameter"]) == ["lr", "model", "colour"]  # the repeats are none
    share = found.parameters.set_index("parameter")["importance"]
    # The variance of lr is 2/3, that of model 1/16: 0.914 and 0.086 of both together.
    assert share["lr"] == pytest.approx(0.914, abs=0.2) and share["model"] == pytest.approx(0.086, abs=0.05)
    assert abs(share["colour"]) < 0.01 and found.explained > 0.9
    effects = found.effects.set_index(["parameter", "value"])["effect"]
    assert effects["lr", "3"] - effects["lr", "1"] == pytest.approx(2, abs=0.05)
    assert effects["model", "net"] - effects["model", "knn"] == pytest.approx(0.5, abs=0.05)
    out = lines(shown(capsys, "--sweep_id", sweep_id, "--importance"))
    assert [row[0] for row in out[1:4]] == ["lr", "model", "colour"]
    written = shown(capsys, "--sweep_id", sweep_id, "--importance", "--format", "json")
    ranks, values, pairs = json.loads(written)
    assert [row["parameter"] for row in ranks["rows"]] == ["lr", "model", "colour"]
    assert [row["value"] for row in values["rows"][:3]] == ["1", "2", "3"]
    # lr and model only add up.
    assert found.strongest is None and abs(found.interactions["interaction"]).max() < 0.02
    assert pairs["caption"] == "no two parameters interact by clearly more than chance"
    assert len(pairs["rows"]) == 3 and set(pairs["rows"][0]) == {"parameter", "other", "interaction", "std"}
    only_lr = ["--where", "model=net", "--where", "colour=red", "--where", "lr>0"]
    assert "it needs 10 runs" in refused(capsys, "--sweep_id", sweep_id, "--importance", *only_lr)


def measured(x, y, metric, others=("red", "green")):
    """Return a sweep of x, y and a colour that does nothing, with five seeds, with a made-up metric."""
    lists = {"x": x, "y": y, "colour": others}
    parameters = {name: {"sweep": True, "values": list(values)} for name, values in lists.items()}
    sweep_id = created({**parameters, "seed": {"sweep": True, "sweep_repeats": 5}})
    combinations = itertools.product(x, y, others, range(5))
    for number, (its_x, its_y, colour, seed) in enumerate(combinations, start=1):
        assignment = {"x": its_x, "y": its_y, "colour": colour, "seed": seed}
        noise = ((number * 7919) % 13 - 6) / 100
        record(sweep_id, number, assignment, {"accuracy": metric(its_x, its_y) + noise})
    return sweep_id


def test_two_parameters_that_matter_only_together_are_the_strongest_interaction(capsys):
    # Of x * y, both centred, the whole variance is the interaction; of (x + 2) * (y + 2) it is
    # 2/3 * 2/3 beside the main effects 4 * 2/3 of each: 1/13 of all.
    product = measured([-1, 0, 1], [-1, 0, 1], lambda x, y: x * y)
    found = dysweep.open_sweep(product).importance()
    one, other, share = found.strongest
    assert {one, other} == {"x", "y"} and share == pytest.approx(1, abs=0.15)
    assert found.parameters["parameter"].iloc[-1] == "colour"
    caption = (
        f"the strongest interaction: {one} and {other} explain {share:.0%} of the variance only together"
    )
    for form in ("text", "markdown"):
        out = shown(capsys, "--sweep_id", product, "--importance", "--format", form)
        assert caption.replace("_", "\\_") in out
    out = shown(capsys, "--sweep_id", product, "--importance", "--format", "csv")
    *_, pairs = out.split("\n\n")
    first, *others = csv.DictReader(io.StringIO(pairs))
    assert {first["parameter"], first["other"]} == {"x", "y"} and float(first["interaction"]) > 0.8
    assert all(abs(float(each["interaction"])) < 0.05 for each in others) and len(others) == 2

    shifted = measured([-1, 0, 1], [-1, 0, 1], lambda x, y: (x + 2) * (y + 2))
    one, other, share = dysweep.open_sweep(shifted).importance().strongest
    assert {one, other} == {"x", "y"} and share == pytest.approx(1 / 13, abs=0.03)


def test_what_only_adds_up_and_a_single_parameter_have_no_interaction(capsys):
    summed = measured(["knn", "tree", "net"], ["wine", "iris"], lambda x, y: len(x) + (y == "wine"))
    found = dysweep.open_sweep(summed).importance()
    assert found.strongest is None and found.explained > 0.9
    assert found.parameters["parameter"].iloc[-1] == "colour"
    assert "no two parameters interact" in shown(capsys, "--sweep_id", summed, "--importance")
    alone = measured([1, 2, 3], [0], lambda x, y: x, ["red"])
    assert "interact" not in shown(capsys, "--sweep_id", alone, "--importance")


def test_numbers_are_shown_by_quarters_however_near_or_far_they_are():
    near = [1 + number / 1e6 for number in range(16)]
    far = [*range(15), math.inf]
    sweep_id = created({name: {"sweep": True, "values": far} for name in ("near", "far")})
    for number in range(16):
        chosen = {"near": near[number], "far": far[number]}
        record(sweep_id, number, chosen, {"accuracy": number * 1e300})
    found = dysweep.open_sweep(sweep_id).importance()
    values = found.effects.groupby("parameter", sort=False)["value"].agg(list)
    assert values["far"] == ["0 to 3", "4 to 7", "8 to 11", "12 to inf"]
    assert values["near"][:2] == ["1.0 to 1.000003", "1.000004 to 1.000007"]
    assert 0 < found.explained <= 1


def test_a_parameter_and_the_choice_that_it_is_in_are_no_interaction():
    depth = {"sweep": True, "values": [1, 2, 3, 4]}
    model = {"sweep": True, "sweep_alias": ["tree", "knn"], "values": [{"depth": depth}, {}]}
    sweep_id = created({"model": model, "seed": {"sweep": True, "sweep_repeats": 5}}, base={"model": {}})
    for number in range(25):
        chosen = ["tree, depth=1", "tree, depth=2", "tree, depth=3", "tree, depth=4", "knn"][number % 5]
        value = 0 if chosen == "knn" else int(chosen[-1])
        record(sweep_id, number, {"model": chosen, "seed": number // 5}, {"accuracy": value})
    found = dysweep.open_sweep(sweep_id).importance()
    assert found.interactions.empty and found.strongest is None


def test_a_conditional_parameter_does_not_get_the_importance_of_the_choice_that_it_is_in():
    depth = {"sweep": True, "values": [1, 2, 3, 4]}
    model = {"sweep": True, "sweep_alias": ["tree", "knn"], "values": [{"depth": depth}, {}]}
    sweep_id = created({"model": model, "seed": {"sweep": True, "sweep_repeats": 5}}, base={"model": {}})
    for number in range(25):
        chosen = ["tree, depth=1", "tree, depth=2", "tree, depth=3", "tree, depth=4", "knn"][number % 5]
        value = (0 if chosen == "knn" else 10) + (number * 7919) % 13 / 100
        record(sweep_id, number, {"model": chosen, "seed": number // 5}, {"accuracy": value})
    found = dysweep.open_sweep(sweep_id).importance().parameters.set_index("parameter")
    assert abs(found["importance"]["tree.depth"]) < 0.05 < found["importance"]["model"]
    assert found["runs"]["tree.depth"] == 20


def test_python_gets_dataframes(study):
    sweep = dysweep.open_sweep(study)
    assert sweep.table().index[0] == f"{study}-0030" and len(sweep.table()) == 30
    groups = sweep.table(by=["model", "dataset"])
    assert groups.loc[("net", "wine"), "n"] == 4 and groups.loc[("knn", "iris"), "mean"] == pytest.approx(
        0.82
    )
    spread = sweep.table(by="model", pivot="dataset", where="seed<3")
    assert spread.loc["knn", ("wine", "mean")] == pytest.approx(0.71)
    assert list(spread.index) == MODELS and spread.loc["tree", ("iris", "n")] == 2
    assert list(sweep.best(by="dataset").index) == [f"{study}-0025", f"{study}-0030"]
    assert list(sweep.best(count=2, metric="loss", goal="minimize")["loss"]) == pytest.approx([0.05, 0.06])
    assert set(sweep.diff(f"{study}-0001", f"{study}-0002")["name"]) == {"seed", "accuracy", "loss"}
    assert sweep.export("best.yaml", where="model=knn") == f"{study}-0010"
    assert load_file("best.yaml")["model"] == "knn"
    with pytest.raises(NotFoundError, match="unknown run"):
        sweep.export("x.yaml", "nothing")
    with pytest.raises(ConfigError, match="did you mean 'model'"):
        sweep.table(by="modle")


def test_a_dataframe_of_runs_has_proper_types(study):
    frame = dysweep.open_sweep(study).to_dataframe()
    assert isinstance(frame["state"].dtype, pandas.CategoricalDtype)
    assert isinstance(frame["model"].dtype, pandas.CategoricalDtype)
    assert frame["started"].dtype.kind == "M" and str(frame["started"].dt.tz) == "UTC"
    assert (frame["ended"] >= frame["started"]).all()
    assert (frame["seed"].dtype.kind, frame["accuracy"].dtype.kind, frame["set_aside"].dtype.kind) == (
        "i", "f", "b",
    )  # fmt: skip
    assert dysweep.open_sweep(created({"lr": {"sweep": True, "values": [1]}})).to_dataframe().empty
