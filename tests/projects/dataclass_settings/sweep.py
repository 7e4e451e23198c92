"""Sweep over the settings: `python sweep.py`."""

from dataclasses import asdict

import wandb
from settings import Model, Optimizer, Settings
from train import score

from dysweep import dysweep_run_resume, parse_dictionary_onto_dataclass


def main(config, checkpoint_dir):
    settings = parse_dictionary_onto_dataclass(config, Settings)
    assert isinstance(settings.model, Model) and isinstance(settings.optimizer, Optimizer)
    assert settings.optimizer.betas == (0.9, 0.999) and settings.data is None
    wandb.log({"score": score(settings)})


if __name__ == "__main__":
    dysweep_run_resume(
        mode="offline",
        base_config=asdict(Settings(epochs=3)),
        sweep_configuration={
            "model": {"sweep": True, "sweep_alias": ["small", "deep"], "values": [{}, {"layers": [1, 2, 3]}]},
            "optimizer": {"lr": {"sweep": True, "values": [0.5, 0.25]}},
        },
        metric="score",
        function=main,
    )
