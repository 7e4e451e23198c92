"""What runs of the measured sweeps execute."""

import os
import time
from pathlib import Path

import wandb


def nothing(config, checkpoint_dir):
    pass


def logs(config, checkpoint_dir):
    wandb.log({"loss": 1.0})


def sleeps(config, checkpoint_dir):
    time.sleep(float(os.environ["RUN_SECONDS"]))


def waits(config, checkpoint_dir):
    """Say that the run is at work, and wait until it may end."""
    Path("ready").touch()
    while not Path("go").exists():
        time.sleep(0.02)
