"""From a command line to settings and options."""

from __future__ import annotations

import argparse
import logging
import os
import re
import textwrap
from argparse import SUPPRESS, Action
from collections.abc import Collection
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any, TypeVar

from jsonargparse import ArgumentError, ArgumentParser

from dysweep import __version__
from dysweep.errors import ConfigError, closest, misspelt
from dysweep.files import dump_yaml, load_file, parse_yaml
from dysweep.settings import (
    CREATE,
    RUN,
    STATUS,
    SYNC,
    TREES,
    ResumableSweepConfig,
    at_least_one,
    checked,
    choices_of,
    from_text,
    is_switch,
    load_settings,
    setting,
    settings_of,
)

logger = logging.getLogger("dysweep")

T = TypeVar("T")
_ABOUT = {
    CREATE: "Create a sweep and print its id.",
    RUN: "Work on a sweep: execute its runs, resume the interrupted and failed ones, or rerun one. "
    "Without --sweep_id, create it first.",
    SYNC: "Upload an offline sweep to W&B: its runs that have ended, and a sweep that holds them. "
    "Repeat it when more runs have ended.",
    STATUS: "Show a sweep, or all sweeps, from their directories; no network is needed.",
}


@dataclass(frozen=True)
class Options:
    """What commands take besides the settings of a sweep."""

    config: str | None = setting(
        None, "YAML or JSON file with the settings below", CREATE, RUN, SYNC, metavar="FILE"
    )
    package: str | None = setting(None, "dotted name of the module that holds the function", RUN)
    function: str | None = setting(None, "name of the function that executes a run", RUN)
    run_additional_args: str | None = setting(
        None, "more arguments for the function", RUN, metavar="KEY:VALUE"
    )
    dry_run: bool = setting(False, "show the sweep and its first configs, and create nothing", CREATE)
    dry_run_dir: str | None = setting(
        None, "with dry_run: write the configs there, as YAML", CREATE, metavar="DIR"
    )
    limit: int | None = setting(
        None, "with dry_run: how many configs to show or to write", CREATE, metavar="N", check=at_least_one
    )
    print_config: bool = setting(False, "print a file with all settings of a sweep, explained", CREATE)


@dataclass(frozen=True)
class StatusOptions:
    """What `dysweep_status` shows."""

    sweep_id: str | None = setting(
        None, "the sweep; without it all sweeps below the root directory are listed", STATUS, metavar="ID"
    )
    default_root_dir: str = setting(
        "./dysweep_logs",
        "folder below which every sweep has its directory `checkpoints-<sweep_id>`",
        STATUS,
        metavar="DIR",
    )
    custom_checkpoint_dir: str | None = setting(
        None, "the sweep's directory itself, instead; relative to default_root_dir", STATUS, metavar="DIR"
    )
    max_attempts: int = setting(
        3,
        "how often a run may fail or crash before it counts as given up",
        STATUS,
        metavar="N",
        check=at_least_one,
    )
    runs: bool = setting(False, "list all runs, with assignment, attempts, duration and metrics", STATUS)
    json: bool = setting(False, "print everything as JSON", STATUS)
    csv: str | None = setting(
        None, "write one row for each run to this file, or to stdout (`-`)", STATUS, metavar="FILE"
    )
    html: str | None = setting(
        None,
        "write a page with charts and all runs to this file (needs the extra `report`)",
        STATUS,
        metavar="FILE",
    )
    metric: str | None = setting(
        None, "with html: the metric that the charts are about; the sweep's own by default", STATUS
    )
    watch: bool = setting(False, "draw again every two seconds, until nothing is left to wait for", STATUS)
    log: str | None = setting(
        None, "print what the last attempt of the run with this id has printed", STATUS, metavar="RUN"
    )


def parse(command: str, argv: list[str]) -> tuple[Options, list[str], dict[str, Any]]:
    """Read the arguments of a command that takes settings of a sweep.

    Returns:
        the command's own options, the words of run_additional_args, and the settings: the file's, overridden
        by the command line's.
    """
    argv, overrides = _take_tree_overrides(argv)
    given = _given(command, (Options, ResumableSweepConfig), argv)
    additional = given.pop("run_additional_args", [])
    options = checked({name: given.pop(name) for name in settings_of(Options) if name in given}, Options)
    settings = {} if options.config is None else load_settings(options.config)
    settings.update(given)
    for path, value in overrides:
        _override(settings, path, value)
    return options, additional, settings


def parse_status(argv: list[str]) -> StatusOptions:
    """Read the arguments of `dysweep_status`."""
    return checked(_given(STATUS, (StatusOptions,), argv), StatusOptions)


def _given(command: str, kinds: Collection[type], argv: list[str]) -> dict[str, Any]:
    """Return what a command line gives, each value checked."""
    parser, options = _parser(command, kinds)
    of_kind = {name: kind for kind in kinds for name in settings_of(kind)}
    argv = _with_switch_values(argv, [name for name, kind in of_kind.items() if is_switch(kind, name)])
    _refuse_unknown_options(argv, command, options)
    try:
        texts = parser.parse_args(argv, defaults=False).as_dict()
    except ArgumentError as error:
        raise _usage_error(error, command) from None
    given = {}
    for name, text in texts.items():
        try:
            given[name] = text if isinstance(text, list) else from_text(of_kind[name], name, text)
            if not isinstance(text, list):
                checked({name: given[name]}, of_kind[name])
        except ConfigError as problem:
            raise ConfigError(f"--{str(problem).removeprefix('--')}") from None
    return given


def _parser(command: str, kinds: Collection[type]) -> tuple[ArgumentParser, list[str]]:
    """Make a parser that takes every value as text, and list its options."""
    parser = ArgumentParser(
        prog=command,
        usage=f"{command} [options]",
        description=_ABOUT[command],
        version=__version__,
        exit_on_error=False,
        allow_abbrev=False,
        formatter_class=argparse.HelpFormatter,
    )
    parser.add_argument(
        "--print_completion",
        action=_PrintCompletion,
        default=SUPPRESS,
        choices=["bash", "zsh", "tcsh"],
        help="print what makes the shell complete this command",
    )
    options = ["--help", "--version", "--print_completion"]
    if command == CREATE:
        text = "print the file's JSON schema, for editors"
        parser.add_argument("--print_schema", action=_PrintSchema, nargs=0, default=SUPPRESS, help=text)
        options.append("--print_schema")
    for kind in kinds:
        for name, (each, known) in settings_of(kind).items():
            if command not in known.used_by:
                continue
            switch = is_switch(kind, name)
            choices = ("true", "false") if switch else choices_of(kind, name)
            metavar = "|".join(choices) or known.metavar
            default = "" if each.default in (None, False) else f" (default: {each.default})"
            more: dict[str, Any] = {"choices": choices} if choices else {}
            if name == "run_additional_args":
                more["nargs"] = "+"
            parser.add_argument(
                *(["-c"] if name == "config" else []),
                f"--{name}",
                type=str,
                default=SUPPRESS,
                metavar=f"[{metavar}]" if switch else metavar,
                help=f"{known.help}{default}".replace("%", "%%"),
                **more,
            )
            options.append(f"--{name}")
    return parser, options


class _PrintSchema(Action):
    """Prints the JSON schema of a file of settings, and ends."""

    def __call__(self, parser: Any, *_: Any) -> None:
        settings = ArgumentParser()
        settings.add_class_arguments(ResumableSweepConfig)
        print(settings.get_completion_script("jsonschema"))
        raise SystemExit(0)


class _PrintCompletion(Action):
    """Prints a shell's completion script, and ends."""

    def __call__(self, parser: Any, _: Any, shell: Any, *__: Any) -> None:
        if find_spec("shtab") is None:
            raise ConfigError('--print_completion: it needs shtab: pip install "dysweep[completion]"')
        print(parser.get_completion_script(f"shtab-{shell}"))
        raise SystemExit(0)


def _with_switch_values(argv: list[str], switches: Collection[str]) -> list[str]:
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


def _refuse_unknown_options(argv: list[str], command: str, known: list[str]) -> None:
    others = {
        name: setting.used_by
        for kind in (Options, ResumableSweepConfig, StatusOptions)
        for name, (_, setting) in settings_of(kind).items()
    }
    for word in argv:
        flag = word.partition("=")[0]
        if not flag.startswith("--") or flag == "--" or flag in known:
            continue
        if flag[2:] in others:
            takers = " and ".join(sorted(others[flag[2:]]))
            raise ConfigError(f"{flag} is an option of {takers}, not of {command}")
        raise ConfigError(f"{flag}: unknown option{closest(flag, known)}")


def _usage_error(error: ArgumentError, command: str) -> ConfigError:
    report = " ".join(str(error).split())
    if wrong := re.match(r"argument (--\w+): invalid choice: ('.*') \(choose from (.*)\)", report):
        option, value, choices = wrong.groups()
        allowed = " or ".join(choices.replace("'", "").split(", "))
        return ConfigError(f"{option}: {value} is not {allowed}")
    if report.startswith("unrecognized arguments: "):
        word = report.split()[2]
        is_file = os.path.isfile(word) or word.endswith((".yaml", ".yml", ".json"))
        if command == CREATE and not is_file:
            return ConfigError(report)
        option = "-c" if is_file and command != STATUS else "--sweep_id"
        report += f"; did you mean {option} {word}?" if not word.startswith("-") else ""
    return ConfigError(report)


def commented(settings: dict[str, Any]) -> str:
    """Write a file with all settings of a sweep, as given or by default, each with what it means."""
    chosen = asdict(checked(settings, ResumableSweepConfig))
    parts = []
    for name, (_, known) in settings_of(ResumableSweepConfig).items():
        if CREATE in known.used_by:
            choices = "|".join(choices_of(ResumableSweepConfig, name))
            if is_switch(ResumableSweepConfig, name):
                choices = "true|false"
            words = f"{known.help}{f' ({choices})' if choices else ''}"
            comment = textwrap.fill(words, 100, initial_indent="# ", subsequent_indent="# ")
            parts.append(f"{comment}\n{dump_yaml({name: chosen[name]})}")
    return "\n".join(parts)


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
            raise ConfigError(f"--run_additional_args: {word!r} is no key:value, as in seed:3")
        arguments[key] = parse_yaml(value, f"--run_additional_args {key}")
    return arguments
