"""A sample of what crash_points.py tries: any call that changes the directory may be the last one."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import LONGEST_WAIT

SCRIPT = Path(__file__).with_name("crash_points.py")
SAMPLE = [
    ("create", "kill", 3),
    ("agent", "kill", 23),
    ("failing agent", "kill", 29),
    ("terminated agent", "kill", 29),
    ("resume of a crashed run", "kill", 13),
    ("rerun", "kill", 11),
    ("agent", "SIGTERM", 23),
    ("sync", "kill", 7),
    ("create", "lost", 1),
    ("agent", "lost", 7),
    ("agent", "torn", 4),
    ("agent", "EIO", 31),
    ("agent", "ENOSPC", 31),
    ("agent", "no links", 2),
    ("agent", "no locks", 9),
]


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler (cc)")
@pytest.mark.parametrize(("command", "how", "every"), SAMPLE)
def test_a_command_that_ends_badly_at_any_of_its_calls_loses_nothing(command, how, every):
    tried = [sys.executable, SCRIPT, "--command", command, "--how", how, "--every", str(every)]
    shown = subprocess.run(tried, capture_output=True, text=True, timeout=LONGEST_WAIT, check=False)
    assert (shown.returncode, " 0 wrong" in shown.stdout) == (0, True), shown.stdout + shown.stderr
    assert not shown.stdout.startswith("0 tried")


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler (cc)")
def test_a_power_failure_at_any_moment_loses_nothing():
    tried = [sys.executable, SCRIPT.with_name("power_loss.py"), "--every", "13", "--random", "1"]
    shown = subprocess.run(tried, capture_output=True, text=True, timeout=LONGEST_WAIT, check=False)
    assert (shown.returncode, " 0 wrong" in shown.stdout) == (0, True), shown.stdout + shown.stderr
