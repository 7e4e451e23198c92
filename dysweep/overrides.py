"""Arguments that no parser reads: settings in trees (`--base_config.optimizer.lr 1e-3`), pairs, lists."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from dysweep.errors import ConfigError, misspelt
from dysweep.files import load_file
from dysweep.settings import TREES
from dysweep.yaml_text import parse_yaml

logger = logging.getLogger("dysweep")


def take_tree_overrides(argv: list[str]) -> tuple[list[str], list[tuple[list[str], Any]]]:
    """Take `--base_config.trainer.lr 1e-3` out of the arguments, its value read as YAML."""
    words: list[str] = []
    overrides = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if not word.startswith(tuple(f"--{tree}." for tree in TREES)):
            words.append(word)
            continue
        flag, equals, value = word.partition("=")
        if not equals:
            if not rest:
                raise ConfigError(f"{flag}: a value is missing")
            value = rest.pop(0)
        overrides.append((flag[2:].split("."), parse_yaml(value, flag)))
    return words, overrides


def override(settings: dict[str, Any], path: list[str], value: Any) -> None:
    tree = settings.get(path[0])
    node: Any = load_file(tree) if isinstance(tree, str) else {} if tree is None else tree
    settings[path[0]] = node
    for depth, key in enumerate(path[1:], start=1):
        place: Any = int(key) if isinstance(node, list) and key.isdecimal() else key
        if isinstance(node, list) and (not isinstance(place, int) or place >= len(node)):
            raise ConfigError(
                f"--{'.'.join(path)}: {'.'.join(path[:depth])} is a list with {len(node)} elements"
            )
        if isinstance(node, dict) and place not in node and (meant := misspelt(key, node)):
            logger.warning("--%s: a new key; did you mean %r?", ".".join(path[: depth + 1]), meant)
        if depth == len(path) - 1:
            node[place] = value
        else:
            below = node[place] if isinstance(node, list) else node.get(place)
            if not isinstance(below, (dict, list)):
                below = node[place] = {}
            node = below


def additional_arguments(words: list[str]) -> dict[str, Any]:
    arguments = {}
    for word in words:
        key, colon, value = word.partition(":")
        if not colon or not key.isidentifier():
            raise ConfigError(f"--run_additional_args: {word!r} is not key:value, as in seed:3")
        arguments[key] = parse_yaml(value, f"--run_additional_args {key}")
    return arguments


def gathered(argv: list[str], flags: Collection[str]) -> list[str]:
    """Bring what is given to an option at several times together; a lone `--best` is `--best=1`."""
    words: list[str] = []
    several: dict[str, list[str]] = {}
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        flag, equals, value = word.partition("=")
        if flag in flags:
            taken = several.setdefault(flag, [])
            taken += [value] if equals else []
            while not equals and rest and not rest[0].startswith("--"):
                taken.append(rest.pop(0))
        elif word == "--best" and not (rest and rest[0].isdecimal()):
            words.append("--best=1")
        else:
            words.append(word)
    return [*words, *(word for flag, values in several.items() for word in (flag, *values))]
