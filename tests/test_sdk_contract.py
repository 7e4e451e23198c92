"""What dysweep rests on in W&B's SDK without being promised it; each test fails with what would break."""

import os
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
import wandb
import yaml
from wandb_server import Fault

from dysweep.directory.address import SweepAddress
from dysweep.tracking.requirements import WITHOUT_REQUIREMENTS, save_requirements
from dysweep.tracking.upload import upload
from dysweep.tracking.versions import GIVES_UP, HAS_FINISH_TIMEOUT, HAS_STOP_FUNCTION

GRID = {"method": "grid", "parameters": {"lr": {"values": [0.1, 0.2]}}}
PLACE = {"entity": "researcher", "project": "study"}


@contextmanager
def otherwise(consequence):
    """Say what breaks for users if the SDK is not as it has been."""
    try:
        yield
    except (Exception, KeyboardInterrupt, pytest.fail.Exception) as error:
        pytest.fail(f"{consequence}: {type(error).__name__}: {error}")


@pytest.fixture
def offline_run(own_folder):
    """Give a function that logs offline, and returns the run's folder and id."""

    def log(**more):
        with wandb.init(mode="offline", dir=own_folder, project="study", **more) as run:
            run.log({"loss": 0.5})
        [folder] = own_folder.glob(f"wandb/offline-run-*-{run.id}")
        return folder, run.id

    yield log
    wandb.teardown()


def test_a_run_that_has_ended_keeps_its_summary(own_folder):
    with wandb.init(mode="offline", dir=own_folder, project="study") as run:
        run.log({"loss": 0.5})
    with otherwise("the metrics of all runs are lost (tracking/metrics.py)"):
        from wandb.sdk.lib import proto_util

        assert proto_util.dict_from_proto_list(run._final_summary.item)["loss"] == 0.5


@pytest.mark.skipif(not HAS_FINISH_TIMEOUT, reason="this SDK waits for an upload without bound")
def test_a_run_whose_upload_was_not_awaited_knows_it(server):
    server.faults.append(Fault("file_stream", times=1000, status=500))
    with wandb.init(**PLACE, settings=wandb.Settings(finish_timeout=1)) as run:
        run.log({"loss": 0.5})
    with otherwise("what W&B lacks is not uploaded by dysweep_sync (tracking/runs.py)"):
        assert run._finish_timed_out is True


def test_a_file_of_a_run_begins_with_seven_bytes(offline_run):
    folder, run_id = offline_run()
    with otherwise("files with nothing in them are sent to W&B at every sync (tracking/upload.py)"):
        header = (folder / f"run-{run_id}.wandb").read_bytes()[:7]
        assert struct.unpack("<4sHB", header) == (b":W&B", 0xBEE1, 0)


def test_sync_marks_what_it_has_sent(server, offline_run):
    folder, _ = offline_run()
    with otherwise("runs are sent to W&B at every sync (tracking/upload.py)"):
        assert upload([folder], SweepAddress("researcher", "study", "")) == []
        assert list(folder.glob("*.wandb.synced"))


def test_sync_names_a_file_that_is_cut_off(server, offline_run):
    folder, run_id = offline_run()
    wandb.teardown()  # the SDK's process writes the end of the file after `finish`
    file = folder / f"run-{run_id}.wandb"
    file.write_bytes(file.read_bytes()[:-20])
    with otherwise("what is left of a killed run is sent to W&B at every sync (tracking/upload.py)"):
        [(_, problem)] = upload([folder], SweepAddress("researcher", "study", ""))
        assert "its end is missing" in problem


def test_an_agents_job_has_its_run_and_assignment_in_the_environment(server):
    sweep_id = wandb.sweep(GRID, "researcher", "study")
    given = []

    def job():
        chosen = yaml.safe_load(Path(os.environ["WANDB_SWEEP_PARAM_PATH"]).read_text())
        given.append((os.environ["WANDB_RUN_ID"], chosen["lr"]["value"]))

    with otherwise("no run of a sweep that W&B serves is executed (tracking/handout.py)"):
        wandb.agent(sweep_id, job, "researcher", "study", count=1)
        [run] = server.backend.runs_of(sweep_id)
        assert given == [(run.name, 0.1)]


def test_an_agent_for_one_run_ends_by_itself(server):
    sweep_id = wandb.sweep(GRID, "researcher", "study")
    agent = threading.Thread(
        target=wandb.agent,
        args=(sweep_id, lambda: None, "researcher", "study"),
        kwargs={"count": 1},
        daemon=True,
    )
    agent.start()
    agent.join(60)
    with otherwise("agents hang after their first run (tracking/handout.py)"):
        assert not agent.is_alive() and len(server.backend.runs_of(sweep_id)) == 1


def test_an_agent_stops_a_job_by_an_exception_in_its_thread(server):
    sweep_id = wandb.sweep(GRID, "researcher", "study")
    stopped = []

    def job():
        [run] = server.backend.runs_of(sweep_id)
        run.stop_asked = True
        deadline = time.monotonic() + 60
        try:
            while time.monotonic() < deadline:
                time.sleep(0.1)
        except Exception as error:
            stopped.append(error)

    with otherwise("W&B's stop button does nothing to a run that was handed out (tracking/handout.py)"):
        wandb.agent(sweep_id, job, "researcher", "study", count=1)
        assert stopped


def test_creating_a_sweep_leaves_its_place_in_the_environment(server):
    wandb.sweep(GRID, project="study")
    with otherwise("the page and the directory of a sweep have no entity (tracking/sweeps.py)"):
        assert (os.environ["WANDB_ENTITY"], os.environ["WANDB_PROJECT"]) == ("researcher", "study")


def test_creating_a_sweep_prints_its_id_on_stdout(server, capsys):
    sweep_id = wandb.sweep(GRID, "researcher", "study")
    with otherwise("the SDK prints elsewhere what tracking/sweeps.py keeps from scripts"):
        assert sweep_id in capsys.readouterr().out


def test_the_service_is_named_by_the_process_that_has_started_it(offline_run):
    offline_run()
    with otherwise("a process uses its parent's service, and is not seen to die (tracking/sdk.py)"):
        assert os.environ["WANDB_SERVICE"].split("-")[1] == str(os.getpid())


def test_what_is_missing_is_named_in_so_many_words(server):
    api = wandb.Api({"entity": "researcher"})
    with otherwise("a run or project that W&B lacks is an error instead of none (tracking/sdk.py, sync.py)"):
        with pytest.raises((ValueError, wandb.errors.CommError), match="(?i)could not find run"):
            api.run("researcher/study/nothing")
        with pytest.raises(ValueError, match="(?i)could not find project"):
            list(api.runs("researcher/nothing"))


@pytest.mark.skipif(not GIVES_UP, reason="this SDK waits by itself until W&B answers")
def test_what_wandb_limits_is_told_in_so_many_words(server):
    server.faults.append(Fault("*", times=1000, status=429))
    with otherwise("a rate limit is not named with its remedy (tracking/sdk.py)"):
        with pytest.raises(Exception, match="did not respond in time"):
            wandb.Api({"entity": "researcher"}).run("researcher/study/nothing")
        with pytest.raises(Exception, match="HTTP 429"):
            wandb.init(**PLACE, settings=wandb.Settings(init_timeout=20))


def test_who_is_not_logged_in_hears_of_the_api_key(server, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY")
    wandb.teardown()
    with otherwise("users without an account do not hear of `wandb login` (tracking/sdk.py)"):
        with pytest.raises(Exception, match="(?i)api.key|not logged in|No authentication"):
            _ = wandb.Api({"entity": "researcher"}).default_entity


def test_a_run_joins_the_sweep_of_its_settings(server):
    sweep_id = wandb.sweep(GRID, "researcher", "study")
    with otherwise("resumed runs leave their sweep (tracking/runs.py)"):
        with wandb.init(**PLACE, id="mine", settings=wandb.Settings(sweep_id=sweep_id)):
            pass
        assert server.backend.run("mine").sweep == sweep_id


@pytest.mark.skipif(not HAS_STOP_FUNCTION, reason="this SDK sends SIGINT")
def test_a_run_that_is_stopped_calls_the_function_of_its_settings(server, monkeypatch):
    monkeypatch.setenv("WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL", "1")
    called = threading.Event()
    settings = wandb.Settings(silent=True, stop_fn=called.set)
    with otherwise("W&B's stop button does nothing to a resumed run (tracking/runs.py)"):
        with wandb.init(**PLACE, id="stopped", settings=settings):
            server.backend.run("stopped").stop_asked = True
            assert called.wait(60)


def test_settings_can_be_changed_while_the_sdk_lives(own_folder, capsys, offline_run):
    offline_run()
    quiet = wandb.Settings(show_info=False)
    wandb.setup(settings=quiet)
    wandb.termsetup(quiet, None)
    capsys.readouterr()
    live = wandb.setup().settings
    before = live.model_copy()
    live.root_dir = str(own_folder / "elsewhere")
    (own_folder / "elsewhere").mkdir()
    with otherwise("the SDK writes beside our messages and folders (tracking/sdk.py, runs.py)"):
        wandb.termlog("words")
        assert "words" not in capsys.readouterr().err
        with wandb.init(mode="offline", project="study") as run:
            assert run.dir.startswith(live.root_dir)
        live.root_dir = before.root_dir
        assert set(type(live).model_fields) > {"root_dir", "reinit", "mode", "sweep_id", "run_id"}
    wandb.teardown()


def test_a_run_id_of_the_environment_is_forgotten_with_its_setting(own_folder, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "of-the-job")
    wandb.teardown()
    live = wandb.setup().settings
    monkeypatch.delenv("WANDB_RUN_ID")
    with otherwise("runs in a job of W&B's agent all get its id (tracking/sdk.py)"):
        assert live.run_id == "of-the-job"
        live.run_id = None
        with wandb.init(mode="offline", dir=own_folder, project="study", id="mine") as run:
            assert run.id == "mine"
    wandb.teardown()


def test_a_variable_that_is_not_accepted_raises(own_folder):
    with otherwise("wrong variables are named only when a run starts (tracking/sdk.py)"):
        wandb.Settings().update_from_env_vars({"WANDB_PROJECT": "study"})
        with pytest.raises(ValueError):
            wandb.Settings().update_from_env_vars({"WANDB_MODE": "sometimes"})


def test_runs_are_found_by_group_sweep_and_state(server):
    sweep_id = wandb.sweep(GRID, "researcher", "study")
    with wandb.init(**PLACE, group="mine", id="grouped"):
        pass
    wandb.agent(sweep_id, lambda: wandb.init(), "researcher", "study", count=1)
    api = wandb.Api({"entity": "researcher"})

    def found(filters):
        return [run.id for run in api.runs("researcher/study", filters=filters, per_page=1000)]

    with otherwise("sync repeats its runs, and lost runs are not found (tracking/sync.py, handout.py)"):
        [handed_out] = server.backend.runs_of(sweep_id)
        assert found({"group": "mine"}) == ["grouped"]
        assert found({"sweep": sweep_id, "state": {"$in": ["pending", "finished"]}}) == [handed_out.name]


def test_what_a_sweep_has_chosen_stays(own_folder):
    with otherwise("a function may change what the sweep has chosen (tracking/runs.py)"):
        with wandb.init(mode="offline", dir=own_folder, project="study") as run:
            run.config.update_locked({"lr": 0.1}, user="sweep", _allow_val_change=True)
            run.config.update({"lr": 0.2}, allow_val_change=True)
            assert run.config["lr"] == 0.1
    wandb.teardown()


def test_the_packages_that_the_sdk_lists_are_those_that_dysweep_saves(own_folder):
    def saved(**settings):
        with wandb.init(mode="offline", dir=own_folder, settings=wandb.Settings(**settings)) as run:
            if settings:
                save_requirements(run)
        wandb.teardown()  # the SDK's process writes the file after `finish`
        file = Path(run.dir, "requirements.txt")
        return sorted(file.read_text().split()) if file.exists() else None

    with otherwise("runs lack their requirements.txt, or have it twice (tracking/requirements.py)"):
        packages = saved()
        assert f"wandb=={wandb.__version__}" in packages
        assert saved(**WITHOUT_REQUIREMENTS) == packages


def test_group_and_job_type_are_sent_with_the_next_name(server):
    with otherwise("group and job_type of the function's wandb.init are lost (tracking/runs.py)"):
        with wandb.init(**PLACE, id="named") as run:
            run._settings.run_job_type = "evaluation"
            run._settings.run_group = "mine"
            run.name = "a name"
        named = server.backend.run("named")
        assert (named.job_type, named.group, named.display_name) == ("evaluation", "mine", "a name")


def test_the_doors_for_tensorboard_and_gym_are_there():
    with otherwise("sync_tensorboard and monitor_gym of the function's wandb.init end it (tracking/runs.py)"):
        from wandb.integration import gym, tensorboard
        from wandb.sdk import wandb_helper

        assert {"tensorboard", "gym"} <= wandb.patched.keys()
        assert callable(tensorboard.patch) and callable(gym.monitor)
        assert wandb_helper.parse_config({"a": 1, "b": 2}, ["b"], None) == {"a": 1}


def test_the_sdk_is_a_program_of_its_python():
    with otherwise("nothing is uploaded, and no sweep is stopped (tracking/sdk.py)"):
        command = [sys.executable, "-m", "wandb", "sync", "--help"]
        shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
        assert {"--project", "--entity", "--include-online"} <= set(shown.replace(",", " ").split())
