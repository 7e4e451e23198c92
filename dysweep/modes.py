"""Who serves sweeps: W&B, or their directories."""

from __future__ import annotations

import os

from dysweep.errors import ConfigError, closest
from dysweep.settings import ResumableSweepConfig

_WITHOUT_WANDB = ("offline", "dryrun", "disabled")
_WANDB_MODES = ("online", "run", "shared", *_WITHOUT_WANDB)


def mode_of(config: ResumableSweepConfig) -> str:
    """Return who serves the sweeps of these settings, online or offline: the setting, or else WANDB_MODE.

    Raises:
        ConfigError: WANDB_MODE is none of W&B's modes.
    """
    forget_empty_variables()
    mode = os.environ.get("WANDB_MODE", "online")
    if mode not in _WANDB_MODES:
        raise ConfigError(f"WANDB_MODE: no mode {mode!r}{closest(mode.lower(), _WANDB_MODES)}")
    if config.mode is not None:
        return config.mode
    return "offline" if mode in _WITHOUT_WANDB else "online"


def forget_empty_variables() -> None:
    """Unset W&B's variables that are set to nothing (`WANDB_MODE=$MODE`), which the SDK would refuse."""
    for name in [name for name in os.environ if name.startswith("WANDB_") and not os.environ[name].strip()]:
        del os.environ[name]
