"""Claim runs of a sweep as an agent does: `claim.py DIRECTORY CLAIMS`; prints the seconds of each as JSON.

Before and after each claim a file is asked for that is not there, so that a trace shows where it begins.
"""

import json
import os
import sys
import time
from pathlib import Path

from dysweep.agents.offline import DirectoryServer
from dysweep.agents.sources import Claims
from dysweep.directory.heartbeat import Watch
from dysweep.directory.runs import State
from dysweep.directory.sweep import SweepDirectory

directory = SweepDirectory(Path(sys.argv[1]))
claims = DirectoryServer(
    Claims(directory, lambda assignment, config: None, False, 3, False, Watch(120), 5)
).new_runs()
source, taken = claims.claims(), []
for _ in range(int(sys.argv[2])):
    os.path.exists(directory.path / "claim-begins")
    wall, cpu = time.perf_counter(), time.process_time()
    claim = next(source)
    taken.append({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu})
    os.path.exists(directory.path / "claim-ends")
    claim.attempt.finish(State.FINISHED, None, {"loss": 0.5})
print(json.dumps(taken))
