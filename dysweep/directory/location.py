"""Where sweeps are: below a root directory, or in W&B."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from dysweep.directory.address import SweepAddress, check_id
from dysweep.directory.legacy import NAME, OldSweep
from dysweep.directory.sweep import SweepDirectory
from dysweep.errors import ConfigError, DirectoryError, NotFoundError
from dysweep.files import read_json, user_path


@dataclass(frozen=True)
class Location:
    """Where to look for sweeps, and where to make them.

    Args:
        root: folder below which every sweep has its directory `checkpoints-<sweep_id>`.
        custom: the sweep's directory itself, instead; relative to the root.
        entity: W&B's user or team.
        project: W&B's project.
        online: whether to look in W&B too.
    """

    root: str
    custom: str | None
    entity: str | None
    project: str | None
    online: bool

    def directory(self, sweep_id: str) -> SweepDirectory:
        """Return the directory of a sweep, whether it is there or not."""
        root = user_path(self.root).absolute()  # also if the function changes the working directory
        if self.custom:
            return SweepDirectory(root / user_path(self.custom))
        return SweepDirectory(root / f"checkpoints-{check_id(sweep_id, 'sweep_id')}")

    def address_of(self, sweep: str) -> SweepAddress:
        """Return what is known of a sweep's address: `id` or `entity/project/id`, and the settings.

        Raises:
            ConfigError: this is not a sweep's id.
        """
        *owners, sweep_id = sweep.split("/")
        if len(owners) > 2:
            raise ConfigError(f"sweep_id: {sweep!r} is not an id; give it as id or entity/project/id")
        for part in (*owners, sweep_id):
            check_id(part, "sweep_id")
        entity, project = [None, None, *owners][-2:]
        return SweepAddress(entity or self.entity, project or self.project or "", sweep_id)

    def find(self, sweep: str) -> SweepDirectory:
        """Find the directory of a sweep that is recorded here.

        Args:
            sweep: `id`, or `entity/project/id`.

        Raises:
            NotFoundError: the sweep is not found.
            DirectoryError: its record is damaged, or of another format version.
            ConfigError: it is at another address in W&B.
        """
        path = self.address_of(sweep)
        directory = self.directory(path.sweep_id)
        if not directory.exists():
            raise NotFoundError(self._no_sweep(directory, path.sweep_id))
        here = directory.sweep.address
        if here.sweep_id != path.sweep_id:
            raise NotFoundError(
                f"sweep_id: {directory.path} holds the sweep {here.sweep_id!r}, not {path.sweep_id!r}"
            )
        elsewhere = replace(here, entity=path.entity or here.entity, project=path.project or here.project)
        if directory.sweep.online and elsewhere != here:
            raise ConfigError(f"sweep_id: the sweep in {directory.path} is {here}, not {elsewhere}")
        return directory

    def find_to_read(self, sweep: str) -> SweepDirectory:
        """Find the directory of a sweep, also of one that dysweep 0.1 has made and that nobody has continued.

        Raises:
            NotFoundError: the sweep is not found.
            DirectoryError: its record is damaged, or of another format version.
        """
        directory = self.directory(self.address_of(sweep).sweep_id)
        return directory if OldSweep.at(directory) else self.find(sweep)

    def _no_sweep(self, directory: SweepDirectory, sweep_id: str) -> str:
        if OldSweep.at(directory):
            return (
                f"sweep_id: {directory.path} was made by {NAME}, with a sweep that W&B serves; "
                "to continue it, say where (--project NAME, or entity/project/id), and unset WANDB_MODE"
            )
        root = user_path(self.root)
        known = sorted(
            path.parent.name.removeprefix("checkpoints-") for path in root.glob("checkpoints-*/sweep.json")
        )
        meant = sweep_id.removeprefix("checkpoints-")
        for path in root.glob("*/sweep.json"):
            if _names_sweep(path, sweep_id):
                return (
                    f"sweep_id: {sweep_id} is in {path.parent}; "
                    f"say so (--custom_checkpoint_dir {path.parent.name})"
                )
        if meant in known:
            return f"sweep_id: {sweep_id!r} is a directory; give the sweep's id, {meant}"
        others = ", ..." if len(known) > 10 else ""
        shown = f"there are {', '.join(known[:10])}{others}" if known else f"{root} holds none"
        more = "; one that W&B serves is found by entity/project/id" if self.online else ""
        return (
            f"sweep_id: no sweep {sweep_id!r} in {directory.path}; {shown} "
            f"(default_root_dir says where to look){more}"
        )


def _names_sweep(path: Path, sweep_id: str) -> bool:
    try:
        return bool(read_json(path)["sweep_id"] == sweep_id)
    except (DirectoryError, TypeError, KeyError):
        return False
