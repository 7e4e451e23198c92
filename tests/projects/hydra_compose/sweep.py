"""Sweep over Hydra's configuration: `python sweep.py`."""

from pathlib import Path

from hydra import compose, initialize_config_dir
from train import main

from dysweep import dysweep_run_resume

with initialize_config_dir(str(Path(__file__).parent / "conf"), version_base=None):
    base = compose("config")
    models = [compose("config", overrides=[f"model={name}"]).model for name in ("square", "fourth")]

dysweep_run_resume(
    mode="offline",
    base_config=base,
    sweep_configuration={
        "model": {"sweep": True, "sweep_alias": ["square", "fourth"], "values": models},
        "optimizer": {"lr": {"sweep": True, "values": [0.125, 0.0625]}},
    },
    metric="loss",
    goal="minimize",
    function=main,
)
