"""Reading YAML and JSON, and writing JSON files that are whole or not there."""

from __future__ import annotations

import json
import os
import re
import secrets
from pathlib import Path
from typing import Any

import yaml

from dysweep.errors import ConfigError, DirectoryError


class _Loader(yaml.SafeLoader):
    """YAML as configurations mean it: `1e-3` is a number, dates stay text, no key stands twice."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            name = (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else None
            if name is not None and name in seen and key.value != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} stands here twice", key.start_mark
                )
            seen.add(name)
        return node


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+"),
    list("-+0123456789"),
)


class _Dumper(yaml.SafeDumper):
    """Quotes texts that the loader would take for numbers."""


_Dumper.yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def dump_yaml(tree: Any) -> str:
    """Write a tree as YAML that `parse_yaml` reads as the same tree."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def parse_yaml(text: str, where: str) -> Any:
    """Read a YAML text with the one rule that all of dysweep uses.

    Args:
        text: the YAML.
        where: what to call it in messages: a file's path, or an option.

    Returns:
        the tree; `1e-3` is a number, dates are text.

    Raises:
        ConfigError: it is no YAML; the message names the line.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}, line {mark.line + 1}, column {mark.column + 1}" if mark else where
        problem = getattr(error, "problem", None) or str(error)
        if "tab character" in problem or "'\\t'" in problem:
            problem = "a tab character; YAML is indented with blanks only"
        raise ConfigError(f"{place}: {problem}".replace("\n", " ")) from None
    except (RecursionError, ValueError) as error:
        problem = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        if "digits" in problem:
            problem = "a number with too many digits; at most 4,000 can be kept"
        raise ConfigError(f"{where}: {problem}".replace("\n", " ")) from None


def load_file(path: str | os.PathLike[str]) -> Any:
    """Read a YAML or JSON file.

    Raises:
        ConfigError: it cannot be read, or is no YAML or JSON.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({_reason(error)})") from None
    if str(path).endswith(".json"):
        try:
            return json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path}: no JSON ({error})") from None
    return parse_yaml(text, str(path))


def read_json(path: Path | str) -> Any:
    """Read a JSON file of a sweep directory.

    Raises:
        FileNotFoundError: there is no such file.
        DirectoryError: it cannot be read, or is damaged; the message names it.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            return json.loads(file.read())
    except FileNotFoundError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        raise DirectoryError(f"{path}: damaged or unreadable ({_reason(error)})") from None


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file at once: beside, flushed to the disk, then renamed; a crash leaves none or all of it.

    Raises:
        DirectoryError: the file cannot be written.
    """
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(beside, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        sync_directory(path.parent)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise DirectoryError(f"{path}: cannot be written ({_reason(error)})") from None


def create_json(path: Path, content: Any) -> bool:
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
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(content, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        sync_directory(path.parent)
    except OSError as error:
        raise DirectoryError(f"{path}: cannot be written ({_reason(error)})") from None
    return True


def create_atomically(path: Path, content: Any) -> bool:
    """Create a JSON file whole and exclusively: it never overwrites, and is never seen half-written.

    Returns:
        whether this call created it.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    write_json(beside, content)
    try:
        os.link(beside, path)
    except FileExistsError:
        return False
    except OSError:  # no hard links on this file system
        if path.exists():
            return False
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)
    sync_directory(path.parent)
    return True


def damaged(path: Path, error: Exception) -> DirectoryError:
    """Make the error about a file of a sweep directory that cannot be understood."""
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
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
