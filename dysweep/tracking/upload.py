"""Uploads what W&B's SDK has written on disk: runs that were offline, and ends that were not awaited."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from dysweep.directory.address import SweepAddress
from dysweep.tracking.sdk import wandb_command
from dysweep.tracking.versions import SYNC_APPENDS

_CUT_OFF = r'Failed to sync all data from "([^"]+)": the file ends with an incomplete record'
_CUT_OFF_UNTIL_0_27 = ".wandb file is incomplete"  # which file it does not say
_HEADER_BYTES = 7  # of a .wandb file; a process that is killed right after its start leaves no more
_NOT_UPLOADED = "not-uploaded"  # our mark in the folder of an online run


def mark_not_uploaded(folder: Path) -> None:
    """Mark the folder of an online run of which W&B lacks something."""
    (folder / _NOT_UPLOADED).touch()


def folders_to_upload(directory: Path) -> list[Path]:
    """List the W&B runs below a directory of which W&B lacks something, each a folder, oldest first."""
    offline = sorted(directory.glob("wandb/offline-run-*"))
    cut_short = sorted(mark.parent for mark in directory.glob(f"wandb/run-*/{_NOT_UPLOADED}"))
    return [folder for folder in (*offline, *cut_short) if _has_content(folder) and _waits(folder)]


def _has_content(folder: Path) -> bool:
    return any(file.stat().st_size > _HEADER_BYTES for file in folder.glob("*.wandb"))


def _waits(folder: Path) -> bool:
    return not any(folder.glob("*.wandb.synced"))


def upload(folders: Sequence[Path], place: SweepAddress) -> list[tuple[Path, str]]:
    """Upload W&B runs from their folders.

    Args:
        folders: their folders.
        place: the entity and project.

    Returns:
        the folders of which W&B did not take everything, each with the reason.
    """
    owner = [] if place.entity is None else ["--entity", place.entity]
    if not SYNC_APPENDS and (later := [folder for folder in folders if _is_later(folder)]):
        first = [folder for folder in folders if folder not in later]
        problems = _send(first, place, owner) if first else []
        for folder in later:  # one at a time, as each goes on where the one before has ended
            problems += _send([folder], place, owner, "--append")
        return problems
    return _send(folders, place, owner)


def _is_later(folder: Path) -> bool:
    """Return whether it is of a run that has an earlier folder with something in it."""
    before = [other for other in folder.parent.glob("offline-run-*") if other.name < folder.name]
    return any(_has_content(other) for other in before)


def _send(
    folders: Sequence[Path], place: SweepAddress, owner: Sequence[str], *options: str
) -> list[tuple[Path, str]]:
    place_options = ("--include-online", "--project", place.project, *owner)
    shown = wandb_command("sync", *options, *place_options, *map(str, folders))
    cut_off = [Path(each).name for each in re.findall(_CUT_OFF, shown.stdout)]
    problems = []
    for folder in filter(_waits, folders):
        if folder.name in cut_off or (len(folders) == 1 and _CUT_OFF_UNTIL_0_27 in shown.stdout):
            problems.append((folder, "its end is missing, as its process was killed; W&B has the rest"))
            # `wandb sync` marks what it has sent in this way.
            for file in folder.glob("*.wandb"):  # what can be read must not be sent again
                file.with_name(f"{file.name}.synced").touch()
        elif len(folders) > 1:  # one that cannot be read at all keeps the others from being sent
            problems += _send([folder], place, owner, *options)
        else:
            problems.append((folder, " ".join(shown.stdout.split())[-300:]))
    return problems
