"""Look for interrupted runs as `--recover` does: `find_interrupted.py DIRECTORY`; prints seconds."""

import json
import sys
import time
from pathlib import Path

from dysweep.agents.sources import find_resumable
from dysweep.directory.runs import State
from dysweep.directory.sweep import SweepDirectory

begun = time.perf_counter()
found = find_resumable(SweepDirectory(Path(sys.argv[1])), (State.PREEMPTED, State.CRASHED))
print(json.dumps(time.perf_counter() - begun))
assert not found.resumable
