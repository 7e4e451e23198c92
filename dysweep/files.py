"""Reading YAML and JSON, and writing JSON files that are whole or not there."""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from dysweep.errors import ConfigError, DirectoryError
from dysweep.limits import max_bytes, too_large
from dysweep.yaml_text import parse_yaml

_MOST_OF_A_DIRECTORY = 16  # times the limit of a tree: a sweep.json holds three trees, written with blanks


def load_file(path: str | os.PathLike[str]) -> Any:
    """Read a YAML or JSON file.

    Raises:
        ConfigError: it cannot be read, is not YAML or JSON, or is too large.
    """
    most = max_bytes()
    try:
        with open(user_path(path), "rb") as file:  # a pipe, too: `-c <(...)`
            content = file.read(most + 1)
        text = content[:most].decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({_reason(error)})") from None
    if len(content) > most:
        raise too_large(str(path))
    if str(path).endswith(".json"):
        try:
            return json.loads(text, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path}: no JSON ({error})") from None
    return parse_yaml(text, str(path))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"duplicate key {next(key for key in keys if keys.count(key) > 1)!r}")
    return tree


def user_path(path: str | os.PathLike[str]) -> Path:
    """Return a path that a user has given, with `~` and environment variables (`$SCRATCH`) replaced."""
    return Path(os.path.expanduser(os.path.expandvars(path)))


def read_json(path: Path | str) -> Any:
    """Read a JSON file of a sweep directory.

    Raises:
        FileNotFoundError: there is no such file.
        DirectoryError: it cannot be read, or is damaged; the message names it.
    """
    try:
        return json.loads(read_regular_file(path))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise DirectoryError(f"{path}: damaged or unreadable ({_reason(error)})") from None


def read_regular_file(path: Path | str) -> bytes:
    """Read a file of a sweep directory.

    Others may write there: a pipe would never end, a device neither, a huge file takes all memory.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a regular file, or too large.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as file:
        size = _size_of_regular(file.fileno())
        if size > _MOST_OF_A_DIRECTORY * max_bytes():
            raise ValueError(f"{size} bytes are too many")
        return file.read()


def read_lines(path: Path, longest: int) -> Iterator[bytes]:
    """Read a file of a sweep directory line by line, however large it is.

    Args:
        path: the file.
        longest: how many bytes of a line are read at once; what follows counts as another line.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a regular file.
    """
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:
        _size_of_regular(file.fileno())
        yield from iter(partial(file.readline, longest), b"")


def _size_of_regular(descriptor: int) -> int:
    about = os.fstat(descriptor)
    if not stat.S_ISREG(about.st_mode):
        raise ValueError("not a regular file")
    return about.st_size


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Report what a disk refuses as one line about this path."""
    try:
        yield
    except DirectoryError:
        raise
    except OSError as error:
        raise DirectoryError(f"{path}: cannot be written ({_reason(error)})") from None


def replace_json(path: Path, content: Any) -> None:
    """Write a JSON file at once: beside, flushed to the disk, then renamed; a crash leaves none or all of it.

    Raises:
        DirectoryError: the file cannot be written.
    """
    with writing(path), _written_beside(path, content) as beside:
        os.replace(beside, path)
        # Without this a power failure can leave no name, of a file that others have seen and built on.
        sync_directory(path.parent)


def replace_lines(path: Path, lines: Iterable[bytes]) -> None:
    """Write a file that can be made again: at once, but not flushed to the disk.

    Raises:
        OSError: it cannot be written.
    """
    beside = _beside(path)
    try:
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
            file.writelines(lines)
        os.replace(beside, path)
    finally:
        with suppress(OSError):
            beside.unlink()


def write_new_json(path: Path, content: Any) -> None:
    """Write a JSON file where nobody looks yet, and flush it to the disk; its name is not durable.

    Raises:
        OSError: it cannot be written, or is there already.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    with open(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
        file.flush()
        # Without this a power failure can leave the later name with empty content.
        os.fsync(file.fileno())


def claim_json(path: Path, content: Any) -> bool:
    """Create a JSON file with O_EXCL: of many processes that try, exactly one succeeds.

    Returns:
        whether this process created it; False if it is there already.

    Raises:
        DirectoryError: the file cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    except OSError as error:
        raise DirectoryError(f"{path}: cannot be created ({_reason(error)})") from None
    with writing(path):
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
        # The name is the claim, and must outlive a power failure of the disk: this process may be elsewhere.
        # The content need not: a claim that is cut off counts as one of an unknown owner.
        sync_directory(path.parent)
    return True


def publish_json(path: Path, content: Any) -> bool:
    """Create a JSON file whole and exclusively: it never overwrites, and is never seen half-written.

    Returns:
        whether this call created it.

    Raises:
        DirectoryError: the file cannot be written.
    """
    with writing(path), _written_beside(path, content) as beside:
        # A link fails where the name is taken, and appears with its whole content: a rename does neither.
        try:
            os.link(beside, path)
        except FileExistsError:
            # On NFS the answer can get lost, and the repeated request finds what the first has made.
            if not os.path.samefile(beside, path):
                return False
        except OSError:  # no hard links on this file system
            if path.exists():
                return False
            os.replace(beside, path)
        # What is told as finished from now on must not be executed again after a power failure.
        sync_directory(path.parent)
        return True


@contextmanager
def _written_beside(path: Path, content: Any) -> Iterator[Path]:
    """Write a JSON file that is hidden beside its later place; remove it if it is still there in the end."""
    beside = _beside(path)
    try:
        write_new_json(beside, content)
        yield beside
    finally:
        with suppress(OSError):
            beside.unlink()


def _beside(path: Path) -> Path:
    # Under a name that nobody can guess: through no link that somebody has put there.
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def write_text(path: str | os.PathLike[str], text: str, option: str) -> None:
    """Write a file that a user has named.

    Raises:
        ConfigError: it cannot be written.
    """
    write_lines(path, [text], option)


def write_lines(path: str | os.PathLike[str], lines: Iterable[str], option: str) -> None:
    """Write a file that a user has named line by line.

    Raises:
        ConfigError: it cannot be written.
    """
    lines = iter(lines)
    first = next(lines, "")  # what is wrong with the lines is found while the old file is still there
    try:
        with open(user_path(path), "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            file.writelines(chain([first], lines))
    except OSError as error:
        raise ConfigError(f"{option}: {path} cannot be written ({error.strerror})") from None


def write_in_place(path: Path, text: str) -> None:
    """Overwrite a small file, but not what a symbolic link leads to.

    Raises:
        OSError: it cannot be written.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with open(os.open(path, flags, 0o666), "w", encoding="utf-8") as file:
        file.write(text)


def damaged(path: Path, error: Exception) -> DirectoryError:
    """Build the error about a file of a sweep directory that cannot be understood."""
    return DirectoryError(f"{path}: damaged or unreadable ({type(error).__name__}: {error})")


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable, where the file system can."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass  # some network file systems cannot; the rename is still atomic there
    finally:
        os.close(descriptor)


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8; save it as UTF-8"
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
