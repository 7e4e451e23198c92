"""W&B as people use it inside a function: the same offline and with W&B, and as under `wandb.agent`."""

import math
import os
import sys
from pathlib import Path

import pytest
import wandb

from dysweep import cli, dysweep_run_resume, open_sweep

DEFAULTS = {"lr": 0.1, "epochs": 3, "dropout": 0.2}
OWN = {"project": "mine", "name": "trial", "tags": ["baseline"], "job_type": "train", "notes": "n"}
AGENT = ["--package", "functions", "--function", "main", "--sweep_id"]
SPACE = {"lr": {"sweep": True, "values": [0.5, 0.25]}}


@pytest.fixture(params=["offline", "online"])
def mode(request, server, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", request.param)
    return request.param


def execute(function, mode=None, space=SPACE, base=None, **settings):
    settings = {"project": "study", "metric": "acc", "goal": "maximize", **settings}
    sweep_id = dysweep_run_resume(
        base_config=base or {"lr": 0.1}, sweep_configuration=space, mode=mode, **settings
    )
    dysweep_run_resume(sweep_id=sweep_id, function=function, mode=mode)
    return open_sweep(sweep_id)


def in_wandb(sweep, server, capsys):
    """Give the sweep's runs as the server has them; those of an offline sweep are uploaded."""
    if sweep.sweep.online:
        return server.backend.runs_of(sweep.sweep.sweep_id)
    os.environ["WANDB_MODE"] = "online"
    capsys.readouterr()
    assert cli.sync(["--sweep_id", sweep.sweep.sweep_id]) == 0
    return server.backend.runs_of(capsys.readouterr().out.strip().rpartition("/")[2])


@pytest.mark.parametrize("reinit", [None, True, "finish_previous", "return_previous"])
def test_the_functions_own_init_gives_the_sweeps_run_with_its_defaults_below(mode, server, capsys, reinit):
    seen = []

    def function(config, checkpoint_dir):
        run = wandb.init(config=DEFAULTS, reinit=reinit, **OWN)
        assert run is wandb.run and run.id == checkpoint_dir.parent.name
        seen.append((run.config.lr, wandb.config.epochs, run.config["dropout"]))
        for epoch in range(run.config.epochs):
            wandb.log({"acc": run.config.lr * epoch})
        wandb.finish()

    sweep = execute(function)
    assert sorted(seen) == [(0.25, 3, 0.2), (0.5, 3, 0.2)]
    assert sorted(run.metrics["acc"] for run in sweep.runs) == [0.5, 1.0]
    runs = in_wandb(sweep, server, capsys)
    assert sorted(run.values["lr"] for run in runs) == [0.25, 0.5]
    for run in runs:
        assert (run.display_name, run.tags, run.job_type) == ("trial", ["baseline"], "train")
        assert run.notes == "n" and run.steps == [0, 1, 2] and run.project == "study"
        assert run.values["epochs"] == 3 and run.values["dy_config"] == {"lr": run.values["lr"]}
    assert len(server.backend.runs) == len(runs) + sweep.sweep.online  # and the sweep's metadata


def test_what_cannot_be_honoured_is_said_once(mode, server, start):
    Path("functions.py").write_text(
        "import wandb\n"
        "def main(config, checkpoint_dir):\n"
        "    wandb.init(project='other', id='own', dir='there').log({'acc': 1})\n"
    )
    sweep_id = dysweep_run_resume(base_config={}, sweep_configuration=SPACE, project="study")
    _, err = start("dysweep_run_resume", *AGENT, sweep_id).communicate()
    said = "project='other', dir='there', id='own' not used, as the run is the sweep's"
    assert err.count(said) == err.count("not used") == 1
    assert open_sweep(sweep_id).counts == {"finished": 2}


def test_a_login_in_the_function_is_answered_as_under_wandbs_own_agent(mode, start):
    Path("functions.py").write_text(
        "import wandb\n"
        "def main(config, checkpoint_dir):\n"
        "    wandb.log({'login': int(wandb.login()), 'key': int(wandb.login(key='a' * 40))})\n"
    )
    sweep_id = dysweep_run_resume(base_config={}, sweep_configuration=SPACE, project="study")
    _, err = start("dysweep_run_resume", *AGENT, sweep_id).communicate()
    answer = int(mode == "online")
    assert [run.metrics for run in open_sweep(sweep_id).runs] == [{"login": answer, "key": answer}] * 2
    assert "WARNING" not in err


@pytest.mark.parametrize("form", ["from wandb import init", "from wandb import init as begin"])
@pytest.mark.parametrize("reinit", [None, True])
def test_an_init_that_a_module_has_imported_by_its_name_gives_the_sweeps_run(
    mode, server, capsys, start, form, reinit
):
    name = form.split()[-1]
    Path("functions.py").write_text(
        f"{form}\n"
        "def main(config, checkpoint_dir):\n"
        f"    run = {name}(project='mine', config={{'lr': 77, 'seed': 1}}, reinit={reinit}, tags=['t'])\n"
        "    run.log({'acc': run.config['lr']})\n"
    )
    sweep_id = dysweep_run_resume(base_config={}, sweep_configuration=SPACE, project="study")
    start("dysweep_run_resume", *AGENT, sweep_id).communicate()
    sweep = open_sweep(sweep_id)
    assert sorted(run.metrics["acc"] for run in sweep.runs) == [0.25, 0.5]
    for run in in_wandb(sweep, server, capsys):
        assert (run.values["seed"], run.tags) == (1, ["t"])
    assert {run.project for run in server.backend.runs.values()} == {"study"}


@pytest.mark.parametrize(
    ("name", "value"), [("SWEEP_ID", "abcd1234"), ("RESUME", "must"), ("RUN_ID", "mine"), ("RESUME", "never")]
)
def test_a_sweep_is_created_whatever_run_the_environment_names(server, start, monkeypatch, name, value):
    monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.setenv("WANDB_MODE", "online")
    Path("config.yaml").write_text(
        "project: study\nbase_config: {lr: 1}\nsweep_configuration: {lr: {sweep: true, values: [1]}}"
    )
    process = start("dysweep_create", "-c", "config.yaml")
    out, err = process.communicate()
    assert (process.returncode, "Error" in err) == (0, False), err
    [run] = server.backend.runs.values()
    assert run.name == f"dysweep-{out.strip()}" and server.backend.runs_of(out.strip()) == []


def test_a_sweep_is_uploaded_whatever_run_the_environment_names(server, monkeypatch, capsys):
    sweep = execute(lambda config, checkpoint_dir: wandb.log({"acc": 1}), mode="offline")
    for name, value in (("SWEEP_ID", "abcd1234"), ("RESUME", "must"), ("RUN_ID", "mine")):
        monkeypatch.setenv(f"WANDB_{name}", value)
    runs = in_wandb(sweep, server, capsys)
    assert {run.name for run in runs} == {run.run_id for run in sweep.runs}


def test_defaults_of_the_function_that_differ_from_the_run_are_said_once(mode, start):
    Path("functions.py").write_text(
        "import wandb\n"
        "def main(config, checkpoint_dir):\n"
        "    wandb.init(config={'lr': 3, 'epochs': 20, 'seed': 0, 'net': {'width': 1}}).log({'acc': 1})\n"
    )
    base = {"lr": 1, "epochs": 10, "seed": 0, "net": {"width": 2}}
    sweep_id = dysweep_run_resume(base_config=base, sweep_configuration=SPACE, project="study")
    _, err = start("dysweep_run_resume", *AGENT, sweep_id).communicate()
    said = [line.partition(": its config has ")[2] for line in err.splitlines() if "its config has" in line]
    mend = "; use wandb.config, or what the function got as config"
    assert said == [
        f"lr=3, and the sweep has chosen lr=0.5{mend}",
        f"epochs=20, and the run's config has epochs=10{mend}",
    ]


@pytest.mark.parametrize("form", [dict, lambda **given: wandb.Settings(**given)])
def test_what_init_gets_by_its_settings_is_taken_or_named(mode, server, capsys, form, caplog):
    given = {"run_name": "trial", "run_tags": ["baseline"], "run_notes": "n", "console": "off"}

    def function(config, checkpoint_dir):
        wandb.init(settings=form(**given)).log({"acc": 1})

    sweep = execute(function)
    for run in in_wandb(sweep, server, capsys):
        assert (run.display_name, run.tags, run.notes) == ("trial", ["baseline"], "n")
    said = [record.getMessage() for record in caplog.records if "not used" in record.getMessage()]
    assert len(said) <= 1 and all("settings=['console'] not used" in line for line in said)


def test_swept_values_are_locked(mode, server, capsys):
    def function(config, checkpoint_dir):
        wandb.config.update({**config, "batch_size": 8})
        wandb.config.lr = 99
        wandb.config["dy_config"] = {}
        wandb.log({"acc": wandb.config.lr})

    base = {"optimizer": {"name": "sgd"}, "lr": 0}
    aliases = {"sweep": True, "sweep_alias": ["sgd", "adam"], "values": [{}, {"name": "adam"}]}
    space = {"optimizer": aliases, "lr": {"sweep": True, "values": [0.5]}}
    sweep = execute(function, space=space, base=base)
    assert [(run.state, run.metrics["acc"]) for run in sweep.runs] == [("finished", 0.5)] * 2
    runs = in_wandb(sweep, server, capsys)
    assert sorted((run.values["optimizer"], run.values["batch_size"]) for run in runs) == [
        ("adam", 8),
        ("sgd", 8),
    ]
    assert all(run.values["dy_config"]["lr"] == 0.5 for run in runs)


@pytest.mark.parametrize("ends", ["finish", "teardown"])
def test_init_after_the_end_goes_on_in_the_same_run(mode, server, capsys, ends):
    def function(config, checkpoint_dir):
        wandb.init(config={"phase": "train"})
        wandb.log({"acc": config["lr"]})
        getattr(wandb, ends)()
        with wandb.init(project="evaluation", job_type="eval") as run:
            assert run.id == checkpoint_dir.parent.name
            run.log({"test": 2 * config["lr"]})

    sweep = execute(function)
    for run in sweep.runs:
        assert run.metrics == {"acc": run.assignment["lr"], "test": 2 * run.assignment["lr"]}
    runs = in_wandb(sweep, server, capsys)
    assert len(runs) == 2 and all(run.steps == [0, 1] and run.job_type == "eval" for run in runs)


def test_a_run_for_each_fold_stands_beside_the_sweeps_run(mode, server, capsys):
    def function(config, checkpoint_dir):
        whole = wandb.init()
        accs = []
        for k in range(3):
            name = f"{whole.id}-{k}"
            fold = wandb.init(group=whole.id, job_type="fold", name=name, config=config, reinit="create_new")
            assert fold.id != whole.id and fold.sweep_id is None and fold.project == "study"
            accs.append(config["lr"] + k / 8)
            fold.log({"acc": accs[-1]})
            fold.finish()
        whole.log({"acc": sum(accs) / 3})

    sweep = execute(function, project="study")
    assert sorted(run.metrics["acc"] for run in sweep.runs) == [0.375, 0.625]
    runs = in_wandb(sweep, server, capsys)
    assert len(runs) == 2
    folds = [run for run in server.backend.runs.values() if run.job_type == "fold"]
    assert all(run.sweep is None for run in folds)
    assert len(folds) == (6 if sweep.sweep.online else len(folds))


SCRIPT = """
import wandb
with wandb.init(project="other", config={"lr": 7}) as run:
    print("OTHER", run.id, run.sweep_id, run.config.lr, run.settings.mode)
"""


def test_environment_variables_of_sweeps_reach_neither_the_run_nor_scripts_of_the_function(
    mode, server, monkeypatch, start, capsys
):
    Path("script.py").write_text(SCRIPT)
    Path("functions.py").write_text(
        "import subprocess, sys, wandb\n"
        "def main(config, checkpoint_dir):\n"
        "    print('RUN', wandb.run.id, flush=True)\n"
        "    print(subprocess.check_output([sys.executable, 'script.py'], text=True))\n"
    )
    sweep_id = dysweep_run_resume(
        base_config={"lr": 1}, sweep_configuration=SPACE, project="study", sweep_name="s"
    )
    monkeypatch.setenv("WANDB_SWEEP_ID", sweep_id)
    monkeypatch.setenv("WANDB_RUN_ID", "mine")
    process = start("dysweep_run_resume", *AGENT, sweep_id)
    out, err = process.communicate()
    assert process.returncode == 0, err
    sweep = open_sweep(sweep_id)
    ids = {run.run_id for run in sweep.runs}
    assert {line.split()[1] for line in out.splitlines() if line.startswith("RUN")} == ids
    others = [line.split()[1:] for line in out.splitlines() if line.startswith("OTHER")]
    assert [each[1:] for each in others] == [["None", "7", mode]] * 2
    assert not ids & {each[0] for each in others}
    monkeypatch.delenv("WANDB_SWEEP_ID")
    monkeypatch.delenv("WANDB_RUN_ID")
    assert {run.name for run in in_wandb(sweep, server, capsys)} == ids


def test_a_project_that_the_function_sets_does_not_reach_the_next_run(mode, server, capsys):
    def function(config, checkpoint_dir):
        os.environ["WANDB_PROJECT"] = "sentiment"
        wandb.log({"acc": config["lr"]})

    sweep = execute(function)
    assert sweep.counts == {"finished": 2}
    assert {run.project for run in in_wandb(sweep, server, capsys)} == {"study"}


def test_settings_of_wandb_that_the_function_changes_do_not_reach_the_next_run(mode, server):
    seen = []

    def function(config, checkpoint_dir):
        seen.append(wandb.setup().settings.run_tags)
        wandb.setup(settings=wandb.Settings(run_tags=("mine",), project="other"))

    sweep = execute(function)
    assert seen == [None, None] and sweep.counts == {"finished": 2}
    assert wandb.setup().settings.project != "other"


def test_metrics_are_numbers_that_were_logged(mode, server):
    def function(config, checkpoint_dir):
        wandb.define_metric("acc", summary="max")
        wandb.define_metric("loss", summary="min,max")
        for acc in (0.1, 0.9, 0.3):
            wandb.log({"acc": acc, "loss": 1 - acc, "nested": {"deep": 2}, "bad": float("nan"), "text": "x"})
        table = wandb.Table(columns=["a"], data=[[1], [2]])
        wandb.log({"html": wandb.Html("<b>x</b>"), "table": table, "histogram": wandb.Histogram([1, 2])})

    for run in execute(function).runs:
        names = {"acc", "acc.max", "loss.min", "loss.max", "nested.deep", "bad"}
        assert run.metrics.keys() == names
        assert run.metrics["acc"] == run.metrics["acc.max"] == 0.9
        assert math.isnan(run.metrics["bad"])
        assert run.metrics["loss.min"] == pytest.approx(0.1)


def test_artifacts_of_offline_runs_can_be_uploaded_from_another_home(server, monkeypatch, tmp_path, start):
    def function(config, checkpoint_dir):
        path = checkpoint_dir / "model.txt"
        path.write_text("weights")
        artifact = wandb.Artifact("model", type="model")
        artifact.add_file(str(path))
        wandb.log_artifact(artifact)

    monkeypatch.setenv("WANDB_MODE", "offline")
    sweep = execute(function)
    staged = [path for path in Path("dysweep_logs").rglob("*") if "staging" in path.parts and path.is_file()]
    assert [path.read_text() for path in staged] == ["weights"] * 2
    assert "WANDB_DATA_DIR" not in os.environ
    server.requests.clear()
    elsewhere = {**os.environ, **server.environment, "HOME": str(tmp_path / "elsewhere")}
    process = start("dysweep_sync", "--sweep_id", sweep.sweep.sweep_id, env=elsewhere)
    _, err = process.communicate()
    assert process.returncode == 0, err
    # Older SDKs ask first what the server can do, in other words than this one knows.
    asked = sum(number for name, number in server.requests.items() if "CreateArtifact" in name)
    assert 2 in (server.requests["CreateArtifact"], asked)


def test_an_online_agent_says_where_the_runs_page_is(server, monkeypatch, caplog):
    monkeypatch.setenv("WANDB_MODE", "online")
    caplog.set_level("INFO", "dysweep")
    sweep = execute(lambda config, checkpoint_dir: None)
    said = [record.getMessage() for record in caplog.records]
    for run in sweep.runs:
        assert f"{run.run_id}  {server.url}/researcher/study/runs/{run.run_id}" in said


def test_an_online_agent_ends_under_a_debugger(server, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "online")
    before = sys.gettrace()
    sys.settrace(lambda frame, event, argument: None)
    try:
        sweep = execute(lambda config, checkpoint_dir: wandb.log({"acc": 1}))
    finally:
        sys.settrace(before)
    assert sweep.counts == {"finished": 2}


def test_settings_deep_in_the_tree_have_a_short_key_in_wandb(mode, server, capsys):
    base = {"model": {"encoder": {"depth": 2, "width": [8, 4]}, "decoder": {"depth": 3}}, "lr": 0.1}
    depth = {"sweep": True, "sweep_alias": ["shallow", "deep"], "values": [{}, {"encoder": {"depth": 9}}]}
    seen = []

    def function(config, checkpoint_dir):
        run = wandb.init(config={"lr": 7})
        seen.append((run.config["depth"], run.config["decoder.depth"], run.config["0"], run.config["lr"]))

    keys = ["model.encoder.depth", "model.decoder.depth", "model.encoder.width.0"]
    sweep = execute(function, mode, {"model": depth}, base, wandb_keys=keys)
    assert sorted(seen) == [(2, 3, 8, 7), (9, 3, 8, 7)]
    assert sorted(run.values["depth"] for run in in_wandb(sweep, server, capsys)) == [2, 9]


def test_a_short_key_that_nothing_has_is_told(capsys, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    Path("config.yaml").write_text(
        "base_config: {lr: 0.1, a: {lr: 1}}\nsweep_configuration: {lr: {sweep: true, values: [1]}}\n"
    )
    for key, code, message in [
        ("a.depth", 0, "wandb_keys: base_config has no 'a.depth'"),
        ("lr", 2, "wandb_keys: 'lr' has a key in W&B already; leave it out"),
        ("_wandb", 2, "wandb_keys: '_wandb' has a key in W&B already"),
    ]:
        for dry_run in (["--dry_run"], []):
            assert cli.create(["-c", "config.yaml", "--wandb_keys", key, *dry_run]) == code
            assert message in capsys.readouterr().err
