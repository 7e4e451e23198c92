"""From the command line and a file of settings to settings."""

from __future__ import annotations

import logging
import os
import textwrap
import typing
from argparse import SUPPRESS, Action
from collections.abc import Container
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser, DefaultHelpFormatter

from dysweep import __version__, parallel
from dysweep.errors import ConfigError, closest, misspelt
from dysweep.files import dump_yaml, load_file, parse_yaml
from dysweep.parallel import ResumableSweepConfig

logger = logging.getLogger("dysweep")

_HINTS = typing.get_type_hints(ResumableSweepConfig)
_TREES = ("base_config", "sweep_configuration")
_SWITCHES = ("dry_run", "print_config", *(name for name, hint in _HINTS.items() if hint is bool))
_OF_A_NEW_SWEEP = {
    "default_root_dir", "custom_checkpoint_dir", "sweep_configuration", "base_config", "entity", "project",
    "run_name", "method", "metric", "goal", "sweep_name", "mode", "allow_eval",
}  # fmt: skip
_USED_BY = {
    "dysweep_create": _OF_A_NEW_SWEEP,
    "dysweep_run_resume": set(_HINTS),
    "dysweep_sync": {"default_root_dir", "custom_checkpoint_dir", "entity", "project", "sweep_id", "lease"},
}
_METAVARS = {
    "DIR": ("default_root_dir", "custom_checkpoint_dir"),
    "FILE": ("sweep_configuration", "base_config", "csv", "html"),
    "ID": ("sweep_id",),
    "RUN": ("rerun_id", "log"),
    "N": ("count", "max_attempts"),
    "SECONDS": ("lease", "grace"),
}


class _HelpFormatter(DefaultHelpFormatter):
    """Leaves out types, which the metavars tell, and defaults that say nothing."""

    def _get_help_string(self, action: Action) -> str:
        text = (action.help or "").rstrip(".")
        return text if action.default in (None, False, SUPPRESS) else f"{text} (default: %(default)s)"


def _parser(name: str, about: str) -> ArgumentParser:
    parser = ArgumentParser(
        prog=name,
        usage=f"{name} [options]",
        description=about,
        version=__version__,
        exit_on_error=False,
        allow_abbrev=False,
        formatter_class=_HelpFormatter,
    )
    parser.add_argument(
        "--print_completion",
        action=_PrintCompletion,
        default=SUPPRESS,
        choices=["bash", "zsh", "tcsh"],
        help="print what makes the shell complete this command",
    )
    return parser


def _add_settings(parser: ArgumentParser, settings: type, leave_out: Container[str] = ()) -> None:
    hints = typing.get_type_hints(settings)
    parser.add_class_arguments(settings, skip={name for name in hints if name in leave_out})
    metavars = {name: metavar for metavar, names in _METAVARS.items() for name in names}
    for action in parser._actions:
        if action.dest in hints:
            choices = [
                choice
                for part in (hints[action.dest], *typing.get_args(hints[action.dest]))
                if typing.get_origin(part) is typing.Literal
                for choice in typing.get_args(part)
            ]
            switch = "[true|false]" if hints[action.dest] is bool else "NAME"
            action.metavar = "|".join(choices) or metavars.get(action.dest, switch)


def _command_parser(name: str, about: str) -> ArgumentParser:
    parser = _parser(name, about)
    add = parser.add_argument
    add("-c", "--config", type=str, metavar="FILE", help="YAML or JSON file with the settings below")
    if name == "dysweep_run_resume":
        add("--package", type=str, metavar="NAME", help="dotted name of the module that holds the function")
        add("--function", type=str, metavar="NAME", help="name of the function that executes a run")
        add(
            "--run_additional_args",
            type=str,
            nargs="+",
            metavar="KEY:VALUE",
            help="more arguments for the function",
        )
    if name == "dysweep_create":
        switch: dict[str, Any] = {"type": bool, "metavar": "[true|false]"}
        add("--dry_run", **switch, help="show the sweep and its first configs, and make nothing")
        add("--dry_run_dir", type=str, metavar="DIR", help="with dry_run: write the configs there, as YAML")
        add("--limit", type=int, metavar="N", help="with dry_run: how many configs to show or to write")
        add("--print_config", **switch, help="print a file with all settings of a sweep, explained")
        add(
            "--print_schema",
            action=_PrintSchema,
            nargs=0,
            default=SUPPRESS,
            help="print the file's JSON schema, for editors",
        )
    _add_settings(parser, ResumableSweepConfig, leave_out=set(_HINTS) - _USED_BY[name])
    return parser


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


def parse(name: str, about: str, argv: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the command's own options, and the settings: the file's, overridden by the command line's."""
    argv, overrides = _take_tree_overrides(_with_switch_values(argv, _SWITCHES))
    parser = _command_parser(name, about)
    _check_options(argv, parser)
    try:
        given = parser.parse_args(argv, defaults=False).as_dict()
    except ArgumentError as error:
        raise _usage_error(error, argv, name) from None
    options = {key: given.pop(key) for key in list(given) if key not in _HINTS}
    settings = parallel.settings_of_file(options["config"]) if "config" in options else {}
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
        max_attempts: how often a run may fail or crash before it counts as given up.
        runs: list all runs, with assignment, attempts, duration and metrics.
        json: print everything as JSON.
        csv: write one row for each run to this file, or to stdout (`-`).
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
    parser = _parser(
        "dysweep_status", "Show a sweep, or all sweeps, from their directories; no network is needed."
    )
    _add_settings(parser, StatusOptions)
    switches = tuple(name for name, hint in typing.get_type_hints(StatusOptions).items() if hint is bool)
    argv = _with_switch_values(argv, switches)
    _check_options(argv, parser)
    try:
        return StatusOptions(**parser.parse_args(argv).as_dict())
    except ArgumentError as error:
        raise _report(error, "dysweep_status") from None


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
        if not flag.startswith("--") or flag == "--" or flag in known:
            continue
        if flag[2:] in _HINTS:
            raise ConfigError(f"{flag}: {parser.prog} has no use for it; dysweep_run_resume has")
        raise ConfigError(f"{flag}: no such option{closest(flag, known)}")


def _usage_error(error: ArgumentError, argv: list[str], prog: str) -> ConfigError:
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
    return _report(error, prog)


def _report(error: ArgumentError, prog: str) -> ConfigError:
    report = " ".join(str(error).split())
    if report.startswith("unrecognized arguments: "):
        word = report.split()[2]
        is_file = os.path.isfile(word) or word.endswith((".yaml", ".yml", ".json"))
        if prog == "dysweep_create" and not is_file:
            return ConfigError(report)
        option = "-c" if is_file and prog != "dysweep_status" else "--sweep_id"
        report += f"; did you mean {option} {word}?" if not word.startswith("-") else ""
    return ConfigError(report)


def commented(settings: dict[str, Any]) -> str:
    """Write a file with all settings of a sweep, as given or by default, each with what it means."""
    chosen = asdict(parallel.make_config(None, settings))
    parts = []
    for action in _command_parser("dysweep_create", "")._actions:
        if action.dest in _OF_A_NEW_SWEEP:
            metavar = str(action.metavar).strip("[]")
            choices = f" ({metavar})" if "|" in metavar else ""
            words = f"{str(action.help).rstrip('.')}{choices}"
            comment = textwrap.fill(words, 100, initial_indent="# ", subsequent_indent="# ")
            parts.append(f"{comment}\n{dump_yaml({action.dest: chosen[action.dest]})}")
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
