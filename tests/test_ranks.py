"""Several processes for one run: refused with a word, as each would execute another run."""

import json
import os
import subprocess
import sys
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from dysweep import ConfigError, cli, dysweep_run_resume, open_sweep

CONFIG = """
base_config: {lr: 0.1}
sweep_configuration: {lr: {sweep: true, values: [0.5, 0.25]}}
"""
RESTARTS = """
import os, subprocess, sys

def main(config, checkpoint_dir):
    again = [sys.executable, os.path.abspath(sys.argv[0])] + sys.argv[1:]
    rank = {**os.environ, "LOCAL_RANK": "1", "WORLD_SIZE": "2"}
    subprocess.run([sys.executable, "-c", "print('another program')"], env=rank, check=True)
    os.environ.update(LOCAL_RANK="0", WORLD_SIZE="2")
    if config["lr"] == 0.5:
        subprocess.run(again, env=rank, check=True)
    else:
        subprocess.run([sys.executable, "-c", "print('without ranks')"], check=True)
"""
LIGHTNING = """
import lightning as L, torch
from torch.utils.data import DataLoader, TensorDataset

class Net(L.LightningModule):
    def __init__(self, lr):
        super().__init__()
        self.f, self.lr = torch.nn.Linear(4, 1), lr
    def training_step(self, batch, i):
        return self.f(batch[0]).pow(2).mean()
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr)
    def on_train_end(self):
        with open("seen.txt", "a") as file:
            file.write(f"{self.global_rank} {self.lr}\\n")

def main(config, checkpoint_dir):
    trainer = L.Trainer(accelerator="cpu", devices=2, strategy=config["strategy"], max_epochs=1,
                        logger=False, enable_progress_bar=False, enable_model_summary=False,
                        enable_checkpointing=False)
    trainer.fit(Net(config["lr"]), DataLoader(TensorDataset(torch.randn(32, 4)), batch_size=8))
"""
DDP = """
import json, os, signal, sys, time
import dysweep, torch, torch.distributed as dist, wandb

dist.init_process_group("gloo")
run, rank = dysweep.current_run(), dist.get_rank()
assert run.config == json.load(open(sys.argv[1]))
with open("seen.txt", "a") as file:
    file.write(json.dumps({"run": run.run_id, "rank": rank, "pid": os.getpid()}) + "\\n")
if rank == 0:
    wandb.init()
dist.barrier()
if run.config["rank_that_dies"] == rank:
    os.kill(os.getpid(), signal.SIGKILL)
total = torch.tensor([float(rank)])
dist.all_reduce(total)
if rank == 0:
    wandb.log({"sum": total.item()})
    wandb.finish()
dist.destroy_process_group()
"""
WORK = ["-c", "config.yaml", "--package", "functions", "--function", "main"]

ONE_OF_SEVERAL = [
    {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2"},
    {"LOCAL_RANK": "1"},
    {"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "4"},
    {"PMI_RANK": "3", "PMI_SIZE": "4"},
    {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "2", "SLURM_NTASKS": "2"},
]
ALONE = [
    {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"},
    {"WORLD_SIZE": "8", "MASTER_PORT": "29500"},  # exported in a job's script for what it starts
    {"SLURM_PROCID": "0", "SLURM_NTASKS": "8"},  # the job's script itself
    {"SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "8"},
]


@pytest.fixture(autouse=True)
def files(own_folder):
    (own_folder / "config.yaml").write_text(CONFIG)
    (own_folder / "functions.py").write_text("def main(config, checkpoint_dir): pass")


@pytest.mark.parametrize("environment", ONE_OF_SEVERAL, ids=str)
def test_one_of_several_processes_is_refused_before_anything_else(environment, monkeypatch, capsys):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    name, value = next(iter(environment.items()))
    assert cli.run_resume(["--options-of", "--another-program"]) == 2
    out, err = capsys.readouterr()
    assert f"{name}={value}" in err and "this process is one of several" in err
    assert f"env -u {name}" in err and (out, err.count("\n")) == ("", 1)
    with pytest.raises(ConfigError, match="one of several"):
        dysweep_run_resume(base_config={}, sweep_configuration={"a": {"sweep": True, "values": [1]}})
    assert not Path("dysweep_logs").exists()


@pytest.mark.parametrize("environment", ALONE, ids=str)
def test_a_process_of_its_own_works(environment, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert cli.run_resume(WORK) == 0


def test_a_function_that_starts_the_command_again_for_other_ranks_fails_at_once(start):
    Path("functions.py").write_text(RESTARTS)
    agent = start("dysweep_run_resume", *WORK)
    out, err = agent.communicate(timeout=60)
    assert agent.returncode == 1 and "FunctionError: the function would start this command again" in err
    assert "--isolate or strategy='ddp_spawn', 'ddp_fork', 'ddp_notebook'" in err
    assert out.splitlines() == ["another program", "another program", "without ranks"]
    [sweep_id] = [path.name.removeprefix("checkpoints-") for path in Path("dysweep_logs").iterdir()]
    assert [run.state for run in open_sweep(sweep_id).runs] == ["failed", "finished"]


def test_a_program_that_only_used_dysweep_may_start_itself_for_other_ranks(tmp_path):
    (tmp_path / "program.py").write_text(
        "import os, subprocess, sys\n"
        "import dysweep\n"
        "if 'LOCAL_RANK' not in os.environ:\n"
        "    space = {'a': {'sweep': True, 'values': [1]}}\n"
        "    sweep_id = dysweep.dysweep_run_resume(base_config={}, sweep_configuration=space)\n"
        "    dysweep.dysweep_run_resume(sweep_id=sweep_id, function=lambda config, checkpoint_dir: None)\n"
        "    again = [sys.executable, os.path.abspath(sys.argv[0])]\n"
        "    subprocess.run(again, env={**os.environ, 'LOCAL_RANK': '1', 'WORLD_SIZE': '2'}, check=True)\n"
        "else:\n"
        "    print('rank', os.environ['LOCAL_RANK'])\n"
    )
    shown = subprocess.run([sys.executable, "program.py"], capture_output=True, text=True, timeout=60)
    assert (shown.returncode, shown.stdout) == (0, "rank 1\n"), shown.stderr


@pytest.mark.torch
@pytest.mark.skipif(find_spec("lightning") is None, reason="Lightning is not installed")
def test_lightnings_ddp_trains_one_config_in_an_isolated_function(start):
    Path("functions.py").write_text(LIGHTNING)
    Path("config.yaml").write_text(
        "base_config: {strategy: ddp}\nsweep_configuration: {lr: {sweep: true, values: [0.5]}}\n"
    )
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    agent = start("dysweep_run_resume", *WORK, "--isolate", env=environment)
    _, err = agent.communicate()
    assert agent.returncode == 0, err
    assert sorted(Path("seen.txt").read_text().splitlines()) == ["0 0.5", "1 0.5"]
    [path] = Path("dysweep_logs").iterdir()
    assert len(list(path.glob("runs/*/wandb/offline-run-*"))) == 1


@pytest.mark.torch
@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
def test_the_ranks_of_torchrun_are_one_run_and_end_together(start):
    Path("ddp.py").write_text(DDP)
    Path("config.yaml").write_text(
        "base_config: {rank_that_dies: null}\n"
        "sweep_configuration: {rank_that_dies: {sweep: true, values: [null, 1]}}\n"
    )
    command = f"{sys.executable} -m torch.distributed.run --nproc_per_node 2 --standalone ddp.py {{config}}"
    agent = start("dysweep_run_resume", "-c", "config.yaml", "--command", command)
    _, err = agent.communicate()
    assert agent.returncode == 1
    [sweep_id] = [path.name.removeprefix("checkpoints-") for path in Path("dysweep_logs").iterdir()]
    runs = open_sweep(sweep_id).runs
    assert [run.state for run in runs] == ["finished", "failed"], err
    assert runs[0].metrics == {"sum": 1.0}
    seen = [json.loads(line) for line in Path("seen.txt").read_text().splitlines()]
    assert Counter((each["run"], each["rank"]) for each in seen) == {
        (run.run_id, rank): 1 for run in runs for rank in (0, 1)
    }  # fmt: skip
    assert not [each for each in seen if Path(f"/proc/{each['pid']}").exists()]
    [path] = Path("dysweep_logs").iterdir()
    assert len(list(path.glob("runs/*-0001/wandb/offline-run-*"))) == 1


@pytest.mark.skipif(find_spec("lightning") is None, reason="Lightning is not installed")
def test_lightnings_ddp_fails_with_the_reason_and_ddp_fork_trains_one_config(start):
    Path("functions.py").write_text(LIGHTNING)
    Path("config.yaml").write_text(
        "base_config: {lr: 0.1}\n"
        "sweep_configuration:\n"
        "  strategy: {sweep: true, values: [ddp, ddp_fork]}\n"
        "  lr: {sweep: true, values: [0.5]}\n"
    )
    agent = start("dysweep_run_resume", *WORK, env={**os.environ, "PYTHONWARNINGS": "ignore"})
    _, err = agent.communicate(timeout=120)
    assert agent.returncode == 1
    [sweep_id] = [path.name.removeprefix("checkpoints-") for path in Path("dysweep_logs").iterdir()]
    runs = open_sweep(sweep_id).runs
    assert [run.state for run in runs] == ["failed", "finished"], err
    assert "ddp_spawn" in runs[0].error["message"]
    assert sorted(Path("seen.txt").read_text().splitlines()) == ["0 0.5", "1 0.5"]
