"""The sweep directory: one record per run, written by any number of processes on any number of machines.

    checkpoints-<sweep_id>/
        sweep.json                    the sweep: base config, sweep configuration, space
        sweep.0002.json               what has extended it: the same, and which of its points are new
        sweep.lock                    spares agents a stampede; correctness never rests on it
        sync.json                     entity and project that dysweep_sync takes the runs to
        runs/<run_id>/
            run.json                  assignment, name, created
            run_config.json           the config
            attempts/0001.json        claim: who executes the run
            attempts/0001.heartbeat   changes while the owner lives
            attempts/0001.end.json    outcome, error, final metrics
            attempts/0001.log         what the function printed
            attempts/0001.logged, attempts/0001.band.0003.json   see bands.py
            checkpoint/               the function's own folder, the same for every attempt
            wandb/                    W&B's own files of the run

Every file but heartbeat, log and logged is written once, by one process, and never changed. A run's state is
derived from which files are there, so a crash at any point leaves a state that is true: before the claim
the run was never started, after it the run is running while its owner lives and crashed once it does not.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from dysweep.directory.address import SweepAddress, check_id
from dysweep.directory.liveness import now
from dysweep.directory.runs import Attempt, RunDirectory
from dysweep.errors import ConfigError, DirectoryError, NotFoundError
from dysweep.files import publish_json, read_json, sync_directory, write_new_json
from dysweep.language.nodes import ROOT_WORDS
from dysweep.language.space import Space

logger = logging.getLogger("dysweep")

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Sweep:
    """What sweep.json holds.

    Args:
        sweep_id: the sweep's id, W&B's own if W&B serves it.
        mode: who serves the sweep, `online` (W&B) or `offline` (the directory); `disabled` to debug a point.
        entity: W&B's user or team.
        project: W&B's project.
        run_name: template of the runs' names, or None for ids.
        base_config: the tree that every run starts from.
        sweep_configuration: W&B's sweep configuration, with the parameters as written.
        space: the compiled space, as one JSON text.
        wandb_keys: settings that W&B also gets under a short key, the paths by key.
    """

    sweep_id: str
    mode: str
    entity: str | None
    project: str
    run_name: str | None
    base_config: dict[str, Any]
    sweep_configuration: dict[str, Any]
    space: str
    wandb_keys: dict[str, str] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    @property
    def online(self) -> bool:
        """Whether W&B serves it."""
        return self.mode == "online"

    @property
    def address(self) -> SweepAddress:
        """Where it is in W&B."""
        return SweepAddress(self.entity, self.project, self.sweep_id)

    @property
    def flat_configuration(self) -> dict[str, Any]:
        """W&B's sweep configuration, with the flat parameters, and without the words that are not W&B's."""
        words = {key: value for key, value in self.sweep_configuration.items() if key not in ROOT_WORDS}
        return {**words, "parameters": self.compiled.parameters}

    @classmethod
    def from_stored(cls, stored: Any) -> Sweep:
        """Read the content of a sweep.json.

        Raises:
            ValueError: it is damaged, or of another format version.
        """
        version = stored.get("format_version") if isinstance(stored, dict) else None
        if version != FORMAT_VERSION:
            raise ValueError(
                f"format_version is {version!r}, this dysweep reads {FORMAT_VERSION}; "
                "use the dysweep that made it"
            )
        try:
            sweep = cls(**{each.name: stored[each.name] for each in fields(cls) if each.name in stored})
            check_id(sweep.sweep_id, "sweep_id")
            sweep.compiled  # noqa: B018 - a damaged space is found here, not in the first run
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"damaged or unreadable ({type(error).__name__}: {error})") from None
        return sweep

    def to_json(self) -> str:
        """Write it as one JSON text, with which it travels."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @cached_property
    def compiled(self) -> Space:
        """The space, ready to resolve assignments."""
        return Space.from_json(self.space)


@dataclass(frozen=True)
class SweepDirectory:
    """A sweep's directory on a disk that all its agents share."""

    path: Path
    _definitions: dict[int, Sweep] = field(default_factory=dict, compare=False, repr=False)

    @property
    def record_path(self) -> Path:
        return self.path / "sweep.json"

    def definition_path(self, number: int) -> Path:
        """Return where the n-th definition of the sweep is: as it was created, and as it was extended."""
        return self.record_path if number == 1 else self.path / f"sweep.{number:04d}.json"

    @property
    def lock_path(self) -> Path:
        return self.path / "sweep.lock"

    @property
    def sync_path(self) -> Path:
        return self.path / "sync.json"

    @property
    def runs_path(self) -> Path:
        return self.path / "runs"

    def exists(self) -> bool:
        """Return whether a sweep is here.

        Raises:
            DirectoryError: nobody can say (a folder above is closed to this user, a name is too long).
        """
        try:
            return self.record_path.exists()
        except OSError as error:
            raise DirectoryError(f"{self.path}: cannot be read ({error.strerror})") from None

    def check_free(self) -> None:
        """Check that no sweep is here.

        Raises:
            ConfigError: there is one.
        """
        if self.exists():
            raise ConfigError(
                f"{self.path}: holds a sweep already; choose another directory, or give its --sweep_id"
            )

    def create(self, sweep: Sweep, group_writable: bool = False) -> None:
        """Create the directory; it is a sweep once sweep.json is there, which is written last and whole.

        Args:
            sweep: the record.
            group_writable: let other members of the directory's group work on it.

        Raises:
            ConfigError: the directory holds a sweep already.
            DirectoryError: it cannot be written.
        """
        new = [folder for folder in (self.runs_path, self.path) if not os.path.exists(folder)]
        try:
            published = self._publish(sweep, group_writable)
        except DirectoryError:
            for folder in new:
                with suppress(OSError):  # another process has created a sweep there meanwhile
                    folder.rmdir()
            raise
        if not published:
            self.check_free()

    def _publish(self, sweep: Sweep, group_writable: bool) -> bool:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if group_writable:
                # What is created below gets this directory's group, and not that of who creates it.
                self.path.chmod(self.path.stat().st_mode | stat.S_ISGID | stat.S_IRWXG)
            with self.shared():
                self.runs_path.mkdir(exist_ok=True)
        except OSError as error:
            raise DirectoryError(f"{self.path}: cannot be made ({error.strerror})") from None
        self.warn_if_open()
        # The record last: a directory without it is not a sweep, so a crash before leaves nothing half-made.
        with self.shared():
            return publish_json(self.record_path, asdict(sweep))

    @property
    def group_writable(self) -> bool:
        """Whether other members of its group may write to it."""
        try:
            return bool(self.path.stat().st_mode & stat.S_IWGRP)
        except OSError:
            return False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Create files that the group may write, too, if it may write to the directory."""
        mask = os.umask(0o077)  # the only way to read it; meanwhile new files are closed to others
        os.umask(mask & ~stat.S_IRWXG if self.group_writable else mask)
        try:
            yield
        finally:
            os.umask(mask)

    def warn_if_open(self) -> None:
        """Warn if every user of the machine may change what is here."""
        for folder in (self.path, self.path.parent):
            mode = folder.stat().st_mode
            if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
                logger.warning(
                    "%s: every user of this machine may write here, and spoil the sweep; `chmod o-w %s`",
                    folder, folder,
                )  # fmt: skip

    @property
    def sweep(self) -> Sweep:
        """The sweep's record; for what it raises see `definition`."""
        return self.definition(1)

    def definition(self, number: int) -> Sweep:
        """Read the sweep as its n-th definition has it; the first is that of its creation.

        Raises:
            NotFoundError: there is no sweep here.
            DirectoryError: the record is damaged, or of another format version.
        """
        if number in self._definitions:
            return self._definitions[number]
        path = self.definition_path(number)
        try:
            self._definitions[number] = Sweep.from_stored(read_json(path))
        except FileNotFoundError:
            raise NotFoundError(f"{self.path}: holds no sweep ({path.name} is missing)") from None
        except DirectoryError:
            raise
        except ValueError as error:
            raise DirectoryError(f"{path}: {error}") from None
        return self._definitions[number]

    def run_id(self, number: int) -> str:
        """Return the id of the n-th run of a sweep that its directory serves."""
        return f"{self.sweep.sweep_id}-{number:04d}"

    def number_of(self, run_id: str) -> int | None:
        """Return which run of a sweep that its directory serves has an id; None for other folders."""
        number = run_id.removeprefix(f"{self.sweep.sweep_id}-")
        return int(number) if number.isdecimal() and self.run_id(int(number)) == run_id else None

    def run(self, run_id: str) -> RunDirectory:
        """Find a run.

        Raises:
            NotFoundError: it is not here.
        """
        run = RunDirectory(self.runs_path / check_id(run_id, "run id"))
        if not run.path.is_dir() or run.path.is_symlink():
            raise self.unknown(run_id)
        return run

    def unknown(self, run_id: str) -> NotFoundError:
        """Build the error about a run that is not here; it names some that are."""
        known = sorted(self.run_ids())
        more = ", ..." if len(known) > 3 else ""
        some = f"there are {', '.join(known[:3])}{more}" if known else "none was started"
        check_id(run_id, "run id")
        return NotFoundError(f"{run_id}: unknown run in {self.runs_path}; {some}")

    def run_ids(self) -> set[str]:
        """List the runs that were ever started."""
        try:
            return {name for name in os.listdir(self.runs_path) if not name.startswith(".")}
        except FileNotFoundError:
            return set()
        except OSError as error:
            raise DirectoryError(f"{self.runs_path}: cannot be read ({error.strerror})") from None

    def runs(self) -> Iterator[RunDirectory]:
        """Go through the runs in the order of their ids."""
        try:
            with os.scandir(self.runs_path) as entries:
                names = [each.name for each in entries if each.is_dir(follow_symlinks=False)]
        except FileNotFoundError:
            return
        except OSError as error:
            raise DirectoryError(f"{self.runs_path}: cannot be read ({error.strerror})") from None
        # Hidden ones are runs that are being recorded, or whose process died at it.
        folder = self.runs_path
        for name in sorted(name for name in names if not name.startswith(".")):
            yield RunDirectory(folder / name)

    def start_run(
        self,
        run_id: str,
        assignment: dict[str, Any],
        name: str | None,
        config: dict[str, Any] | None,
        definition: int = 1,
    ) -> Attempt | None:
        """Record a new run together with its first claim.

        The directory is made beside and renamed, so it appears whole, and to one process only.

        Args:
            run_id: the run's id.
            assignment: what the sweep chose for it.
            name: what W&B calls the run; None leaves that to W&B.
            config: the config, or None if it could not be resolved.
            definition: which of the sweep's definitions it is of.

        Returns:
            the first attempt, or None if the run is there already.
        """
        beside = self.runs_path / f".{check_id(run_id, 'run id')}.{secrets.token_hex(4)}.tmp"
        made = RunDirectory(beside)
        try:
            beside.mkdir()
            record = {"run_id": run_id, "assignment": assignment, "name": name, "created": now()}
            later = {"definition": definition} if definition > 1 else {}
            write_new_json(beside / "run.json", {**record, **later})
            if config is not None:
                write_new_json(beside / "run_config.json", config)
            # The claim goes in before the rename: a run is never seen that nobody has started, and a
            # crash before the rename leaves only a hidden folder, with no trace of the point having been
            # taken.
            made.claim(None)
            # The names in it, once for all: a power failure after the rename could else leave a run whose
            # point nobody knows.
            sync_directory(beside)
            run = RunDirectory(self.runs_path / run_id)
            own = beside.stat().st_ino
            try:
                # A rename onto a folder that is not empty fails: of many processes that start a run, one
                # does.
                beside.rename(run.path)
            except OSError:
                if not run.path.exists():
                    raise
                # On NFS the answer can get lost, and the repeated request finds nothing to rename.
                if run.path.stat().st_ino != own:
                    return None
            # Else a power failure could forget the name, and the point would be executed twice.
            sync_directory(self.runs_path)
            return Attempt(run, 1)
        except OSError as error:
            if isinstance(error, DirectoryError):
                raise
            raise DirectoryError(f"{self.runs_path}: cannot be written ({error.strerror})") from None
        finally:
            shutil.rmtree(beside, ignore_errors=True)
