"""Programs of four kinds, ended by SIGTERM, by their own death and by their agent's, and then resumed."""

import os
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers import create, wait_for
from test_programs import is_alive, python

from dysweep import cli, open_sweep

STEPS = 6
# Of each life all but the last one does one step, and waits to be ended.
PYTHON = """
import os, time
from pathlib import Path

folder = Path(os.environ["DYSWEEP_CHECKPOINT_DIR"])

def steps():
    trace = folder / "steps"
    for step in range(len(trace.read_text()) if trace.exists() else 0, 6):
        yield step + 1
        with open(trace, "a") as file:
            file.write(str(step + 1))
        with open("pids", "a") as file:
            file.write(f"{os.getpid()} {os.getppid()}\\n")
        while not Path("enough").exists():
            time.sleep(0.02)
"""
PROGRAMS = {
    "script.py": """
import argparse, wandb
from training import steps
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float)
args = parser.parse_args()
run = wandb.init(project="mine", name="x", config={"lr": 7.0, "batch": 32})
for step in steps():
    run.log({"loss": args.lr * step}, step=step)
""",
    "app.py": """
import hydra, wandb
from omegaconf import OmegaConf
from training import steps

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(config):
    wandb.init(project="mine", config=OmegaConf.to_container(config))
    for step in steps():
        wandb.log({"loss": config.lr * step}, step=step)

main()
""",
    "train.sh": """
steps=$DYSWEEP_CHECKPOINT_DIR/steps
done=$(cat "$steps" 2>/dev/null | wc -c)
for step in $(seq $((done + 1)) 6); do
  printf %s "$step" >> "$steps"
  echo "$$ $PPID" >> pids
  until [ -e enough ]; do sleep 0.05; done
done
lr=$(tr -dc 0-9 < "$DYSWEEP_CONFIG")
echo "{\\"loss\\": $((lr * 6))}" > "$DYSWEEP_RUN_DIR/metrics.json"
""",
    "ranks.py": """
import dysweep, torch, torch.distributed as dist, wandb
from training import steps
dist.init_process_group("gloo")
rank, config = dist.get_rank(), dysweep.current_run().config
trace = dysweep.current_run().checkpoint_dir / "steps"
done = torch.tensor(len(trace.read_text()) if trace.exists() else 0)
dist.broadcast(done, 0)
if rank == 0:
    wandb.init()
    own = steps()
for step in range(int(done) + 1, 7):
    value = torch.tensor(float(config["lr"]))
    dist.all_reduce(value)
    if rank == 0:
        next(own)
        wandb.log({"loss": value.item() / 2 * step}, step=step)
dist.barrier()
if rank == 0:
    next(own, None)
    wandb.finish()
dist.destroy_process_group()
""",
}
RANKS = "-m torch.distributed.run --nproc_per_node 2 --standalone ranks.py"
NEEDS_HYDRA = pytest.mark.skipif(find_spec("hydra") is None, reason="Hydra is not installed")
NEEDS_TORCH = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")


ARGPARSE = python("script.py") + " {args}"


@pytest.mark.parametrize(
    ("mode", "command"),
    [
        pytest.param("offline", ARGPARSE, id="offline-argparse"),
        pytest.param("online", ARGPARSE, id="online-argparse"),
        pytest.param("online", python("app.py") + " {args_no_hyphens}", id="online-hydra", marks=NEEDS_HYDRA),
        pytest.param("offline", "sh train.sh", id="offline-shell"),
        pytest.param("online", python(*RANKS.split()), id="online-torchrun", marks=NEEDS_TORCH),
    ],
)
def test_it_is_resumed_whatever_ends_it(mode, server, start, capfd, monkeypatch, command):
    monkeypatch.setenv("WANDB_MODE", mode)
    Path("config.yaml").write_text(
        "project: study\nbase_config: {lr: 1}\nsweep_configuration: {lr: {sweep: true, values: [2, 3]}}\n"
    )
    Path("conf").mkdir()
    Path("conf/config.yaml").write_text("lr: 0.1\n")
    for name, text in {**PROGRAMS, "training.py": PYTHON}.items():
        Path(name).write_text(text)
    sweep_id = create(capfd)
    words = ["--sweep_id", sweep_id, "--command", command, "--recover"]
    for how in ("SIGTERM", "its own death", "its agent's death"):
        known = len(pids())
        agent = start("dysweep_run_resume", *words, "--count", "1")
        pid, parent = wait_for(lambda known=known: pids()[known:])[-1]
        if how == "SIGTERM":
            agent.send_signal(signal.SIGTERM)
        elif how == "its own death":
            os.kill(parent if "torch" in command else pid, signal.SIGKILL)  # the launcher of ranks
        else:
            agent.kill()
        agent.communicate()
        wait_for(lambda: not any(is_alive(pid) for pid, _ in pids()))
    Path("enough").touch()
    assert cli.run_resume(words) == 0, capfd.readouterr().err
    status = open_sweep(sweep_id)
    assert sorted(run.metrics["loss"] for run in status.runs) == [12, 18]
    ends = [[attempt.outcome for attempt in run.history] for run in status.runs]
    assert sorted(ends, key=len) == [["finished"], ["preempted", "crashed", "crashed", "finished"]]
    for run in status.runs:
        trace = status.directory / "runs" / run.run_id / "checkpoint/steps"
        assert trace.read_text() == "123456"
    if mode == "offline":
        monkeypatch.setenv("WANDB_MODE", "online")
        assert cli.sync(["--sweep_id", sweep_id]) == 0
    found = [run for run in server.backend.runs.values() if run.job_type != "dysweep-metadata"]
    assert sorted(run.name for run in found) == [run.run_id for run in status.runs]  # and no stray one
    for run in found:
        assert (run.state, run.project, run.values["dy_config"]) == (
            "finished",
            "study",
            {"lr": run.values["lr"]},
        )
        # Of what was ended at once W&B may lack the last steps.
        assert run.steps == sorted(set(run.steps)) and (not run.steps or run.steps[-1] == STEPS)
    assert not any(is_alive(pid) for pid, _ in pids())


def pids():
    path = Path("pids")
    return [tuple(map(int, line.split())) for line in path.read_text().splitlines()] if path.exists() else []
