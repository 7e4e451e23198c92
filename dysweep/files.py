"""Reading YAML and JSON, and writing JSON files that are whole or not there."""

from __future__ import annotations

import json
import math
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from dysweep.errors import ConfigError, DirectoryError
from dysweep.limits import check_size, max_bytes, too_large

_WHOLE = r"(?:[0-9]+|[0-9]{1,3}(?:_[0-9]{3})+)"
_NUMBERS = {
    "int": rf"[-+]?(?:{_WHOLE}|0b[01]+|0o[0-7]+|0x[0-9a-fA-F]+)",
    "float": rf"[-+]?(?:{_WHOLE}\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[-+]?{_WHOLE}[eE][-+]?[0-9]+"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
}
_BLANKS = "\xa0\u2007\u202f\u3000\u200b\ufeff"
_MOST_OF_A_DIRECTORY = 16  # times the limit of a tree: a sweep.json holds three trees, written with blanks
_AS_TEXT = ("timestamp", "value", "int", "float")


class _Loader(yaml.SafeLoader):
    """YAML as configurations mean it: `1e-3` is a number, dates and times are text, no key is there twice."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value.strip(_BLANKS) != key.value and not key.style:
                raise _problem(f"the key {key.value!r} begins or ends with what only looks like a blank", key)
            name = _identity(key)
            if name in seen:
                raise _problem(f"duplicate key {key.value!r}", key)
            seen.add(name)
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Resolve `<<`. PyYAML 6.0.4 compares keys by identity, which makes chains of merges wrong."""
        # A key of the mapping's own wins over merged ones, and of these the first, as YAML 1.1 says.
        own = [(key, value) for key, value in node.value if key.tag != _MERGE]
        merged = [value for key, value in node.value if key.tag == _MERGE]
        if not merged:
            return
        sources = merged[0].value if isinstance(merged[0], yaml.SequenceNode) else merged
        pairs: dict[Any, tuple[yaml.Node, yaml.Node]] = {}
        for source in sources:
            if not isinstance(source, yaml.MappingNode):
                raise _problem("`<<` takes a mapping, or a list of mappings, as in `<<: *name`", source)
            self.flatten_mapping(source)
            for key, value in source.value:
                pairs.setdefault(_identity(key), (key, value))
        pairs.update((_identity(key), (key, value)) for key, value in own)
        node.value = list(pairs.values())

    def construct_text(self, node: yaml.ScalarNode) -> Any:
        return node.value

    def construct_whole_number(self, node: yaml.ScalarNode) -> int:
        if not re.fullmatch(_NUMBERS["int"], node.value):
            raise _problem(f"{node.value!r} is not a whole number", node)
        text = node.value.replace("_", "")
        digits = text.lstrip("+-")
        if re.fullmatch("0[0-7]+", digits):
            raise _problem(
                f"{text} may be octal ({int(digits, 8)}) or decimal ({int(digits)}); "
                f"write one of these numbers, or '{text}' in quotes for text",
                node,
            )
        return int(text, 0) if re.match("0[box]", digits) else int(text)

    def construct_number(self, node: yaml.ScalarNode) -> float:
        text = node.value.replace("_", "").lower()
        if text.lstrip("+-") in (".inf", ".nan"):
            return float(text.replace(".", ""))
        try:
            number = float(text)
        except ValueError:
            raise _problem(f"{node.value!r} is not a number", node) from None
        if math.isinf(number):
            raise _problem(f"{text} is too large for a number; write '{text}' in quotes for text", node)
        return number


_MERGE = "tag:yaml.org,2002:merge"
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in _AS_TEXT]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for _kind, _pattern in _NUMBERS.items():
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_kind}", re.compile(f"(?:{_pattern})$"), list("-+.0123456789")
    )
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_whole_number)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_number)
_Loader.add_constructor(_MERGE, _Loader.construct_text)  # `<<` that is not a key


def _identity(key: yaml.Node) -> Any:
    return (key.tag, key.value) if isinstance(key, yaml.ScalarNode) else id(key)


def _problem(text: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, text, node.start_mark)


class _Dumper(yaml.SafeDumper):
    """Quotes texts that this loader or YAML 1.1 would take for something else."""


_Dumper.yaml_implicit_resolvers = {
    first: [*_Loader.yaml_implicit_resolvers.get(first, []), *resolvers]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _text_node(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    # PyYAML writes these three as they are, in single quotes, and reads them as line breaks.
    style = '"' if re.search("[\x85\u2028\u2029]", text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text_node)


def dump_yaml(tree: Any) -> str:
    """Write a tree as YAML that `parse_yaml` reads as the same tree."""
    return yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def parse_yaml(text: str, where: str) -> Any:
    """Read a YAML text with the one rule that all of dysweep uses.

    Args:
        text: the YAML.
        where: what to call it in messages: a file's path, or an option.

    Returns:
        the tree. `1e-3` and `1_000` are numbers, dates and times (`12:30:00`) are text; `on`, `off`, `yes`
        and `no` are booleans; a whole number that begins with 0 is refused, as it may be octal.

    Raises:
        ConfigError: it is not YAML, and the message names the line; or it is too large with its aliases.
    """
    try:
        tree = yaml.load(text, Loader=_Loader)
        check_size(tree, where)
        return tree
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{where}, line {mark.line + 1}, column {mark.column + 1}" if mark else where
        problem = getattr(error, "problem", None) or str(error)
        if problem == "but found another document":
            problem = "a second document begins here (`---`); write one document"
        elif "tab character" in problem or "'\\t'" in problem:
            problem = "a tab character; YAML is indented with blanks only"
        elif found := re.search(r"^[ ]*\xa0", text, re.MULTILINE):
            line = text.count("\n", 0, found.end()) + 1
            place = f"{where}, line {line}"
            problem = "a no-break space, which looks like a blank; YAML is indented with blanks only"
        raise ConfigError(f"{place}: {problem}".replace("\n", " ")) from None
    except (RecursionError, ValueError) as error:
        problem = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        if "digits" in problem:
            problem = "a number with too many digits; at most 4,000 can be kept"
        raise ConfigError(f"{where}: {problem}".replace("\n", " ")) from None


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
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise ValueError("not a regular file")
        if about.st_size > _MOST_OF_A_DIRECTORY * max_bytes():
            raise ValueError(f"{about.st_size} bytes are too many")
        return file.read()


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
    # Under a name that nobody can guess: through no link that somebody has put there.
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        write_new_json(beside, content)
        yield beside
    finally:
        with suppress(OSError):
            beside.unlink()


def write_text(path: str | os.PathLike[str], text: str, option: str) -> None:
    """Write a file that a user has named.

    Raises:
        ConfigError: it cannot be written.
    """
    try:
        user_path(path).write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
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
