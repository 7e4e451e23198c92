"""Sweeps made by dysweep 0.1: their directories, and what they kept in W&B.

checkpoints-<sweep_id>/
    <i>_-_-_-_<run_id>/           a run that has not finished: the function's own files, and
        run_config.json           the config
        stdout, stderr            what the function printed, and the traceback of what it raised
    <run_id>-config.json          the config of a run that finished
    <name>_<run_id>_final/        the files of a run that finished, unless they were deleted
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

from dysweep.directory.address import SweepAddress, check_id
from dysweep.directory.liveness import Owner, now
from dysweep.directory.runs import Attempt, RunDirectory, State
from dysweep.directory.sweep import Sweep, SweepDirectory
from dysweep.errors import ConfigError, DirectoryError
from dysweep.files import damaged, read_json, replace_json, sync_directory
from dysweep.language.space import Space

logger = logging.getLogger("dysweep")

NAME = "dysweep 0.1"
_UNFINISHED = re.compile(r"\d+_-_-_-_(.+)")
_FINISHED = re.compile(r"(.+)-config\.json")
_RAISED = "Exception while running function: "
_KEYS = "__CUSTOM_SEPERATOR__"
_INDEX = "__IDX__"


@dataclass(frozen=True)
class OldRun:
    """A run in a directory of dysweep 0.1.

    Args:
        run_id: its id.
        config_path: the file with its config.
        folder: where its own files are; None if they were deleted.
        others: what is left of folders that it was copied from or to.
        finished: whether it has finished.
    """

    run_id: str
    config_path: Path
    folder: Path | None
    others: tuple[Path, ...]
    finished: bool

    @property
    def state(self) -> State:
        """Finished, failed, or crashed: whether another one is still being executed was not recorded."""
        return State.FINISHED if self.finished else State.FAILED if self.error else State.CRASHED

    @property
    def started(self) -> str:
        """When its config was written, ISO 8601 in UTC."""
        kept = self.config_path if self.folder is None else self.folder / "run_config.json"
        return _changed(kept)

    @property
    def ended(self) -> str | None:
        """When it finished or failed."""
        if self.finished:
            return _changed(self.config_path)
        return _changed(self._file("stderr")) if self.error else None

    @cached_property
    def error(self) -> dict[str, str] | None:
        """Type, message and traceback of what the function raised last."""
        if self.finished or self.folder is None:
            return None
        _, raised, traceback = _text(self._file("stderr")).rpartition(_RAISED)
        if not raised:
            return None
        last = traceback.rpartition("Traceback (most recent call last):")[2].strip("\n")
        raised_at = re.search(r"^(?=\S)", last, flags=re.MULTILINE)
        kind, _, message = last[raised_at.start() if raised_at else 0 :].rstrip().partition(": ")
        return {"type": kind, "message": message, "traceback": traceback}

    @property
    def config(self) -> dict[str, Any]:
        """The config."""
        stored = read_json(self.config_path)
        if not isinstance(stored, dict):
            raise damaged(self.config_path, TypeError("no mapping"))
        return stored

    @property
    def log(self) -> str:
        """What the function printed."""
        return "" if self.folder is None else _text(self._file("stdout")) + _text(self._file("stderr"))

    def _file(self, name: str) -> Path:
        return (self.folder or Path()) / name


def _changed(path: Path) -> str:
    try:
        return datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).isoformat()
    except (OSError, ValueError, OverflowError):
        return now()


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _runs_in(folder: Path) -> list[OldRun]:
    """List the runs that dysweep 0.1 has left in a sweep's directory; none if it is not one."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    finals = {match[1]: folder / name for name in names if (match := re.fullmatch(r".*_(.+)_final", name))}
    unfinished: dict[str, list[Path]] = {}
    for name in names:
        match = _UNFINISHED.fullmatch(name)
        if match and (folder / name / "run_config.json").exists():
            unfinished.setdefault(match[1], []).append(folder / name)
    found: dict[str, OldRun] = {}
    for run_id, folders in unfinished.items():
        # While 0.1 resumed a run it copied its folder, then deleted the former one: the fullest is whole.
        best = max(folders, key=_fullness)
        others = tuple(each for each in folders if each != best)
        found[run_id] = OldRun(run_id, best / "run_config.json", best, others, finished=False)
    for name in names:
        if match := _FINISHED.fullmatch(name):
            left = found.get(match[1])  # by a process that died just before it would have moved its folder
            config_path = folder / name if left is None else left.config_path
            own = finals.get(match[1]) if left is None else left.folder
            found[match[1]] = OldRun(match[1], config_path, own, (), finished=True)
    return [run for run in found.values() if _is_id(run.run_id)]


def _fullness(folder: Path) -> tuple[int, int]:
    try:
        sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    except FileNotFoundError:  # another process has just moved it
        return 0, 0
    return len(sizes), sum(sizes)


@dataclass(frozen=True)
class OldSweep:
    """A sweep's directory that only dysweep 0.1 has worked in, or of which runs are left to adopt."""

    directory: SweepDirectory

    @classmethod
    def at(cls, directory: SweepDirectory) -> OldSweep | None:
        """Return the sweep of dysweep 0.1 in a directory, if there is one."""
        try:
            old = not directory.record_path.exists() and _runs_in(directory.path)
        except OSError:  # somebody else's folder
            return None
        return cls(directory) if old else None

    def runs(self) -> list[OldRun]:
        """List the runs that have no record of their own yet."""
        known = self.directory.run_ids()
        return [run for run in _runs_in(self.directory.path) if run.run_id not in known]

    def run(self, run_id: str) -> OldRun | None:
        """Return one of these runs."""
        return next((run for run in self.runs() if run.run_id == run_id), None)

    def stand_in(self) -> Sweep:
        """Stand in for the record of the sweep, of which only its directory is known."""
        sweep_id = self.directory.path.name.removeprefix("checkpoints-")
        return Sweep(sweep_id, NAME, None, "", None, {}, {"method": "unknown"}, Space.compile({}).to_json())

    def adopt(self) -> None:
        """Record each run, with its checkpoint; repeated, it does what is left.

        sweep.json is written only after this, so that no agent works on a run without a record.

        Raises:
            DirectoryError: something cannot be written.
        """
        directory, known, taken = self.directory, self.directory.run_ids(), 0
        for old in _runs_in(directory.path):
            run = RunDirectory(directory.runs_path / old.run_id)
            try:
                # The record first, then the folders: a crash in between leaves a run that is
                # taken up here again.
                if old.run_id not in known:
                    taken += _record(directory, run, old)
                if not old.finished:
                    _take_folders(run, old)
            except FileNotFoundError:
                pass  # another process has made the record and moved the folder
            except DirectoryError as error:
                logger.error("%s; the run is left alone", error)
            except OSError as error:
                reason = f"cannot be made of {old.config_path} ({error.strerror})"
                raise DirectoryError(f"{run.path}: {reason}") from None
        if taken:
            logger.info("%d runs of %s are continued in %s", taken, NAME, directory.runs_path)


def _is_id(text: str) -> bool:
    try:
        return check_id(text, "run id") == text
    except ConfigError:
        return False


def _record(directory: SweepDirectory, run: RunDirectory, old: OldRun) -> bool:
    """Create the record of a run beside and rename it; False if another process was first."""
    config = old.config
    beside = RunDirectory(directory.runs_path / f".{old.run_id}.{secrets.token_hex(4)}.tmp")
    beside.attempts_path.mkdir(parents=True)
    try:
        replace_json(
            beside.path / "run.json",
            {"run_id": old.run_id, "assignment": {}, "name": None, "created": old.started},
        )
        replace_json(beside.path / "run_config.json", config)
        attempt = Attempt(beside, 1)
        replace_json(attempt.claim_path, asdict(Owner.unknown(NAME, old.started)))
        attempt.log_path.write_text(old.log, encoding="utf-8")
        if old.state is not State.CRASHED:
            end = {"outcome": str(old.state), "ended": old.ended, "error": old.error, "metrics": {}}
            replace_json(attempt.end_path, end)
        try:
            # As in start_run: of many agents that take the directory over, one makes the record.
            beside.path.rename(run.path)
        except OSError:
            if not run.path.exists():
                raise
            return False
        sync_directory(directory.runs_path)
        return True
    finally:
        shutil.rmtree(beside.path, ignore_errors=True)


def _take_folders(run: RunDirectory, old: OldRun) -> None:
    """Move the run's own files to its checkpoint, and what is left of earlier ones beside it."""
    places = [run.checkpoint_path, *(run.path / f"checkpoint.{number:04d}" for number in range(1, 1000))]
    for folder in (old.folder, *old.others):
        free = next(place for place in places if not place.exists())
        with contextlib.suppress(FileNotFoundError):
            if folder is not None:
                folder.rename(free)


def sweep_of_metadata(
    path: SweepAddress, metadata: Mapping[str, Any], configuration: Mapping[str, Any]
) -> Sweep:
    """Build a sweep's record of what dysweep 0.1 kept in W&B.

    Args:
        path: the sweep.
        metadata: the config of its metadata run: `base_config`, and `compression` with `keys` (from paths in
            the tree to names), `values` (from aliases to values) and `remaining_bunch` (the constants).
        configuration: W&B's sweep configuration.

    Raises:
        DirectoryError: this is no such metadata.
    """
    try:
        compression = metadata["compression"]
        tree: dict[str, Any] = _copied(compression["remaining_bunch"])
        for place, name in compression["keys"].items():
            *above, last = place.split(_KEYS)
            level = tree
            for key in above:
                level = level.setdefault(key, {})
            level[last] = _sweep_node(name, configuration["parameters"], compression["values"])
        parameters = _with_lists(tree)
        space = Space.compile(parameters, ("sweep_configuration", "parameters"))
        return Sweep(
            sweep_id=path.sweep_id,
            mode="online",
            entity=path.entity,
            project=path.project,
            run_name=None,
            base_config=metadata["base_config"],
            sweep_configuration={**configuration, "parameters": parameters},
            space=space.to_json(),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DirectoryError(f"sweep_id: what {NAME} kept of {path} cannot be read: {error!r}") from None


def _copied(tree: Any) -> Any:
    return {key: _copied(value) for key, value in tree.items()} if isinstance(tree, dict) else tree


def _sweep_node(name: str, parameters: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    node = {"sweep": True, "sweep_identifier": name, **parameters[name]}
    aliases = _aliases(parameters[name], values)
    for other, parameter in parameters.items():
        if other != name and (shared := aliases & _aliases(parameter, values)):
            raise ValueError(f"{min(shared)!r} is in two parameters, {name} and {other}")
    if aliases:
        sent = node["values"]
        decoded = [values.get(each, {}) if isinstance(each, str) else each for each in sent]  # W&B drops {}
        node |= {"sweep_alias": sent, "values": decoded}
    return node


def _aliases(parameter: Mapping[str, Any], values: Mapping[str, Any]) -> set[str]:
    return {each for each in parameter.get("values", []) if isinstance(each, str) and each in values}


def _with_lists(tree: Any) -> Any:
    """Turn mappings of `__IDX__0`, `__IDX__1`, ... back into the lists that they were."""
    if not isinstance(tree, dict) or "sweep" in tree:
        return tree
    items = {key: _with_lists(value) for key, value in tree.items()}
    keys = [f"{_INDEX}{index}" for index in range(len(items))]
    return [items[key] for key in keys] if items and items.keys() == set(keys) else items
