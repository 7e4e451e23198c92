"""`use_lightning_logger`: the real Lightning, logging to the attempt's own W&B run."""

from pathlib import Path

import helpers
import pytest

from dysweep import cli
from dysweep.directory.runs import State

DATA = Path(__file__).parent.parent / "tutorials/quickstart/iris.csv"
CONFIG = f"""
project: study
use_lightning_logger: true
base_config: {{data: {DATA}, epochs: 4, lr: 0.1}}
sweep_configuration: {{lr: {{sweep: true, values: [0.1, 0.01]}}}}
"""
FUNCTION = """
import csv

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset


class Linear(LightningModule):
    def __init__(self, lr):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(4, 3)

    def training_step(self, batch, _):
        features, labels = batch
        scores = self.layer(features)
        loss = cross_entropy(scores, labels)
        self.log("loss", loss, on_step=False, on_epoch=True)
        self.log("accuracy", (scores.argmax(1) == labels).float().mean(), on_step=False, on_epoch=True)
        return loss

    def on_train_epoch_end(self):
        if self.hparams.lr == 0.01 and self.current_epoch == 1 and not self.trainer.resumed:
            raise RuntimeError("out of memory")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), self.hparams.lr)


def load(path):
    with open(path, newline="") as file:
        rows = list(csv.reader(file))[1:]
    kinds = sorted({row[-1] for row in rows})
    features = torch.tensor([[float(value) for value in row[:-1]] for row in rows])
    return TensorDataset(features, torch.tensor([kinds.index(row[-1]) for row in rows]))


def main(config, logger, checkpoint_dir):
    torch.manual_seed(0)
    last = checkpoint_dir / "last.ckpt"
    saving = ModelCheckpoint(checkpoint_dir, save_last=True)
    trainer = Trainer(
        max_epochs=config["epochs"], logger=logger, callbacks=[saving], accelerator="cpu",
        enable_progress_bar=False, enable_model_summary=False, log_every_n_steps=1,
        default_root_dir=checkpoint_dir,
    )
    trainer.resumed = last.exists()
    loader = DataLoader(load(config["data"]), batch_size=30)
    trainer.fit(Linear(config["lr"]), loader, ckpt_path=last if last.exists() else None)
"""
WORK = ["--package", "functions", "--function", "main", "--sweep_id"]

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning, torch and wandb warn of each other


@pytest.fixture(autouse=True)
def files(own_folder):
    (own_folder / "config.yaml").write_text(CONFIG)
    (own_folder / "functions.py").write_text(FUNCTION)


def train_until_all_have_finished(capsys):
    assert cli.create(["-c", "config.yaml"]) == 0
    sweep_id = capsys.readouterr().out.strip()
    options = ["--use_lightning_logger"]
    assert cli.run_resume([*WORK, sweep_id, *options]) == 1
    assert "RuntimeError: out of memory" in capsys.readouterr().err
    assert cli.run_resume([*WORK, sweep_id, *options, "--resume"]) == 0
    runs = list(helpers.directory(sweep_id).runs())
    assert [run.state() for run in runs] == [State.FINISHED] * 2
    assert all(0.3 < run.last_attempt().end().metrics["accuracy"] <= 1 for run in runs)
    assert not list(Path("wandb").glob("*")) and not Path("lightning_logs").exists()
    return sweep_id, runs


def test_lightning_logs_to_the_attempts_run_offline_and_resumes_from_its_checkpoint(capsys):
    _, runs = train_until_all_have_finished(capsys)
    resumed = [run for run in runs if run.last_attempt().number == 2]
    assert [run.config()["lr"] for run in resumed] == [0.01]
    assert all(len(list(run.path.glob("wandb/offline-run-*"))) == run.last_attempt().number for run in runs)


def test_lightning_goes_on_in_the_same_run_of_wandb(server, capsys):
    sweep_id, runs = train_until_all_have_finished(capsys)
    for run in server.backend.runs_of(sweep_id):
        assert run.state == "finished"
        assert [line["epoch"] for line in run.history if "loss" in line] == [0, 1, 2, 3]
        assert run.steps == sorted(set(run.steps))
        assert run.values["lr"] in (0.1, 0.01) and run.values["dy_config"]["epochs"] == 4


CLI_FUNCTION = (
    FUNCTION.partition("def main")[0]
    + """
from lightning.pytorch.cli import LightningCLI


def main(config, logger, checkpoint_dir):
    saving = ModelCheckpoint(checkpoint_dir, save_last=True)
    options = {
        "max_epochs": config["epochs"], "logger": logger, "callbacks": [saving], "accelerator": "cpu",
        "enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1,
        "default_root_dir": str(checkpoint_dir),
    }
    cli = LightningCLI(Linear, args={"model": {"lr": config["lr"]}, "trainer": options}, run=False)
    last = checkpoint_dir / "last.ckpt"
    cli.trainer.resumed = last.exists()
    loader = DataLoader(load(config["data"]), batch_size=30)
    cli.trainer.fit(cli.model, loader, ckpt_path=last if last.exists() else None)
"""
)


def test_lightning_cli_saves_its_config_with_each_attempt(capsys):
    Path("functions.py").write_text(CLI_FUNCTION)
    before = Path("config.yaml").read_text()
    _, runs = train_until_all_have_finished(capsys)
    assert Path("config.yaml").read_text() == before
    for run in runs:
        saved = [path.read_text() for path in run.path.glob("wandb/offline-run-*/config.yaml")]
        assert len(saved) == run.last_attempt().number and all("max_epochs: 4" in text for text in saved)


def test_a_function_that_wants_the_logger_is_told_of_the_option(capsys):
    arguments = ["--package", "functions", "--function", "main", "--use_lightning_logger", "false"]
    assert cli.run_resume(["-c", "config.yaml", *arguments]) == 2
    assert "or set use_lightning_logger for its logger" in capsys.readouterr().err


def test_a_function_without_logger_is_refused(capsys):
    Path("functions.py").write_text("def main(config, checkpoint_dir): pass")
    arguments = ["--package", "functions", "--function", "main", "--use_lightning_logger"]
    assert cli.run_resume(["-c", "config.yaml", *arguments]) == 2
    assert "write it as def main(config, logger, checkpoint_dir)" in capsys.readouterr().err
    assert not Path("dysweep_logs").exists()
