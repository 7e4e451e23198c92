"""The commands: parse, call one function, print, exit code."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dysweep import __version__, parallel
from dysweep.agents.capture import split_output
from dysweep.agents.functions import function_named
from dysweep.agents.ranks import refuse_ranks
from dysweep.arguments import (
    COMMANDS,
    Options,
    StatusOptions,
    additional_arguments,
    agent_command,
    commented,
    completion,
    overview,
    parse,
    parse_status,
)
from dysweep.completion import SHELLS
from dysweep.creation import create as create_sweep
from dysweep.creation import location_of, preview
from dysweep.directory.location import Location
from dysweep.directory.runs import RESUMABLE, State
from dysweep.directory.sweep import Sweep, SweepDirectory
from dysweep.errors import ConfigError, DysweepError, Preempted, closest
from dysweep.files import user_path
from dysweep.language.points import Grid
from dysweep.log import discard, is_stdout_closed, open_closed_streams, said_on_stderr, say
from dysweep.settings import CREATE, RUN, STATUS, SYNC, ResumableSweepConfig, read_settings
from dysweep.text import counted, short_path, short_value
from dysweep.views.preview import Preview, values_of
from dysweep.views.status import SweepStatus, last_log, read_status, sweeps_below

_SHOWN_CONFIGS = 3
_SECONDS_FOR_THE_EXIT = 20.0


def create(argv: Sequence[str] | None = None) -> int:
    """Run `dysweep_create`.

    Args:
        argv: the arguments; the process's own by default.

    Returns:
        the exit code.
    """
    return _reported(CREATE, lambda: _create(*parse(CREATE, _words(argv))))


def run_resume(argv: Sequence[str] | None = None) -> int:
    """Run `dysweep_run_resume`.

    Args:
        argv: the arguments; the process's own by default.

    Returns:
        the exit code: 0 if all executed runs finished, 1 if not, 2 for wrong usage, 128 + n for signal n.
    """

    def work() -> int:
        refuse_ranks()  # first of all: a launcher starts this with arguments that may not be ours
        given = parse(RUN, _words(argv))
        with split_output():
            return _run_resume(*given)

    return _reported(RUN, work)


def sync(argv: Sequence[str] | None = None) -> int:
    """Run `dysweep_sync`.

    Args:
        argv: the arguments; the process's own by default.

    Returns:
        the exit code.
    """
    return _reported(SYNC, lambda: _sync(parse(SYNC, _words(argv))[2]))


def status(argv: Sequence[str] | None = None) -> int:
    """Run `dysweep_status`.

    Args:
        argv: the arguments; the process's own by default.

    Returns:
        the exit code.
    """
    return _reported(STATUS, lambda: _status(*parse_status(_words(argv))))


def main(argv: Sequence[str] | None = None) -> None:
    """Run `dysweep COMMAND`: the four commands under one name; ends the process with the exit code.

    Args:
        argv: the arguments; the process's own by default.
    """
    word, *words = _words(argv) or ["--help"]
    command = {"create": create, "run": run_resume, "status": status, "sync": sync}.get(word)
    if command is not None:
        _script(lambda: command(words), runs_user_code=word == "run")
    else:
        _script(lambda: _reported("dysweep", lambda: _without_command(word, words)))


def _without_command(word: str, words: list[str]) -> int:
    if word in ("-h", "--help"):
        print(overview())
    elif word == "--version":
        print(f"dysweep {__version__}")
    elif word == "--print_completion":
        shell = words[0] if words else ""
        if shell not in SHELLS:
            raise ConfigError(f"--print_completion: must be {' or '.join(SHELLS)}, got {shell!r}")
        print(completion(shell))
    else:
        raise ConfigError(f"{word}: unknown command{closest(word, COMMANDS)}")
    return 0


def create_script() -> None:
    """Entry point of the installed script."""
    _script(create)


def run_resume_script() -> None:
    """Entry point of the installed script."""
    _script(run_resume, runs_user_code=True)


def sync_script() -> None:
    """Entry point of the installed script."""
    _script(sync)


def status_script() -> None:
    """Entry point of the installed script."""
    _script(status)


def _script(command: Callable[[], int], runs_user_code: bool = False) -> None:
    open_closed_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name or value may be of any script
    code = command()
    if code != 0 and not runs_user_code:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # where W&B cannot be reached, its service can hold up the ordinary end for minutes
    if code > 128:
        # What the function has left, threads or workers that are waited for, must not keep the process alive.
        end = threading.Timer(_SECONDS_FOR_THE_EXIT, os._exit, [code])
        end.daemon = True
        end.start()
    sys.exit(code)


def _words(argv: Sequence[str] | None) -> list[str]:
    return list(sys.argv[1:] if argv is None else argv)


def _reported(name: str, command: Callable[[], int]) -> int:
    try:
        try:
            with said_on_stderr():
                return command()
        finally:  # here, as Python's own flush at the end of the process would write a traceback
            if sys.stdout is not None:
                sys.stdout.flush()
    except BrokenPipeError as error:
        if not is_stdout_closed():
            say(f"{name}: {error}")
            return 1
        discard(sys.stdout)
        return 128 + signal.SIGPIPE
    except DysweepError as error:
        say(f"{name}: {error}")
        return error.exit_code
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        discard(sys.stdout)
        say(f"{name}: the output cannot be written ({error.strerror})")
        return 1
    except KeyboardInterrupt:
        say(f"{name}: interrupted")
        return 128 + signal.SIGINT
    except Preempted as stopped:
        say(f"{name}: stopped by signal {stopped.signum}")
        return 128 + stopped.signum


def _create(options: Options, additional: list[str], settings: dict[str, Any]) -> int:
    config = read_settings(None, settings)
    if options.print_config:
        print(commented(settings), end="")
        return 0
    if options.dry_run:
        return _dry_run(preview(config), options.dry_run_dir, options.limit)
    for name in ("dry_run_dir", "limit"):
        if getattr(options, name) is not None:
            raise ConfigError(f"--{name}: it needs --dry_run")
    sweep_id = _create_and_describe(config)
    say(f"next:  {agent_command(options, additional, config, sweep_id)}")
    print(sweep_id)
    return 0


def _dry_run(seen: Preview, folder: str | None, limit: int | None) -> int:
    from dysweep.views import screen

    screen.show(screen.preview(seen, limit or _SHOWN_CONFIGS))
    seen.warn()
    if folder is not None:
        say(f"{seen.write_configs(Path(folder), limit)} configs in {folder}")
    return 0


def _sync(settings: dict[str, Any]) -> int:
    print(parallel.dysweep_sync(settings))
    return 0


def _status(options: StatusOptions, config: ResumableSweepConfig) -> int:
    if options.check is not None:
        return _check(options, config)
    if config.sweep_id is None:
        one_only = [
            name for name in ("runs", "json", "csv", "html", "watch", "log") if getattr(options, name)
        ]
        if config.custom_checkpoint_dir is not None:
            one_only.append("custom_checkpoint_dir")
        if one_only:
            raise ConfigError(f"--{one_only[0]}: of which sweep? Give its --sweep_id, too")
        from dysweep.views import screen

        screen.show(screen.sweeps(sweeps_below(user_path(config.default_root_dir), config.max_attempts)))
        return 0
    where = Location(config.default_root_dir, config.custom_checkpoint_dir, None, None, online=False)
    directory = where.find_to_read(config.sweep_id)
    if options.log is not None:
        sys.stdout.write(last_log(directory, options.log, options.raw))
        return 0
    if options.raw:
        raise ConfigError("--raw: it needs --log")
    if options.metric is not None and options.html is None:
        raise ConfigError("--metric: it needs --html")
    details = bool(options.runs or options.json or options.csv or options.html)
    return _show_status(options, lambda: read_status(directory, config.max_attempts, details))


def _check(options: StatusOptions, config: ResumableSweepConfig) -> int:
    if (options, config) != (StatusOptions(check=options.check), ResumableSweepConfig()):
        raise ConfigError("--check: it takes nothing but a folder, and looks at no sweep")
    from dysweep.directory.probe import probe
    from dysweep.views import screen

    findings = probe(user_path(options.check or "."))
    screen.show(screen.findings(findings))
    return 0 if all(finding.given for finding in findings if finding.needed) else 1


def _show_status(options: StatusOptions, look: Callable[[], SweepStatus]) -> int:
    if options.json:
        print(look().to_json())
    elif options.csv is not None:
        _write("--csv", options.csv, look().to_csv())
    elif options.html is not None:
        from dysweep.views.report import report

        _write("--html", options.html, report(look(), options.metric))
    else:
        from dysweep.views import screen

        if options.watch:
            screen.watch(look)
        else:
            drawn = look()
            screen.show(screen.runs(drawn) if options.runs else screen.sweep(drawn))
    return 0


def _write(option: str, path: str, text: str) -> None:
    if path == "-":
        print(text, end="")
        return
    try:
        user_path(path).write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
    except OSError as error:
        raise ConfigError(f"{option}: {path} cannot be written ({error.strerror})") from None


def _create_and_describe(config: ResumableSweepConfig) -> str:
    sweep_id = create_sweep(config)
    directory = location_of(config).directory(sweep_id)
    sweep = directory.sweep
    say(f"sweep {sweep_id}: {_size(sweep)}in {short_path(directory.path)}")
    if sweep.online:
        from dysweep.tracking.sweeps import page_of

        say(f"  {page_of(sweep.address)}")
    described = sweep.compiled.parameters
    names = {name: short_value(name) for name in described}
    width = max(map(len, names.values()))
    for name, parameter in described.items():
        say(f"  {names[name]:<{width}}  {values_of(parameter)}")
    return sweep_id


def _size(sweep: Sweep) -> str:
    if sweep.sweep_configuration["method"] != "grid":
        return ""
    size = Grid.of(sweep.compiled, sweep.sweep_configuration).size
    return f"{counted(size, 'run')}, "


def _run_resume(options: Options, additional: list[str], settings: dict[str, Any]) -> int:
    config = read_settings(None, settings)
    arguments = additional_arguments(additional)
    function = function_named(options.package, options.function)
    job = parallel.prepare(config, function, arguments)
    if config.sweep_id is None:
        if config.resume or config.rerun is not None or config.rerun_id is not None:
            raise ConfigError("sweep_id: missing; resume and rerun need the sweep (--sweep_id ID)")
        if config.base_config is None and config.sweep_configuration is None:
            raise ConfigError(
                "sweep_id: missing; say which sweep to work on (--sweep_id ID), or make one (-c FILE)"
            )
        config = replace(config, sweep_id=_create_and_describe(config))
    finished = others = 0
    command = agent_command(options, additional, config, config.sweep_id or "")
    directory = parallel.find(config)
    try:
        for result in parallel.work(config, directory, job):
            if result.outcome is State.FINISHED:
                finished += 1
            else:
                others += 1
    except Preempted as stopped:
        say(f"stopped by signal {stopped.signum}; to resume: {command} --resume")
        return 128 + stopped.signum
    finally:
        if finished + others:
            lost = f", {others} not" if others else ""
            say(f"{counted(finished, 'run')} finished{lost}; results in {short_path(directory.path)}")
    again = config.resume or config.rerun is not None
    if not finished + others:
        none_left = "no run to resume" if config.resume else "no run to rerun"
        say(none_left if again else "no run was left to execute")
    if config.rerun_id is None and (others or not finished or config.count is None):
        _tell_what_is_left(
            directory, config, command
        )  # not after each of many agents that execute a run or two
    return 1 if others else 0


def _tell_what_is_left(directory: SweepDirectory, config: ResumableSweepConfig, command: str) -> None:
    """Name what is left when an agent ends: other agents' runs included."""
    shown = read_status(directory, config.max_attempts, details=False)
    for problem in shown.damaged:
        say(problem)
    given_up = Counter(run.state for run in shown.runs if run.set_aside)
    counts = Counter(run.state for run in shown.runs if run.state in RESUMABLE and not run.set_aside)
    lost = ", ".join(f"{counts[state]} {state}" for state in RESUMABLE if counts[state])
    if lost:
        say(f"in the whole sweep: {lost}; to resume: {command} --resume")
    if shown.counts.get(State.PENDING) and (config.resume or config.rerun is not None):
        say(f"in the whole sweep: {shown.counts[State.PENDING]} not started; to start them: {command}")
    if given_up:
        many = f"{sum(given_up.values())} given up after {config.max_attempts} failed attempts or more"
        which = next(iter(given_up)) if len(given_up) == 1 else "all"
        say(f"in the whole sweep: {many}; to rerun: {command} --rerun {which}")
