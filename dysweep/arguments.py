"""From a command line to settings and options."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import shlex
import sys
import textwrap
from argparse import SUPPRESS, Action
from collections.abc import Collection
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from dysweep import __version__
from dysweep.completion import COMPLETED_BY, SHELLS, SOURCES_OF_IDS
from dysweep.errors import ConfigError, closest
from dysweep.launch.options import LaunchOptions
from dysweep.options import Options, ResultsOptions, StatusOptions
from dysweep.overrides import gathered, override, take_tree_overrides
from dysweep.settings import (
    CREATE,
    LAUNCH,
    RESULTS,
    RUN,
    STATUS,
    SYNC,
    ResumableSweepConfig,
    checked,
    choices_of,
    from_text,
    is_switch,
    load_settings,
    settings_of,
    wandb_command,
)
from dysweep.yaml_text import dump_yaml

logger = logging.getLogger("dysweep")

_NEEDED_AGAIN = (
    "default_root_dir",
    "custom_checkpoint_dir",
    "allow_eval",
    "use_lightning_logger",
    "isolate",
    "max_attempts",
)
# Of what an agent takes: it recovers, and all agents get the same words.
_NOT_LAUNCHED = ("recover", "resume", "rerun", "rerun_id", "debug", "checkpoint_dir")
_KINDS = (Options, ResumableSweepConfig, StatusOptions, LaunchOptions, ResultsOptions)
_SEVERAL = ("run_additional_args", "slurm", "setup")
_SEVERAL_RESULTS = ("sweep_id", "where", "diff")
ABOUT = {
    CREATE: "Create a sweep and print its id.",
    RUN: "Work on a sweep: execute its runs, resume the interrupted and failed ones, or rerun one. "
    "Without --sweep_id, create it first.",
    SYNC: "Upload an offline sweep to W&B: its runs that have ended, and a sweep that holds them. "
    "Repeat it when more runs have ended.",
    LAUNCH: "Start agents on a SLURM cluster or on this machine, which recover interrupted runs. "
    "Without --sweep_id, create the sweep first.",
    STATUS: "Show a sweep, or all sweeps, from their directories; no network is needed.",
    RESULTS: "Show the results of sweeps, from their directories: tables of runs, means and deviations, "
    "the best run and its config, what matters. No network is needed.",
}


COMMANDS = {
    "create": CREATE, "run": RUN, "launch": LAUNCH, "status": STATUS, "results": RESULTS, "sync": SYNC,
}  # fmt: skip
_EXAMPLES = {
    CREATE: "dysweep create -c config.yaml",
    RUN: "dysweep run --package train --function main --sweep_id ab12",
    LAUNCH: "dysweep launch --package train --function main --sweep_id ab12 --agents 4",
    STATUS: "dysweep status --sweep_id ab12",
    RESULTS: "dysweep results --sweep_id ab12 --by model,dataset",
    SYNC: "dysweep sync --sweep_id ab12 --project study",
}


def overview() -> str:
    """Write the commands for people, each with what it does and an example."""
    lines = ["usage: dysweep COMMAND [options]", ""]
    for word, command in COMMANDS.items():
        about = ABOUT[command].partition(". ")[0].rstrip(".")
        lines += [f"  {word:<7} {about}", f"          {_EXAMPLES[command]}"]
    return "\n".join([*lines, "", "dysweep COMMAND --help lists a command's options."])


def command_of(typed: str) -> str:
    """Return a command's name from what was typed, which may be `dysweep run`."""
    return COMMANDS.get(typed.removeprefix("dysweep "), typed)


def parse(typed: str, argv: list[str]) -> tuple[Options, list[str], dict[str, Any]]:
    """Read the arguments of a command that takes settings of a sweep.

    Args:
        typed: the command as it was typed, `dysweep_create` or `dysweep create`.
        argv: its arguments.

    Returns:
        the command's own options, the words of run_additional_args, and the settings: the file's, overridden
        by the command line's.
    """
    argv, overrides = take_tree_overrides(argv)
    return _parsed(command_of(typed), _given(typed, argv), overrides)


def _parsed(
    command: str, given: dict[str, Any], overrides: list[tuple[list[str], Any]]
) -> tuple[Options, list[str], dict[str, Any]]:
    additional = given.pop("run_additional_args", [])
    own = [name for name, kind in taken_by(command).items() if kind is Options and name in given]
    options = checked({name: given.pop(name) for name in own}, Options)
    settings = {} if options.config is None else load_settings(options.config)
    settings.update(given)
    for path, value in overrides:
        override(settings, path, value)
    return options, additional, settings


def parse_launch(typed: str, argv: list[str]) -> tuple[LaunchOptions, Options, list[str], dict[str, Any]]:
    """Read the arguments of `dysweep_launch`: how to start agents, and then what `parse` returns."""
    argv, overrides = take_tree_overrides(argv)
    given = _given(typed, argv)
    own = {name: given.pop(name) for name in settings_of(LaunchOptions) if name in given}
    return checked(own, LaunchOptions), *_parsed(LAUNCH, given, overrides)


def parse_status(typed: str, argv: list[str]) -> tuple[StatusOptions, ResumableSweepConfig]:
    """Read the arguments of `dysweep_status`: what to show, and of which sweep."""
    given = _given(typed, argv)
    own = {name: given.pop(name) for name in settings_of(StatusOptions) if name in given}
    return checked(own, StatusOptions), checked(given, ResumableSweepConfig)


def parse_results(typed: str, argv: list[str]) -> tuple[ResultsOptions, ResumableSweepConfig]:
    """Read the arguments of `dysweep_results`: what to show, and where the sweeps are."""
    given = _given(typed, gathered(argv, [f"--{name}" for name in _SEVERAL_RESULTS]))
    own = {name: given.pop(name) for name in settings_of(ResultsOptions) if name in given}
    return checked(own, ResultsOptions), checked(given, ResumableSweepConfig)


def taken_by(command: str) -> dict[str, type]:
    """Return the names of what a command takes, each with the class that declares it."""
    return {
        name: kind
        for kind in _KINDS
        for name, (_, known) in settings_of(kind).items()
        if command in known.used_by
        or (command == LAUNCH and RUN in known.used_by and name not in _NOT_LAUNCHED)
    }


def _given(typed: str, argv: list[str]) -> dict[str, Any]:
    """Return what a command line gives, each value checked."""
    command = command_of(typed)
    parser, options = _parser(typed)
    of_kind = taken_by(command)
    argv = _with_switch_values(argv, [name for name, kind in of_kind.items() if is_switch(kind, name)])
    _refuse_unknown_options(argv, typed, options)
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


def _parser(typed: str) -> tuple[ArgumentParser, list[str]]:
    """Build a parser that takes every value as text, and list its options."""
    command = command_of(typed)
    parser = ArgumentParser(
        prog=typed,
        usage=f"{typed} [options]",
        description=ABOUT[command],
        version=__version__,
        exit_on_error=False,
        allow_abbrev=False,
        formatter_class=argparse.HelpFormatter,
    )
    parser.add_argument(
        "--print_completion",
        action=_PrintCompletion,
        default=SUPPRESS,
        choices=SHELLS,
        help="print what makes the shell complete all commands, with ids of sweeps and runs",
    )
    options = ["--help", "--version", "--print_completion"]
    if command == CREATE:
        text = "print the file's JSON schema, for editors"
        parser.add_argument("--print_schema", action=_PrintSchema, nargs=0, default=SUPPRESS, help=text)
        options.append("--print_schema")
    return parser, [*options, *_add_arguments(parser, command)]


def _add_arguments(parser: argparse.ArgumentParser, command: str) -> list[str]:
    """Add what a command takes to a parser, and list the options."""
    options = []
    for name, kind in taken_by(command).items():
        each, known = settings_of(kind)[name]
        switch = is_switch(kind, name)
        choices = ("true", "false") if switch else choices_of(kind, name)
        metavar = "|".join(choices) or known.metavar
        default = "" if each.default in (None, False) else f" (default: {each.default})"
        more: dict[str, Any] = {"choices": choices} if choices else {}
        if name in _SEVERAL or (command == RESULTS and name in _SEVERAL_RESULTS):
            more["nargs"] = "+"
        action: Any = parser.add_argument(
            *(["-c"] if name == "config" else []),
            f"--{name}",
            type=str,
            default=SUPPRESS,
            metavar=f"[{metavar}]" if switch else metavar,
            help=f"{known.help}{default}".replace("%", "%%"),
            **more,
        )
        if known.metavar in COMPLETED_BY:
            action.complete = COMPLETED_BY[known.metavar]
        options.append(f"--{name}")
    return options


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
        print(completion(shell))
        raise SystemExit(0)


def completion(shell: str) -> str:
    """Write the script with which a shell completes all commands, ids of sweeps and runs included.

    Args:
        shell: bash or zsh.

    Raises:
        ConfigError: shtab is not installed.
    """
    if find_spec("shtab") is None:
        raise ConfigError('--print_completion: it needs shtab: pip install "dysweep[completion]"')
    import shtab

    whole = argparse.ArgumentParser(prog="dysweep", description="Sweeps over configuration trees.")
    subcommands = whole.add_subparsers()
    parsers = [whole]
    for word, command in COMMANDS.items():
        parsers.append(argparse.ArgumentParser(prog=command, description=ABOUT[command]))
        for parser in (subcommands.add_parser(word, help=ABOUT[command]), parsers[-1]):
            _add_arguments(parser, command)
    return "\n".join([SOURCES_OF_IDS[shell], *(shtab.complete(parser, shell) for parser in parsers)])


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


def _refuse_unknown_options(argv: list[str], typed: str, known: list[str]) -> None:
    takers: dict[str, list[str]] = {}
    for kind in _KINDS:
        for name, (_, known_of) in settings_of(kind).items():
            takers[name] = sorted({*takers.get(name, ()), *known_of.used_by})
    for word in argv:
        flag = word.partition("=")[0]
        if not flag.startswith("--") or flag == "--" or flag in known:
            continue
        if flag[2:] in takers:
            words = {command: f"dysweep {word}" for word, command in COMMANDS.items()} if " " in typed else {}
            others = ", ".join(words.get(command, command) for command in takers[flag[2:]])
            raise ConfigError(f"{flag} is an option of {others}, not of {typed}")
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


def agent_command(
    options: Options, additional: list[str], config: ResumableSweepConfig, sweep_id: str
) -> str:
    """Return the command that works on a sweep as this one does, ready to be pasted."""
    return shlex.join(
        ["dysweep_run_resume", *_agent_words(options, additional, config, sweep_id, _NEEDED_AGAIN)]
    )


def showing_command(config: ResumableSweepConfig, script: str, *more: str) -> str:
    """Return a command that shows something of a sweep, ready to be pasted."""
    words = [script, "--sweep_id", (config.sweep_id or "").rpartition("/")[2], *more]
    for name in ("default_root_dir", "custom_checkpoint_dir"):
        value = getattr(config, name)
        words += [f"--{name}", value] if value != getattr(ResumableSweepConfig(), name) else []
    return shlex.join(words)


def launched_command(
    options: Options, additional: list[str], config: ResumableSweepConfig, sweep_id: str
) -> list[str]:
    """Return the command of an agent with these settings, which recovers interrupted runs first."""
    settings = settings_of(ResumableSweepConfig).items()
    of_agents = [
        name for name, (_, known) in settings if RUN in known.used_by and CREATE not in known.used_by
    ]
    names = {*_NEEDED_AGAIN, *of_agents} - {"package", "function", "command", "sweep_id", *_NOT_LAUNCHED}
    words = _agent_words(options, additional, config, sweep_id, sorted(names))
    return [sys.executable, "-m", "dysweep", "run", *words, "--recover"]


def _agent_words(
    options: Options,
    additional: list[str],
    config: ResumableSweepConfig,
    sweep_id: str,
    names: Collection[str],
) -> list[str]:
    words = [*_job_words(options, config), "--sweep_id", sweep_id]
    defaults = ResumableSweepConfig()
    for name in names:
        value = getattr(config, name)
        if value != getattr(defaults, name):
            words += [f"--{name}", json.dumps(value) if isinstance(value, (dict, list)) else str(value)]
    return [*words, "--run_additional_args", *additional] if additional else words


def _job_words(options: Options, config: ResumableSweepConfig) -> list[str]:
    command = config.command
    if command is not None:
        return ["--command", command if isinstance(command, str) else shlex.join(command)]
    if config.package is None and config.function is None and options.config and wandb_command(config):
        return ["-c", options.config]
    return ["--package", config.package or "PACKAGE", "--function", config.function or "FUNCTION"]
