"""Ask a study in a journal for trials: `optuna_ask.py JOURNAL FINISHED ASKED`; prints the seconds of each.

The journal is made where it is not there: one finished trial is written by Optuna, and its line repeated.
"""

import json
import sys
import time
from pathlib import Path

import optuna
from optuna.distributions import FloatDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

path, finished, asked = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
optuna.logging.set_verbosity(optuna.logging.WARNING)
if not path.exists():
    study = optuna.create_study(storage=JournalStorage(JournalFileBackend(str(path))), study_name="speed")
    trial = optuna.trial.create_trial(
        params={"x": 0.5}, distributions={"x": FloatDistribution(0, 1)}, value=1.0
    )
    study.add_trial(trial)
    last = path.read_text().splitlines(keepends=True)[-1]
    with path.open("a") as file:
        file.writelines([last] * (finished - 1))
    sys.exit()

taken = []
for place in range(asked):
    wall, cpu = time.perf_counter(), time.process_time()
    if place == 0:
        study = optuna.load_study(
            study_name="speed",
            storage=JournalStorage(JournalFileBackend(str(path))),
            sampler=optuna.samplers.RandomSampler(),
        )
    study.ask()
    taken.append({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu})
print(json.dumps(taken))
