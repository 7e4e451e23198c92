"""Any call that changes the directory may be the last one: a sample, and with a mark every call."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from crash_points import COMMANDS, HOW
from helpers import LONGEST_WAIT

SCRIPT = Path(__file__).with_name("crash_points.py")
SAMPLE = [
    ("create", "kill", 5),
    ("agent", "kill", 53),
    ("failing agent", "kill", 71),
    ("terminated agent", "kill", 29),
    ("sync", "kill", 13),
    ("agent", "torn", 9),
    ("agent", "ENOSPC", 71),
    ("agent", "no locks", 13),
]
EVERY_CALL = [
    pytest.param(command, how, 1, marks=pytest.mark.every_call) for command in COMMANDS for how in HOW
]


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler (cc)")
@pytest.mark.parametrize(("command", "how", "every"), SAMPLE + EVERY_CALL)
def test_a_command_that_ends_badly_at_any_of_its_calls_loses_nothing(command, how, every):
    tried = [sys.executable, SCRIPT, "--command", command, "--how", how, "--every", str(every)]
    limit = LONGEST_WAIT if every > 1 else None
    shown = subprocess.run(tried, capture_output=True, text=True, timeout=limit, check=False)
    assert (shown.returncode, " 0 wrong" in shown.stdout) == (0, True), shown.stdout + shown.stderr
    assert not shown.stdout.splitlines()[-1].startswith("0 tried")


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler (cc)")
def test_a_power_failure_at_any_moment_loses_nothing():
    tried = [sys.executable, SCRIPT.with_name("power_loss.py"), "--every", "23", "--random", "1"]
    shown = subprocess.run(tried, capture_output=True, text=True, timeout=LONGEST_WAIT, check=False)
    assert (shown.returncode, " 0 wrong" in shown.stdout) == (0, True), shown.stdout + shown.stderr
