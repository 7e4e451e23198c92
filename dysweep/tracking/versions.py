"""What the releases of W&B's SDK can do, each looked up here and nowhere else."""

from __future__ import annotations

import re

import wandb

VERSION = tuple(int(number) for number in re.findall(r"\d+", wandb.__version__)[:3])

# `Settings(stop_fn=)`: without it W&B's stop button sends SIGINT, and the run counts as preempted.
HAS_STOP_FUNCTION = VERSION >= (0, 26, 1)
# `Sweep.agents()`: without it a run in W&B's queue cannot be told from one whose agent has died.
LISTS_AGENTS = VERSION >= (0, 26)
# `Settings(finish_timeout=)`: without it the end of a run waits for its upload without bound.
HAS_FINISH_TIMEOUT = VERSION >= (0, 27)
# `wandb sync` puts a later segment of a run behind the earlier ones; without it only with `--append`, which
# in turn does nothing for a run that W&B does not have yet.
SYNC_APPENDS = VERSION >= (0, 28)
# `WANDB_SWEEP_PARAM_PATH` where W&B is disabled: without it `wandb.init` raises if the program has a default
# for one of the values.
DISABLED_TAKES_PARAMETERS = VERSION >= (0, 28)
# `wandb.sweep` and `wandb.agent` give up where W&B does not answer; without it they try again for 7 days.
GIVES_UP = VERSION >= (0, 30)
# `wandb sweep-scheduler`: without it only W&B itself chooses.
HAS_SCHEDULER = VERSION >= (0, 30)
# `wandb.init(resume=)` offline: without it a later segment counts its steps from 0 again.
RESUMES_OFFLINE = VERSION >= (0, 31)


def app_url() -> str:
    """Return the address of W&B's pages."""
    settings = wandb.setup().settings
    if VERSION >= (0, 24):
        return str(settings.app_url)
    return str(wandb.util.app_url(settings.base_url))
