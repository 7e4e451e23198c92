"""What the releases of W&B's SDK can do, each looked up here and nowhere else."""

from __future__ import annotations

import re

import wandb

VERSION = tuple(int(number) for number in re.findall(r"\d+", wandb.__version__)[:3])

# `Settings(stop_fn=)`: without it W&B's stop button sends SIGINT, and the run counts as preempted.
HAS_STOP_FUNCTION = VERSION >= (0, 26, 1)
# `Sweep.agents()`: without it a run in W&B's queue cannot be told from one whose agent has died.
LISTS_AGENTS = VERSION >= (0, 26)
# `wandb sync` puts a later segment of a run behind the earlier ones; without it only with `--append`, which
# in turn does nothing for a run that W&B does not have yet.
SYNC_APPENDS = VERSION >= (0, 28)


def app_url() -> str:
    """Return the address of W&B's pages."""
    settings = wandb.setup().settings
    if VERSION >= (0, 24):
        return str(settings.app_url)
    return str(wandb.util.app_url(settings.base_url))
