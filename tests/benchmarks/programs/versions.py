"""Print the versions of what is measured, as JSON."""

import json
from importlib.metadata import PackageNotFoundError, version

import dysweep


def version_of(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return None


others = {name: version_of(name) for name in ("wandb", "optuna", "hydra-core", "omegaconf")}
print(json.dumps({"dysweep": dysweep.__version__, **others}))
