"""The names of sweeps: an id, and where the sweep is in W&B."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dysweep.errors import ConfigError


def check_id(identifier: str, what: str) -> str:
    """Check that an id can be a file's name: letters, digits, `_ - .`, no leading dot.

    Raises:
        ConfigError: it cannot.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,127}", identifier):
        raise ConfigError(
            f"{what}: {identifier!r} is not an id; an id has letters, digits and _ - . and no leading dot"
        )
    return identifier


@dataclass(frozen=True)
class SweepAddress:
    """Where a sweep is in W&B.

    Args:
        entity: W&B's user or team; None for the user's default one.
        project: W&B's project.
        sweep_id: the sweep's id.
    """

    entity: str | None
    project: str
    sweep_id: str

    def __str__(self) -> str:
        return f"{self.place}/{self.sweep_id}"

    @property
    def place(self) -> str:
        """The entity and the project, as paths of runs begin."""
        return self.project if self.entity is None else f"{self.entity}/{self.project}"

    @property
    def metadata_run(self) -> str:
        """The id of the run that holds what dysweep knows of the sweep."""
        return f"dysweep-{self.sweep_id}"
