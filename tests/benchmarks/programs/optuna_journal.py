"""A study of Optuna in a journal, with the same W&B runs: `optuna_journal.py RUNS`."""

import sys

import optuna
import wandb
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

runs = int(sys.argv[1])


def objective(trial):
    number = trial.suggest_int("number", 0, runs - 1)
    settings = wandb.Settings(silent=True, reinit="finish_previous", mode="offline")
    with wandb.init(project="speed", config={"number": number}, settings=settings):
        return 1.0


optuna.logging.set_verbosity(optuna.logging.WARNING)
sampler = optuna.samplers.GridSampler({"number": list(range(runs))})
study = optuna.create_study(storage=JournalStorage(JournalFileBackend("journal.log")), sampler=sampler)
study.optimize(objective, n_trials=runs)
