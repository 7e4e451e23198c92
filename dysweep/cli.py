"""The commands: parse, call one function, print, exit code."""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
import typing
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from dysweep import __version__, evaluate, parallel
from dysweep.checkpoint import Sweep, SweepDirectory
from dysweep.errors import ConfigError, DysweepError, FunctionError, Preempted, closest
from dysweep.execution import Job
from dysweep.files import load_file, parse_yaml
from dysweep.offline import Grid
from dysweep.parallel import ResumableSweepConfig
from dysweep.runs import State

logger = logging.getLogger("dysweep")

_HINTS = typing.get_type_hints(ResumableSweepConfig)
_TREES = ("base_config", "sweep_configuration")
_SWITCHES = tuple(name for name, hint in _HINTS.items() if hint is bool)
_SHOWN_VALUES = 8


def create(argv: Sequence[str] | None = None) -> int:
    """Run `dysweep_create`.

    Args:
        argv: the arguments; the process's own by default.

    Returns:
        the exit code.
    """
    return _guarded(_create, "dysweep_create", "Create a sweep and print its id.", argv, runs=False)


def run_resume(argv: Sequence[str] | None = None) -> int:
    """Run `dysweep_run_resume`.

    Args:
        argv: the arguments; the process's own by default.

    Returns:
        the exit code: 0 if all executed runs finished, 1 if not, 2 for wrong usage, 128 + n for signal n.
    """
    about = (
        "Work on a sweep: execute its runs, resume the lost ones, or rerun one. "
        "Without --sweep_id, create it first."
    )
    return _guarded(_run_resume, "dysweep_run_resume", about, argv, runs=True)


def sync(argv: Sequence[str] | None = None) -> int:
    """Run `dysweep_sync`.

    Args:
        argv: the arguments; the process's own by default.

    Returns:
        the exit code.
    """
    about = (
        "Take an offline sweep to W&B: its runs that have ended, and a sweep that holds them. "
        "Repeat it when more runs have ended."
    )
    return _guarded(_sync, "dysweep_sync", about, argv, runs=False)


def create_script() -> None:
    """Entry point of the installed script."""
    _script(create)


def run_resume_script() -> None:
    """Entry point of the installed script."""
    _script(run_resume)


def sync_script() -> None:
    """Entry point of the installed script."""
    _script(sync)


def _script(command: Callable[[], int]) -> None:
    os.environ.pop("WANDB_SERVICE", None)  # of a parent process, which would not notice when this one dies
    sys.exit(command())


def _guarded(
    command: Callable[[dict[str, Any], dict[str, Any]], int],
    name: str,
    about: str,
    argv: Sequence[str] | None,
    runs: bool,
) -> int:
    parallel.say_on_stderr()
    try:
        options, settings = _parse(name, about, list(sys.argv[1:] if argv is None else argv), runs)
        return command(options, settings)
    except DysweepError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except Preempted as stopped:
        print(f"{name}: stopped by signal {stopped.signum}; --resume True goes on", file=sys.stderr)
        return 128 + stopped.signum


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
    parser.add_class_arguments(ResumableSweepConfig)
    return parser


def _parse(name: str, about: str, argv: list[str], runs: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the command's own options, and the settings: the file's, overridden by the command line's."""
    argv, overrides = _take_tree_overrides(_with_switch_values(argv))
    parser = _parser(name, about, runs)
    _check_options(argv, parser)
    try:
        given = parser.parse_args(argv, defaults=False).as_dict()
    except ArgumentError as error:
        raise _usage_error(error, argv) from None
    options = {key: given.pop(key, None) for key in ("config", "package", "function", "run_additional_args")}
    settings = _settings_of_file(options["config"]) if options["config"] is not None else {}
    settings.update(given)
    for path, value in overrides:
        _override(settings, path, value)
    return options, settings


def _with_switch_values(argv: list[str]) -> list[str]:
    """Let switches stand alone: `--resume` becomes `--resume=true`, and `True` is a boolean."""
    words: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word.removeprefix("--") in _SWITCHES and word.startswith("--"):
            value = rest.pop(0) if rest and not rest[0].startswith("-") else "true"
            word = f"{word}={value}"
        flag, equals, value = word.partition("=")
        if equals and flag.removeprefix("--") in _SWITCHES:
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
    return ConfigError(" ".join(str(error).split()))


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


def _create(options: dict[str, Any], settings: dict[str, Any]) -> int:
    config = parallel.make_config(None, settings)
    sweep_id = _create_and_describe(config)
    more = "".join(
        f" --{name} {value}"
        for name, value in settings.items()
        if name in ("default_root_dir", "custom_checkpoint_dir", "allow_eval") and value
    )
    print(
        f"next:  dysweep_run_resume --package PACKAGE --function FUNCTION --sweep_id {sweep_id}{more}",
        file=sys.stderr,
    )
    print(sweep_id)
    return 0


def _sync(options: dict[str, Any], settings: dict[str, Any]) -> int:
    print(parallel.dysweep_sync(settings))
    return 0


def _create_and_describe(config: ResumableSweepConfig) -> str:
    sweep_id = parallel.create(config)
    directory = parallel.location(config).directory(sweep_id)
    sweep = directory.sweep
    print(f"sweep {sweep_id}: {_size(sweep)}in {_shown(directory)}", file=sys.stderr)
    if sweep.online:
        from dysweep import tracking

        print(f"  {tracking.page_of(sweep.path)}", file=sys.stderr)
    described = sweep.compiled.parameters
    width = max(map(len, described))
    for name, parameter in described.items():
        values = parameter.get("values", [parameter["value"]] if "value" in parameter else None)
        if values is None:
            shown = " ".join(f"{key} {value}" for key, value in parameter.items())
        else:
            shown = ", ".join(map(str, values[:_SHOWN_VALUES]))
            shown += f", ... ({len(values)} values)" if len(values) > _SHOWN_VALUES else ""
        print(f"  {name:<{width}}  {shown}", file=sys.stderr)
    return sweep_id


def _find(config: ResumableSweepConfig) -> SweepDirectory:
    return parallel.location(config).find(config.sweep_id or "")


def _shown(directory: SweepDirectory) -> Path:
    here = Path.cwd()
    return directory.path.relative_to(here) if directory.path.is_relative_to(here) else directory.path


def _size(sweep: Sweep) -> str:
    if sweep.sweep_configuration["method"] != "grid":
        return ""
    size = Grid.of(sweep.compiled, sweep.sweep_configuration).size
    return f"{size} run{'s' if size > 1 else ''}, "


def _run_resume(options: dict[str, Any], settings: dict[str, Any]) -> int:
    config = parallel.make_config(None, settings)
    arguments = _additional_arguments(options["run_additional_args"] or [])
    function = _function(options["package"], options["function"])
    Job(function, arguments, config.use_lightning_logger).check()
    if config.sweep_id is None:
        if config.resume or config.rerun is not None or config.rerun_id is not None:
            raise ConfigError("sweep_id: missing; resume and rerun need the sweep (--sweep_id ID)")
        config = replace(config, sweep_id=_create_and_describe(config))
    finished = others = 0
    try:
        for result in parallel.work(config, function, arguments):
            if result.outcome is State.FINISHED:
                finished += 1
            else:
                others += 1
    finally:
        if finished + others:
            directory = _find(config)
            lost = f", {others} not" if others else ""
            runs = "run" if finished == 1 else "runs"
            print(f"{finished} {runs} finished{lost}; results in {_shown(directory)}", file=sys.stderr)
    again = config.resume or config.rerun is not None
    if not finished + others:
        print("no run to resume" if again else "no run was left to execute", file=sys.stderr)
    if not again and config.rerun_id is None and config.count is None:
        _tell_of_lost_runs(config)
    return 1 if others else 0


def _tell_of_lost_runs(config: ResumableSweepConfig) -> None:
    """Name what is left when no new run is: other agents' runs included."""
    counts: Counter[State] = Counter()
    for run in _find(config).runs():
        try:
            counts[run.state()] += 1
        except DysweepError as error:
            print(error, file=sys.stderr)
    lost = [State.PREEMPTED, State.CRASHED, State.FAILED]
    shown = ", ".join(f"{counts[state]} {state}" for state in lost if counts[state])
    if shown:
        print(f"of the whole sweep: {shown}; --resume True goes on with them", file=sys.stderr)


def _additional_arguments(words: list[str]) -> dict[str, Any]:
    arguments = {}
    for word in words:
        key, colon, value = word.partition(":")
        if not colon or not key.isidentifier():
            raise ConfigError(f"--run_additional_args: {word!r} is no key:value, as in seed:3")
        arguments[key] = parse_yaml(value, f"--run_additional_args {key}")
    return arguments


def _function(package: str | None, name: str | None) -> Callable[..., Any]:
    if package is None or name is None:
        missing = "--package" if package is None else "--function"
        raise ConfigError(
            f"{missing}: missing; say which function executes a run "
            "(--package path.to.module --function main)"
        )
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # for the whole process: the function may import its neighbours later
    try:
        module = evaluate.import_name(package)
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        raise FunctionError(
            f"--package: {package!r} cannot be imported ({type(error).__name__}: {error})"
        ) from None
    if module is None:
        raise FunctionError(
            f"--package: there is no module {package!r}; it is looked for in the working directory "
            "and among the installed packages, and is written with dots and without .py"
        )
    function = getattr(module, name, None)
    if function is None:
        defined = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise FunctionError(f"--function: {package} has no {name!r}{closest(name, defined)}")
    return typing.cast("Callable[..., Any]", function)
