"""W&B's own scheduler searches a tree with Optuna; dysweep's agents execute what it suggests."""

import shutil
from pathlib import Path

import pytest
import yaml
from helpers import create, directory

from dysweep.tracking.versions import HAS_SCHEDULER

pytestmark = pytest.mark.skipif(not HAS_SCHEDULER, reason="this SDK has no scheduler")
TUTORIALS = Path(__file__).parent.parent / "tutorials"


def test_optuna_in_wandbs_scheduler_searches_the_quickstarts_tree(server, start, own_folder, capsys):
    pytest.importorskip("optuna")
    shutil.copytree(TUTORIALS / "quickstart", "tutorials/quickstart")
    settings = yaml.safe_load(Path("tutorials/quickstart/config.yaml").read_text())
    settings["sweep_configuration"] |= {"scheduler": {"engine": "optuna"}, "method": "custom", "run_cap": 6}
    Path("config.yaml").write_text(yaml.safe_dump(settings))
    sweep_id = create(capsys)
    place = f"researcher/dysweep-quickstart/{sweep_id}"
    scheduler = start("wandb", "sweep-scheduler", place, "--batch-size", "2", "--poll-interval", "1")
    work = ["--package", "tutorials.quickstart.train", "--function", "main", "--sweep_id", sweep_id]
    agents = [start("dysweep_run_resume", *work) for _ in range(2)]
    said = [agent.communicate()[1] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0] and all("finished" in each for each in said)
    assert "run cap" in scheduler.communicate()[1]
    finished = [run.config() for run in directory(sweep_id).runs() if run.state() == "finished"]
    assert len(finished) >= 6 and server.requests["EnqueueSweepRun"] >= 6
    chosen = settings["sweep_configuration"]["parameters"]["model"]["values"]
    for config in finished:
        assert config["model"]["class_path"] in [value["class_path"] for value in chosen]
        assert config["data"]["csv"] in ("iris.csv", "wine.csv") and config["epochs"] == 20
