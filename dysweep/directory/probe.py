"""Does a file system give what a sweep directory needs? Several processes try it."""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from dysweep.errors import DirectoryError
from dysweep.text import duration

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

_PROCESSES = 4
_NAMES = 200
_LONGEST_DELAY = 30.0
_LARGEST_DIFFERENCE = 5.0


@dataclass(frozen=True)
class Finding:
    """One property of a file system.

    Args:
        what: the property.
        given: whether the file system has it.
        needed: whether claims and records rest on it.
        detail: what was measured, or what it means that it is missing.
    """

    what: str
    given: bool
    needed: bool
    detail: str


def probe(folder: Path) -> list[Finding]:
    """Try a file system; what is created for that is removed.

    Args:
        folder: any folder on it.

    Raises:
        DirectoryError: nothing can be created there.
    """
    from concurrent.futures import (
        ProcessPoolExecutor,  # these take longer to import than all of dysweep_status
    )
    from multiprocessing import get_context

    try:
        place = Path(mkdtemp(prefix=".dysweep-check-", dir=folder))
    except OSError as error:
        raise DirectoryError(f"{folder}: nothing can be created here ({error.strerror})") from None
    try:
        with ProcessPoolExecutor(_PROCESSES, get_context("spawn")) as processes:
            return list(_findings(place, processes))
    except OSError as error:
        raise DirectoryError(f"{folder}: {error.strerror} ({error.filename})") from None
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _findings(place: Path, processes: ProcessPoolExecutor) -> Iterator[Finding]:
    tried = [processes.submit(_create_all, str(place)) for _ in range(_PROCESSES)]
    while len(list(place.glob("ready-*"))) < _PROCESSES and not any(each.done() for each in tried):
        time.sleep(0.01)
    (place / "go").touch()
    winners = Counter(name for each in tried for name in each.result())
    double = sum(number > 1 for number in winners.values())
    detail = f"{_NAMES} names, {_PROCESSES} processes, {double} created twice"
    yield Finding("exclusive creation", len(winners) == _NAMES and not double, True, detail)
    yield Finding("renames that replace no folder", _refuses_full_folders(place), True, "one run, one record")
    linked = _links(place)
    yield Finding("hard links", linked, False, "" if linked else "records are renamed into place instead")
    locked = _locks(place, processes)
    yield Finding("locks (flock)", locked, False, "" if locked else "agents take new runs at the same time")
    seen = processes.submit(_last_seen, str(place / "there"))
    time.sleep(0.5)
    (place / "there").touch()
    created = time.time()
    delay = seen.result() - created
    detail = "not within 30 s" if delay > _LONGEST_DELAY else f"after {max(delay, 0) * 1000:.0f} ms"
    yield Finding("new files are seen by other processes", delay <= _LONGEST_DELAY, True, detail)
    apart = abs((place / "there").stat().st_mtime - created)
    detail = f"{duration(apart)} apart; only shown times depend on it"
    yield Finding("clock of this host and of the disk", apart < _LARGEST_DIFFERENCE, False, detail)
    room = os.statvfs(place)
    yield Finding("names of 255 bytes", room.f_namemax >= 255, True, f"at most {room.f_namemax}")
    # Some file systems make inodes as they need them, and tell none.
    inodes = not room.f_files or room.f_favail > 1000
    yield Finding("room for files", inodes and room.f_bavail > 0, True, f"{room.f_favail} files left")


def _create_all(place: str) -> list[str]:
    """Try to create each of many files, at the same time as others, and list those that this process has."""
    Path(place, f"ready-{os.getpid()}").touch()
    while not os.path.exists(f"{place}/go"):
        pass
    created = []
    for number in range(_NAMES):
        path = f"{place}/{number}"
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        created.append(path)
    return created


def _refuses_full_folders(place: Path) -> bool:
    for name in ("one", "other"):
        (place / name).mkdir()
        (place / name / "content").touch()
    try:
        (place / "one").rename(place / "other")
    except OSError:
        return True
    return False


def _links(place: Path) -> bool:
    (place / "linked").touch()
    try:
        os.link(place / "linked", place / "link")
        os.link(place / "linked", place / "link")
    except FileExistsError:
        return True
    except OSError:
        return False
    return False


def _locks(place: Path, processes: ProcessPoolExecutor) -> bool:
    with open(place / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return not processes.submit(_gets_lock, str(place / "lock")).result()


def _gets_lock(path: str) -> bool:
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


def _last_seen(path: str) -> float:
    """Look for a file until it is there; return when it was seen."""
    end = time.monotonic() + _LONGEST_DELAY
    while not os.path.exists(path) and time.monotonic() < end:
        time.sleep(0.001)
    return time.time() if os.path.exists(path) else float("inf")
