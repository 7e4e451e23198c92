"""The Python functions: settings in every form, values that come back, W&B's own run."""

import copy
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import helpers
import pytest
import wandb
from jsonargparse import ArgumentParser

import dysweep
from dysweep import ConfigError, FunctionError, NotFoundError, ResumableSweepConfig, dysweep_run_resume

BASE = {"lr": 0.1, "model": {"class_path": "Net", "init_args": {}}}
SPACE = {
    "lr": {"sweep": True, "values": [1e-3, 1]},
    "model": {"sweep": True, "values": [{}], "sweep_alias": ["net"]},
}


def created(**settings):
    return dysweep_run_resume(base_config=BASE, sweep_configuration=SPACE, **settings)


def test_settings_come_in_every_form_and_are_never_changed():
    parser = ArgumentParser()
    parser.add_class_arguments(ResumableSweepConfig)
    settings = {"base_config": BASE, "sweep_configuration": SPACE, "run_name": "{model}-{lr:.0e}"}
    namespace = parser.parse_args([])
    namespace.base_config, namespace.sweep_configuration = BASE, SPACE
    for conf in (settings, ResumableSweepConfig(**settings), namespace):
        before = copy.deepcopy(conf)
        sweep_id = dysweep_run_resume(conf, run_name="overridden-{lr}")
        dysweep_run_resume(conf, lambda config, checkpoint_dir: None, sweep_id=sweep_id, count=1)
        assert conf == before
        assert helpers.run_of(sweep_id).record()["assignment"] == {"lr": 0.001, "model": "net"}
    assert helpers.run_of(sweep_id).record()["name"] == "overridden-0.001"


def test_a_single_run_gives_the_value_or_the_error_of_the_function():
    sweep_id = created()
    run_id = f"{sweep_id}-0001"

    def function(config, checkpoint_dir):
        if config["lr"] == 1:
            raise ZeroDivisionError("mine")
        return config["lr"]

    assert dysweep_run_resume(function=function, sweep_id=sweep_id) is None
    assert dysweep_run_resume(function=function, sweep_id=sweep_id, rerun_id=run_id) == 0.001
    with pytest.raises(ZeroDivisionError, match="mine"):
        dysweep_run_resume(function=function, sweep_id=sweep_id, rerun_id=f"{sweep_id}-0002", resume=True)
    fine = dysweep_run_resume(
        function=lambda config, checkpoint_dir: "fine",
        sweep_id=f"team/project/{sweep_id}",
        resume=True,
        count=1,
    )
    assert fine == "fine"


def test_signal_handlers_are_put_back_and_other_threads_install_none():
    sweep_id = created()
    seen = []

    def function(config, checkpoint_dir):
        seen.append(signal.getsignal(signal.SIGTERM))

    def mine(number, frame):
        pass

    previous = signal.signal(signal.SIGTERM, mine)
    try:
        dysweep_run_resume(function=function, sweep_id=sweep_id, count=1)
        assert signal.getsignal(signal.SIGTERM) is mine
        settings = {"function": function, "sweep_id": sweep_id, "count": 1}
        thread = threading.Thread(target=dysweep_run_resume, kwargs=settings)
        thread.start()
        thread.join()
    finally:
        signal.signal(signal.SIGTERM, previous)
    assert seen[0] is not mine and seen[1] is mine
    assert not dysweep.preempted()


def test_a_function_may_change_the_working_directory():
    sweep_id = created()
    root = os.getcwd()

    def function(config, checkpoint_dir):
        os.chdir("/")
        (checkpoint_dir / "here").touch()

    dysweep_run_resume(function=function, sweep_id=sweep_id)
    os.chdir(root)
    assert {helpers.run_of(sweep_id, number).state() for number in (1, 2)} == {"finished"}


def test_the_wandb_run_carries_the_assignment_the_tree_and_the_sweep():
    seen = {}

    def function(config, checkpoint_dir):
        run = wandb.run
        seen.update(id=run.id, group=run.group, project=run.project, config=dict(run.config), tree=config)

    sweep_id = created(project="study")
    dysweep_run_resume(function=function, sweep_id=sweep_id, count=1)
    assert (seen["id"], seen["group"], seen["project"]) == (f"{sweep_id}-0001", sweep_id, "study")
    assert seen["tree"] == {"lr": 0.001, "model": {"class_path": "Net", "init_args": {}}}
    assert (seen["config"]["lr"], seen["config"]["model"]) == (0.001, "net")
    assert dysweep.hierarchical_config(seen["config"])["lr"] == 0.001
    with pytest.raises(NotFoundError, match="no dy_config"):
        dysweep.hierarchical_config({"lr": 1})


def logs(config, checkpoint_dir):
    wandb.log({"loss": 0.5, "val": {"acc": 0.75}, "note": "text"})


def inits_itself(config, checkpoint_dir):
    with wandb.init(project="elsewhere", config=config) as run:
        run.log({"loss": 0.5, "val": {"acc": 0.75}})


def finishes_itself(config, checkpoint_dir):
    run = wandb.init()
    run.log({"loss": 0.5, "val": {"acc": 0.75}})
    wandb.finish()


def installs_a_package(config, checkpoint_dir):
    metadata = Path("packages/mine-1.0.dist-info/METADATA")
    metadata.parent.mkdir(exist_ok=True)
    metadata.write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")


def starts_another_run_afterwards(config, checkpoint_dir):
    finishes_itself(config, checkpoint_dir)
    with wandb.init(project="evaluation", dir=checkpoint_dir, reinit="create_new") as run:
        assert run.id not in str(checkpoint_dir) and run.settings.mode == "offline"


def packages_of(run):
    [path] = run.path.glob("wandb/offline-run-*/files/requirements.txt")
    return path.read_text().splitlines()


def test_each_run_keeps_the_packages_that_are_installed_when_it_starts(monkeypatch):
    Path("packages").mkdir()
    monkeypatch.syspath_prepend("packages")
    sweep_id = created()
    dysweep_run_resume(function=installs_a_package, sweep_id=sweep_id)
    first, second = [packages_of(helpers.run_of(sweep_id, number)) for number in (1, 2)]
    assert f"wandb=={wandb.__version__}" in first
    assert set(second) == {*first, "mine==1.0"} and "mine==1.0" not in first


def test_runs_keep_no_packages_if_wandb_is_told_to_keep_none(monkeypatch):
    monkeypatch.setenv("WANDB_X_SAVE_REQUIREMENTS", "false")
    wandb.teardown()  # the SDK reads its variables once
    sweep_id = created()
    dysweep_run_resume(function=logs, sweep_id=sweep_id)
    assert not list(helpers.run_of(sweep_id).path.glob("wandb/*/files/requirements.txt"))
    wandb.teardown()


@pytest.mark.parametrize("function", [logs, inits_itself, finishes_itself, starts_another_run_afterwards])
def test_final_metrics_are_recorded_whoever_ends_the_wandb_run(function):
    sweep_id = created()
    dysweep_run_resume(function=function, sweep_id=sweep_id)
    for number in (1, 2):
        run = helpers.run_of(sweep_id, number)
        assert run.last_attempt().end().metrics == {"loss": 0.5, "val.acc": 0.75}
        assert list((run.path / "wandb").glob(f"offline-run-*-{run.run_id}"))
    assert wandb.run is None


@pytest.mark.parametrize(
    ("code", "outcome"), [(None, "finished"), (0, "finished"), (3, "failed"), ("no", "failed")]
)
def test_sys_exit_in_the_function_counts_by_its_code(code, outcome):
    sweep_id = created()
    dysweep_run_resume(
        function=lambda config, checkpoint_dir: sys.exit(code), sweep_id=sweep_id, raise_errors=False
    )
    assert helpers.run_of(sweep_id, 2).state() == outcome


@pytest.mark.processes
def test_in_a_notebook_too_the_functions_own_init_gives_the_active_run(tmp_path):
    (tmp_path / "cells.py").write_text(
        "import dysweep, wandb\n"
        "def function(config, checkpoint_dir):\n"
        "    run = wandb.init(project='elsewhere')\n"
        "    run.log({'loss': 0.5})\n"
        "    print(run.id)\n"
        "space = {'lr': {'sweep': True, 'values': [1, 2]}}\n"
        "sweep_id = dysweep.dysweep_run_resume(base_config={}, sweep_configuration=space)\n"
        "dysweep.dysweep_run_resume(function=function, sweep_id=sweep_id)\n"
    )
    command = [sys.executable, "-m", "IPython", "--no-banner", "--colors=nocolor", "cells.py"]
    environment = {**os.environ, "IPYTHONDIR": str(tmp_path / "ipython")}
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    [sweep_id] = [path.name.removeprefix("checkpoints-") for path in Path("dysweep_logs").iterdir()]
    assert shown.stdout.split() == [f"{sweep_id}-0001", f"{sweep_id}-0002"]
    assert helpers.run_of(sweep_id, 2).last_attempt().end().metrics == {"loss": 0.5}


@pytest.mark.processes
def test_a_killed_child_of_a_process_that_uses_wandb_leaves_its_run_free(tmp_path):
    """The SDK's service is handed down to children, and keeps what a killed one has begun."""
    (tmp_path / "children.py").write_text(
        "import os, signal\n"
        "import dysweep\n"
        "def dies(config, checkpoint_dir):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "def lives(config, checkpoint_dir):\n"
        "    pass\n"
        "def work(function, **settings):\n"
        "    dysweep.dysweep_run_resume(function=function, **settings)\n"
    )
    sys.path.insert(0, str(tmp_path))
    import children

    wandb.init(mode="offline", dir=tmp_path).finish()
    sweep_id = created()
    for method, settings in [("spawn", {}), ("fork", {"recover": True})]:
        child = multiprocessing.get_context(method).Process(
            target=children.work,
            args=(children.dies if method == "spawn" else children.lives,),
            kwargs={"sweep_id": sweep_id, "count": 1, **settings},
        )
        child.start()
        child.join()
    assert helpers.run_of(sweep_id).state() == "finished"


def test_a_keyboard_interrupt_ends_the_agent():
    def function(config, checkpoint_dir):
        raise KeyboardInterrupt

    sweep_id = created()
    with pytest.raises(dysweep.Preempted):
        dysweep_run_resume(function=function, sweep_id=sweep_id)
    assert helpers.run_of(sweep_id).state() == "preempted"
    with pytest.raises(NotFoundError, match="unknown run"):
        helpers.run_of(sweep_id, 2)


def test_what_the_function_prints_is_in_the_log_and_on_its_own_streams(capsys):
    def function(config, checkpoint_dir):
        print("to stdout")
        print("to stderr", file=sys.stderr)

    sweep_id = created()
    dysweep_run_resume(function=function, sweep_id=sweep_id, count=1)
    assert helpers.run_of(sweep_id).last_attempt().log_path.read_text() == "to stdout\nto stderr\n"
    out, err = capsys.readouterr()
    assert out == "to stdout\n" and "to stderr\n" in err


def test_the_name_changer_has_the_last_word(tmp_path, monkeypatch):
    (tmp_path / "naming_of_mine.py").write_text("def better(config, run_name):\n    return f'{run_name}!'\n")
    sweep_id = created(run_name="lr{lr}")
    run = {"function": logs, "sweep_id": sweep_id, "count": 1}
    dysweep_run_resume(run_name_changer="naming_of_mine.better", **run)
    assert helpers.run_of(sweep_id).record()["name"] == "lr0.001!"
    code = "lambda config, run_name: config['model']['class_path']"
    with pytest.raises(ConfigError, match="allow_eval"):
        dysweep_run_resume(run_name_changer=code, **run)
    dysweep_run_resume(run_name_changer=code, allow_eval=True, **run)
    assert helpers.run_of(sweep_id, 2).record()["name"] == "Net"


def test_run_cap_and_count_limit_the_runs():
    sweep_id = dysweep_run_resume(
        base_config={},
        sweep_configuration={"run_cap": 3, "parameters": {"a": {"sweep": True, "min": 1, "max": 9}}},
    )
    seen = []
    for _ in range(2):
        dysweep_run_resume(
            function=lambda config, checkpoint_dir: seen.append(config["a"]), sweep_id=sweep_id, count=2
        )
    assert seen == [1, 2, 3]


def test_a_run_whose_config_cannot_be_resolved_fails_and_the_others_go_on():
    swept = {"a": [1, 0], "b": [2, "dy__eval(lambda b: b)"]}
    sweep_id = dysweep_run_resume(
        base_config={"a": 1, "b": 2},
        sweep_configuration={name: {"sweep": True, "values": values} for name, values in swept.items()},
    )
    dysweep_run_resume(function=lambda config, checkpoint_dir: None, sweep_id=sweep_id)
    assert [helpers.run_of(sweep_id, n).state() for n in (1, 2, 3, 4)] == [
        "finished",
        "failed",
        "finished",
        "failed",
    ]
    assert "allow_eval" in helpers.run_of(sweep_id, 2).last_attempt().end().error["message"]
    dysweep_run_resume(
        function=lambda config, checkpoint_dir: None, sweep_id=sweep_id, resume=True, allow_eval=True
    )
    assert [helpers.run_of(sweep_id, n).state() for n in (2, 4)] == ["finished", "finished"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bas_config": {}}, "bas_config: unknown setting; did you mean 'base_config'"),
        ({"count": "3"}, "count: '3' is not a whole number"),
        ({"count": 0}, "count: must be at least 1, got 0"),
        ({"resume": 1}, "resume: 1 is not true or false"),
        ({"goal": "max"}, "goal: 'max' is not maximize or minimize"),
        ({"base_config": 3}, "base_config: 3 is not a mapping or text"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        dysweep_run_resume(function=logs, sweep_id=created(), **settings)


def test_settings_that_contradict_the_sweep_configuration_are_named():
    with pytest.raises(
        ConfigError, match="sweep_name: 'a' contradicts sweep_configuration.name, which is 'b'"
    ):
        dysweep_run_resume(
            base_config={},
            sweep_name="a",
            sweep_configuration={"name": "b", "parameters": {"x": {"sweep": True, "values": [1]}}},
        )


def test_the_function_is_checked_before_anything_starts():
    sweep_id = created()
    with pytest.raises(FunctionError, match="cannot be called with config, checkpoint_dir"):
        dysweep_run_resume(function=lambda settings: None, sweep_id=sweep_id)
    with pytest.raises(ConfigError, match="function: missing"):
        dysweep_run_resume(sweep_id=sweep_id)
    assert list(Path("dysweep_logs").glob("*/runs/*")) == []


@pytest.mark.torch
def test_a_function_for_a_lightning_logger_is_checked_before_anything_starts():
    sweep_id = created()
    with pytest.raises(FunctionError, match="cannot be called with config, logger, checkpoint_dir"):
        dysweep_run_resume(function=logs, sweep_id=sweep_id, use_lightning_logger=True)
    assert list(Path("dysweep_logs").glob("*/runs/*")) == []


def test_a_grid_of_a_trillion_points_costs_nothing_to_create():
    axes = {name: {"sweep": True, "values": list(range(1000))} for name in "abcd"}
    sweep_id = dysweep_run_resume(base_config={}, sweep_configuration=axes)
    seen = []
    dysweep_run_resume(
        function=lambda config, checkpoint_dir: seen.append(config), sweep_id=sweep_id, count=2
    )
    assert seen == [{"a": 0, "b": 0, "c": 0, "d": 0}, {"a": 0, "b": 0, "c": 0, "d": 1}]


@pytest.mark.parametrize("module", ["dysweep", "dysweep.cli"])
def test_neither_importing_dysweep_nor_its_commands_loads_wandb_or_torch(module):
    code = f"import sys, json, {module}; print(json.dumps([each in sys.modules for each in sys.argv[1:]]))"
    command = [sys.executable, "-c", code, "wandb", "torch"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout) == [False, False]


def test_everything_public_is_there():
    assert all(getattr(dysweep, name) is not None for name in dysweep.__all__)
    assert sorted(dysweep.__all__) == dysweep.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        dysweep.nothing  # noqa: B018
