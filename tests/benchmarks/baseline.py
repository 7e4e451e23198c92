"""What dysweep 1.0.0.dev0 cost on 25 November 2026, before the work on speed.

wandb 0.31, Hydra 1.3.8, Optuna 5.0, Python 3.11, two cores. The table names these numbers "before".
"""

DATE = "25 November 2026"

# Of 200 runs that do nothing, without W&B's service.
OFFLINE_CPU = 11.9
OFFLINE_WALL = 13.5
FSYNCS = 11
FILES = 10  # and links, beyond those of a bare run

# Of nine runs that do nothing, with a local server.
ONLINE_WALL = 44.0
ONLINE_REQUESTS = 188

CLAIM_CALLS = 34

# By the number of runs in the directory: seconds of CPU, and MB.
STATUS_CPU = {
    "status": {10_000: 0.78, 100_000: 9.1},
    "status --runs": {10_000: 4.6, 100_000: 49.0},
    "status --json": {10_000: 1.25, 100_000: 12.5},
    "status --csv": {10_000: 0.84, 100_000: 7.1},
}
STATUS_PEAK = {
    "status": {10_000: 51, 100_000: 144},
    "status --runs": {10_000: 88, 100_000: 584},
    "status --json": {10_000: 113, 100_000: 862},
    "status --csv": {10_000: 52, 100_000: 257},
}

# With 1 ms a file operation, 1,000 runs.
SLOW_STATUS = 3.8
SLOW_FIND = 7.2
SLOW_CLAIM = 0.045

# Share of the ideal of 16 agents by the seconds of a run, with 1 ms a file operation, without W&B.
AGENTS_SHARE = {0.5: 0.21, 2.0: 0.59}

CREATE_CPU = {"500 parameters": 4.6, "a base of 2,000 leaves": 2.1, "10,000 values": 5.6}
MEMORY = 114
