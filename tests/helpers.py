"""What tests share: the commands and the directory in one word, processes that end, and waits that do."""

import subprocess
import sys
import time
from pathlib import Path

from dysweep import cli
from dysweep.directory.sweep import SweepDirectory

SCRIPTS = Path(sys.executable).parent
LONGEST_WAIT = 180  # seconds for a process to end, on a machine that is busy with other things


class Process(subprocess.Popen):
    """A process that no test waits for without an end."""

    def wait(self, timeout=LONGEST_WAIT):
        return super().wait(timeout)

    def communicate(self, input=None, timeout=LONGEST_WAIT):
        return super().communicate(input, timeout)


def own_lines(text):
    """Return the lines that are not of W&B's SDK, which once told of each refused request."""
    return [line for line in text.splitlines() if not line.startswith("wandb: ")]


def wait_for(condition, seconds=LONGEST_WAIT):
    """Wait until a function returns something, and return that."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


def create(capsys, *arguments):
    """Create the sweep of config.yaml, and return its id."""
    assert cli.create(["-c", "config.yaml", *arguments]) == 0
    return capsys.readouterr().out.strip()


def run(function, *arguments):
    """Let a function of functions.py work on a sweep, and return the exit code."""
    return cli.run_resume(["--package", "functions", "--function", function, *arguments])


def directory(sweep_id="*", root="dysweep_logs"):
    """Open the directory of a sweep, or of the only one."""
    [path] = Path(root).glob(f"checkpoints-{sweep_id}")
    return SweepDirectory(path)


def states(sweep_id="*"):
    """List the states of a sweep's runs, or of those of the only one."""
    return [run.state() for run in directory(sweep_id).runs()]


def run_of(sweep_id, number=1):
    """Open the directory of a sweep's n-th run."""
    return directory(sweep_id).run(f"{sweep_id}-{number:04d}")
