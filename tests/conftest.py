"""Fixtures: every test works offline, in a folder of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(sys.executable).parent


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    for name in ("WANDB_API_KEY", "WANDB_DIR", "SLURM_JOB_ID", "SLURM_RESTART_COUNT"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def start(request):
    """Start an installed script as a process of its own; it is ended with the test."""
    processes = []

    def start(script, *arguments, **options):
        # This process's own W&B service is not the started one's: on a cluster, each process has its own.
        environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
        options = {
            "env": environment,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            **options,
        }
        processes.append(subprocess.Popen([SCRIPTS / script, *map(str, arguments)], **options))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()
