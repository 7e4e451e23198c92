"""What tests share: processes that end, and waits that do."""

import subprocess
import sys
import time
from pathlib import Path

SCRIPTS = Path(sys.executable).parent
LONGEST_WAIT = 180  # seconds for a process to end, on a machine that is busy with other things


class Process(subprocess.Popen):
    """A process that no test waits for without an end."""

    def wait(self, timeout=LONGEST_WAIT):
        return super().wait(timeout)

    def communicate(self, input=None, timeout=LONGEST_WAIT):
        return super().communicate(input, timeout)


def wait_for(condition, seconds=LONGEST_WAIT):
    """Wait until a function returns something, and return that."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found
