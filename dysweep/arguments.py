"""From the command line and a file of settings to settings."""

from __future__ import annotations

import os
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from dysweep import __version__, parallel
from dysweep.errors import ConfigError, closest
from dysweep.files import load_file, parse_yaml
from dysweep.parallel import ResumableSweepConfig

_HINTS = typing.get_type_hints(ResumableSweepConfig)
_TREES = ("base_config", "sweep_configuration")
_SWITCHES = ("dry_run", *(name for name, hint in _HINTS.items() if hint is bool))
_OPTIONS = ("config", "package", "function", "run_additional_args", "dry_run", "dry_run_dir", "limit")


def _parser(name: str, about: str, runs: bool) -> ArgumentParser:
    parser = ArgumentParser(
        prog=name, description=about, version=__version__, exit_on_error=False, allow_abbrev=False
    )
    parser.add_argument(
        "-c", "--config", type=str, metavar="FILE", help="YAML or JSON file with the settings below"
    )
    if runs:
        parser.add_argument("--package", type=str, help="dotted name of the module that holds the function")
        parser.add_argument("--function", type=str, help="name of the function that executes a run")
        parser.add_argument(
            "--run_additional_args",
            type=str,
            nargs="+",
            metavar="KEY:VALUE",
            help="more arguments for the function",
        )
    else:
        parser.add_argument(
            "--dry_run", type=bool, help="show the sweep and its first configs, and make nothing"
        )
        parser.add_argument(
            "--dry_run_dir", type=str, metavar="DIR", help="with dry_run: write the configs there, as YAML"
        )
        parser.add_argument(
            "--limit", type=int, metavar="N", help="with dry_run: how many configs to show or to write"
        )
    parser.add_class_arguments(ResumableSweepConfig)
    return parser


def parse(name: str, about: str, argv: list[str], runs: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the command's own options, and the settings: the file's, overridden by the command line's."""
    argv, overrides = _take_tree_overrides(_with_switch_values(argv, _SWITCHES))
    parser = _parser(name, about, runs)
    _check_options(argv, parser)
    try:
        given = parser.parse_args(argv, defaults=False).as_dict()
    except ArgumentError as error:
        raise _usage_error(error, argv) from None
    options = {key: given.pop(key, None) for key in _OPTIONS}
    settings = _settings_of_file(options["config"]) if options["config"] is not None else {}
    settings.update(given)
    for path, value in overrides:
        _override(settings, path, value)
    return options, settings


@dataclass(frozen=True)
class StatusOptions:
    """What `dysweep_status` shows.

    Args:
        sweep_id: the sweep; without it all sweeps below the root directory are listed.
        default_root_dir: folder below which every sweep has its directory `checkpoints-<sweep_id>`.
        custom_checkpoint_dir: the sweep's directory itself, instead; relative to default_root_dir.
        max_attempts: how often a run may fail or crash before it counts as set aside.
        runs: list all runs, with assignment, attempts, duration and metrics.
        json: print everything as JSON.
        csv: write one row for each run to this file.
        html: write a page with charts and all runs to this file (needs the extra `report`).
        metric: with html: the metric that the charts are about; the sweep's own by default.
        watch: draw again every two seconds, until nothing is left to wait for.
        log: print what the last attempt of the run with this id has printed.
    """

    sweep_id: str | None = None
    default_root_dir: str = "./dysweep_logs"
    custom_checkpoint_dir: str | None = None
    max_attempts: int = 3
    runs: bool = False
    json: bool = False
    csv: str | None = None
    html: str | None = None
    metric: str | None = None
    watch: bool = False
    log: str | None = None


def parse_status(argv: list[str]) -> StatusOptions:
    """Read the arguments of `dysweep_status`."""
    parser = ArgumentParser(
        prog="dysweep_status",
        description="Show a sweep, or all sweeps, from their directories; no network is needed.",
        version=__version__,
        exit_on_error=False,
        allow_abbrev=False,
    )
    parser.add_class_arguments(StatusOptions)
    switches = tuple(name for name, hint in typing.get_type_hints(StatusOptions).items() if hint is bool)
    argv = _with_switch_values(argv, switches)
    _check_options(argv, parser)
    try:
        return StatusOptions(**parser.parse_args(argv).as_dict())
    except ArgumentError as error:
        raise ConfigError(" ".join(str(error).split())) from None


def _with_switch_values(argv: list[str], switches: tuple[str, ...]) -> list[str]:
    """Let switches stand alone: `--resume` becomes `--resume=true`, and `True` is a boolean."""
    words: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word.removeprefix("--") in switches and word.startswith("--"):
            value = rest.pop(0) if rest and not rest[0].startswith("-") else "true"
            word = f"{word}={value}"
        flag, equals, value = word.partition("=")
        if equals and flag.removeprefix("--") in switches:
            word = f"{flag}={value.lower()}"
        words.append(word)
    return words


def _take_tree_overrides(argv: list[str]) -> tuple[list[str], list[tuple[list[str], Any]]]:
    """Take `--base_config.trainer.lr 1e-3` out of the arguments, its value read as YAML."""
    words: list[str] = []
    overrides = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if not word.startswith(tuple(f"--{tree}." for tree in _TREES)):
            words.append(word)
            continue
        flag, equals, value = word.partition("=")
        if not equals:
            if not rest:
                raise ConfigError(f"{flag}: a value is missing")
            value = rest.pop(0)
        overrides.append((flag[2:].split("."), parse_yaml(value, flag)))
    return words, overrides


def _check_options(argv: list[str], parser: ArgumentParser) -> None:
    known = [
        option for action in parser._actions for option in action.option_strings if option.startswith("--")
    ]
    for word in argv:
        flag = word.partition("=")[0]
        if flag.startswith("--") and flag != "--" and flag not in known and not flag.startswith("--print_"):
            raise ConfigError(f"{flag}: no such option{closest(flag, known)}")


def _usage_error(error: ArgumentError, argv: list[str]) -> ConfigError:
    """Turn the parser's report into one line, the same that a wrong value in the file gets."""
    for position, word in enumerate(argv):
        flag, equals, value = word.partition("=")
        name = flag.removeprefix("--")
        if name not in _HINTS or not flag.startswith("--"):
            continue
        text = value if equals else "".join(argv[position + 1 : position + 2])
        is_text = {bool, int, float, dict}.isdisjoint({_HINTS[name], *typing.get_args(_HINTS[name])})
        try:
            parallel.make_config(None, {name: text if is_text else parse_yaml(text, flag)})
        except ConfigError as problem:
            return ConfigError(f"--{problem}")
    report = " ".join(str(error).split())
    files = [word for word in argv if not word.startswith("-") and os.path.isfile(word)]
    hint = f"; did you mean -c {files[0]}?" if files and "nrecognized" in report else ""
    return ConfigError(report + hint)


def _settings_of_file(path: str) -> dict[str, Any]:
    settings = load_file(path)
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: a mapping of settings is needed; there are {', '.join(_HINTS)}")
    for key in settings:
        if key not in _HINTS:
            raise ConfigError(f"{path}: {key}: no such setting{closest(str(key), _HINTS)}")
    for tree in _TREES:
        beside = Path(path).parent / str(settings.get(tree))
        if isinstance(settings.get(tree), str) and not os.path.exists(settings[tree]) and beside.exists():
            settings[tree] = str(beside)
    try:
        parallel.make_config(None, settings)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return settings


def _override(settings: dict[str, Any], path: list[str], value: Any) -> None:
    tree = settings.get(path[0])
    node: Any = load_file(tree) if isinstance(tree, str) else {} if tree is None else tree
    settings[path[0]] = node
    for depth, key in enumerate(path[1:], start=1):
        place: Any = int(key) if isinstance(node, list) and key.isdecimal() else key
        if isinstance(node, list) and (not isinstance(place, int) or place >= len(node)):
            raise ConfigError(
                f"--{'.'.join(path)}: {'.'.join(path[:depth])} is a list with {len(node)} elements"
            )
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
            raise ConfigError(f"--run_additional_args: {word!r} is no key:value, as in seed:3")
        arguments[key] = parse_yaml(value, f"--run_additional_args {key}")
    return arguments
