"""W&B sweeps over whole configuration trees, resumable from a directory."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dysweep.errors import (
    ConfigError,
    DirectoryError,
    DysweepError,
    FunctionError,
    LanguageError,
    NotFoundError,
    Preempted,
    ProgramCrash,
    ProgramError,
    TrackingError,
)

if TYPE_CHECKING:
    from dysweep.agents.signals import preempted
    from dysweep.current import current_run
    from dysweep.language.space import Space
    from dysweep.language.upsert import upsert
    from dysweep.objects import instantiate
    from dysweep.parallel import (
        ResumableSweepConfig,
        dysweep_run_resume,
        dysweep_sync,
        hierarchical_config,
        parse_dictionary_onto_dataclass,
    )
    from dysweep.views.opening import open_sweep
    from dysweep.views.runs import AttemptStatus, RunStatus
    from dysweep.views.status import SweepStatus

__version__ = "1.0.0.dev0"

__all__ = [
    "AttemptStatus",
    "ConfigError",
    "DirectoryError",
    "DysweepError",
    "FunctionError",
    "LanguageError",
    "NotFoundError",
    "Preempted",
    "ProgramCrash",
    "ProgramError",
    "ResumableSweepConfig",
    "RunStatus",
    "Space",
    "SweepStatus",
    "TrackingError",
    "current_run",
    "dysweep_run_resume",
    "dysweep_sync",
    "hierarchical_config",
    "instantiate",
    "open_sweep",
    "parse_dictionary_onto_dataclass",
    "preempted",
    "upsert",
]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        elsewhere = {
            "preempted": "dysweep.agents.signals",
            "current_run": "dysweep.current",
            "instantiate": "dysweep.objects",
            "open_sweep": "dysweep.views.opening",
            "Space": "dysweep.language.space",
            "upsert": "dysweep.language.upsert",
            "AttemptStatus": "dysweep.views.runs",
            "RunStatus": "dysweep.views.runs",
            "SweepStatus": "dysweep.views.status",
        }
        module = elsewhere.get(name, "dysweep.parallel")
        return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'dysweep' has no attribute {name!r}")
