"""What each command does, from its settings to its exit code."""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dysweep import parallel
from dysweep.arguments import agent_command, commented, launched_command, showing_command
from dysweep.creation import create_and_describe, location_of, preview
from dysweep.debugging import debug
from dysweep.directory.location import Location
from dysweep.directory.runs import State
from dysweep.directory.sweep import SweepDirectory
from dysweep.errors import ConfigError, Preempted
from dysweep.extending import extend
from dysweep.files import user_path, write_lines
from dysweep.launch.options import LaunchOptions
from dysweep.launch.start import are_left, warn_of_other_versions
from dysweep.launch.start import launch as launch_agents
from dysweep.launch.start import stop as stop_agents
from dysweep.log import say
from dysweep.migrating import from_wandb
from dysweep.options import Options, ResultsOptions, StatusOptions
from dysweep.overrides import additional_arguments
from dysweep.settings import ResumableSweepConfig, read_settings, wandb_command
from dysweep.text import short_path
from dysweep.views.ending import ending, executed
from dysweep.views.preview import Preview
from dysweep.views.reading import Reading
from dysweep.views.results import difference
from dysweep.views.status import (
    SweepStatus,
    csv_lines,
    json_lines,
    last_log,
    read_status,
    status_of,
    sweeps_below,
)

if TYPE_CHECKING:
    from dysweep.results.rendering import Table

_SHOWN_CONFIGS = 3
_FEW_RUNS = 200


def create(options: Options, additional: list[str], settings: dict[str, Any]) -> int:
    config = read_settings(None, settings)
    if options.from_wandb is not None:
        for name in ("dry_run", "extend", "print_config"):
            if getattr(options, name):
                raise ConfigError(
                    f"--{name}: not with --from_wandb; save what it prints, and give that as -c"
                )
        print(from_wandb(options.from_wandb, settings), end="")
        return 0
    if options.print_config:
        print(commented(settings), end="")
        return 0
    if options.extend is not None:
        if config.sweep_id is not None or options.dry_run_dir is not None or options.limit is not None:
            raise ConfigError("--extend: it takes the settings of a sweep, and --dry_run")
        extend(options.extend, config, options.dry_run)
        print(options.extend)
        return 0
    if options.dry_run:
        return _dry_run(preview(config), options.dry_run_dir, options.limit)
    for name in ("dry_run_dir", "limit"):
        if getattr(options, name) is not None:
            raise ConfigError(f"--{name}: it needs --dry_run")
    sweep_id = create_and_describe(config)
    say(f"next:  {agent_command(options, additional, config, sweep_id)}")
    print(sweep_id)
    return 0


def launch(where: LaunchOptions, options: Options, additional: list[str], settings: dict[str, Any]) -> int:
    config = read_settings(None, settings)
    if where.stop is not None:
        if where != LaunchOptions(stop=where.stop, yes=where.yes) or config.sweep_id is not None:
            raise ConfigError("--stop: it takes the sweep's id, --yes, and the options that say where it is")
        stop_agents(location_of(config).find(where.stop), lambda what: where.yes or _confirmed(what))
        return 0
    if where.yes:
        raise ConfigError("--yes: it needs --stop")
    seconds = config.grace + _seconds_to_end(options, config, additional)
    here = location_of(config)
    directory: SweepDirectory | None = None

    def sweep() -> SweepDirectory:
        nonlocal directory
        sweep_id = config.sweep_id or create_and_describe(config)
        directory = parallel.find(replace(config, sweep_id=sweep_id))
        return directory

    launch_agents(
        where,
        config.sweep_id and here.address_of(config.sweep_id).sweep_id,
        lambda sweep_id: launched_command(options, additional, config, sweep_id),
        seconds,
        lambda sweep_id: here.directory(sweep_id).path,
        sweep,
    )
    if where.wait and directory is not None:
        from dysweep.views import screen

        found = directory
        try:
            screen.watch(lambda: read_status(found, config.max_attempts), lambda status: not are_left(found))
        except KeyboardInterrupt:
            say(f"the agents continue; to stop them: dysweep_launch --stop {found.sweep.sweep_id}")
            return 128 + signal.SIGINT
    return 0


def _seconds_to_end(options: Options, config: ResumableSweepConfig, additional: list[str]) -> float:
    """Return how long an agent takes to stop after its grace; check the job without importing a function."""
    from dysweep.agents.jobs import job_of

    arguments = additional_arguments(additional)
    if config.command is None and not config.isolate and config.package and config.function:
        return 0.0
    if config.command is None and not (config.package and config.function):
        if not wandb_command(config):
            raise ConfigError("--package: say what is executed: --package and --function, or --command")
        if options.config is None:
            raise ConfigError("-c: agents read the command from that file; give it, or --command")
    return job_of(config, None, arguments).seconds_to_end


def _confirmed(what: str) -> bool:
    try:
        return input(f"{what}? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        raise ConfigError("--stop: nobody is here to be asked; --yes stops them without asking") from None


def _dry_run(seen: Preview, folder: str | None, limit: int | None) -> int:
    from dysweep.views import screen
    from dysweep.views.terminal import show

    show(screen.preview(seen, limit or _SHOWN_CONFIGS))
    seen.warn()
    if folder is not None:
        say(f"{seen.write_configs(Path(folder), limit)} configs in {folder}")
    return 0


def sync(settings: dict[str, Any]) -> int:
    print(parallel.dysweep_sync(settings))
    return 0


def status(options: StatusOptions, config: ResumableSweepConfig) -> int:
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
        from dysweep.views.terminal import show

        show(screen.sweeps(sweeps_below(user_path(config.default_root_dir), config.max_attempts)))
        return 0
    where = Location(config.default_root_dir, config.custom_checkpoint_dir, None, None, online=False)
    directory = where.find_to_read(config.sweep_id)
    if options.log is not None:
        sys.stdout.write(last_log(directory, options.log, options.raw))
        return 0
    if options.raw:
        raise ConfigError("--raw: it needs --log")
    for name in ("metric", "by"):
        if getattr(options, name) is not None and options.html is None:
            raise ConfigError(f"--{name}: it needs --html")
    return _show_status(options, partial(Reading, directory, config.max_attempts))


def _check(options: StatusOptions, config: ResumableSweepConfig) -> int:
    if (options, config) != (StatusOptions(check=options.check), ResumableSweepConfig()):
        raise ConfigError("--check: it takes nothing but a folder, and looks at no sweep")
    from dysweep.directory.probe import probe
    from dysweep.views import screen
    from dysweep.views.terminal import show

    findings = probe(user_path(options.check or "."))
    show(screen.findings(findings))
    return 0 if all(finding.given for finding in findings if finding.needed) else 1


def _show_status(options: StatusOptions, reading: Callable[[], Reading]) -> int:
    def look() -> SweepStatus:
        return status_of(reading())

    if options.json:
        _write("-", chain(json_lines(reading()), ["\n"]), "--json")
    elif options.csv is not None:
        _write(options.csv, csv_lines(reading()), "--csv")
    elif options.html is not None:
        from dysweep.views.report import report

        _write(options.html, [report(look(), options.metric, options.by)], "--html")
    else:
        from dysweep.views import screen
        from dysweep.views.terminal import show

        if options.watch:
            screen.watch(look)
        else:
            drawn = look()
            show(screen.runs(drawn) if options.runs else screen.sweep(drawn))
    return 0


def _write(path: str, lines: Iterable[str], option: str) -> None:
    if path == "-":
        sys.stdout.writelines(lines)
    else:
        write_lines(path, lines, option)


_SHOWN_INSTEAD = ("diff", "export", "importance", "best")
_GOES_WITH = {  # besides --sweep_id and where it is
    "diff": ("format",),
    "export": ("run", "metric", "goal", "where"),
    "importance": ("metric", "goal", "where", "format"),
    "best": ("by", "metric", "goal", "where", "format"),
    None: ("by", "pivot", "sort", "top", "metric", "goal", "where", "format"),
}


def results(options: ResultsOptions, config: ResumableSweepConfig) -> int:
    given = [each.name for each in fields(options) if getattr(options, each.name) != each.default]
    what = [name for name in _SHOWN_INSTEAD if name in given]
    if len(what) > 1:
        raise ConfigError(f"--{what[0]} and --{what[1]}: one of them at a time")
    shown = what[0] if what else None
    for name in given:
        if name not in ("sweep_id", shown, *_GOES_WITH[shown]):
            needs = next((other for other, names in _GOES_WITH.items() if other and name in names), None)
            raise ConfigError(f"--{name}: {f'not with --{shown}' if shown else f'it needs --{needs}'}")
    sweeps = _sweeps(options, config)
    for sweep in sweeps:
        for problem in sweep.damaged:
            say(problem)
    if shown == "diff":
        return _show_difference(options, sweeps)
    if options.export is not None and options.run is not None:
        _write(options.export, [_holding(sweeps, options.run).base_config_of(options.run)], "--export")
        return 0
    from dysweep.results import show
    from dysweep.results.selection import where
    from dysweep.results.trials import trials_of

    trials = where(
        trials_of([sweep.study() for sweep in sweeps], options.metric, options.goal), options.where or ()
    )
    if options.export is not None:
        run_id = show.best_run(trials)
        _write(options.export, [_holding(sweeps, run_id).base_config_of(run_id)], "--export")
        say(f"config of the best run: {run_id}, {trials.metric} {trials.ranked.iloc[0]:g}")
        return 0
    names = ("by", "pivot", "sort", "top", "best", "importance")
    wished = {name: getattr(options, name) for name in names}
    is_marked = options.format in ("markdown", "latex")
    return _show_tables(list(show.tables(trials, **wished, is_marked=is_marked)), options.format)


def _show_tables(tables: list[Table], form: str) -> int:
    from dysweep.results.rendering import written

    print(written(tables, form), end="")
    if form == "csv":  # which has no place for them
        for note in (note for table in tables for note in table.notes):
            say(note)
    return 0


def _sweeps(options: ResultsOptions, config: ResumableSweepConfig) -> list[SweepStatus]:
    if options.sweep_id is None:
        raise ConfigError("--sweep_id: missing; `dysweep status` lists the sweeps that there are")
    where = Location(config.default_root_dir, config.custom_checkpoint_dir, None, None, online=False)
    return [
        read_status(where.find_to_read(sweep_id), config.max_attempts)
        for sweep_id in dict.fromkeys(options.sweep_id)
    ]


def _holding(sweeps: list[SweepStatus], run_id: str) -> SweepStatus:
    found = [sweep for sweep in sweeps if any(run.run_id == run_id for run in sweep.runs)]
    return found[0] if found else sweeps[0]  # which says what is wrong


def _show_difference(options: ResultsOptions, sweeps: list[SweepStatus]) -> int:
    run_ids = options.diff or []
    if len(run_ids) != 2 or run_ids[0] == run_ids[1]:
        raise ConfigError(f"--diff: two different runs are needed, got {' '.join(run_ids)}")
    one, other = ((_holding(sweeps, run_id), run_id) for run_id in run_ids)
    from dysweep.results.rendering import frame_as_table

    frame = difference(one, other)
    notes = [] if len(frame) else ["no setting differs, and neither has a metric"]
    return _show_tables([frame_as_table(frame, " and ".join(run_ids), notes)], options.format)


def run_resume(options: Options, additional: list[str], settings: dict[str, Any]) -> int:
    config = read_settings(None, settings)
    arguments = additional_arguments(additional)
    warn_of_other_versions()
    if options.debug is not None:
        return debug(config, options.debug, options.checkpoint_dir, arguments)
    if options.checkpoint_dir is not None:
        raise ConfigError("--checkpoint_dir: it needs --debug; a sweep's runs have folders of their own")
    job = parallel.prepare(config, None, arguments)
    if config.sweep_id is None:
        if config.resume or config.rerun is not None or config.rerun_id is not None:
            raise ConfigError("sweep_id: missing; resume and rerun need the sweep (--sweep_id ID)")
        if config.base_config is None and config.sweep_configuration is None:
            raise ConfigError(
                "sweep_id: missing; say which sweep to work on (--sweep_id ID), or make one (-c FILE)"
            )
        config = replace(config, sweep_id=create_and_describe(config))
    outcomes: Counter[str] = Counter()
    stopped_early = 0
    command = agent_command(options, additional, config, config.sweep_id or "")
    directory = parallel.find(config)
    try:
        for result in parallel.work(config, directory, job):
            outcomes[str(result.outcome)] += 1
            stopped_early += result.stopped_early is not None
    except Preempted as stopped:
        say(f"stopped by signal {stopped.signum}; to resume: {command} --resume")
        return 128 + stopped.signum
    finally:
        if outcomes:
            say(f"{executed(outcomes, stopped_early)}; results in {short_path(directory.path)}")
    if not outcomes:
        again = "resume" if config.resume else "rerun" if config.rerun is not None else None
        say(f"no run to {again}" if again else "no run was left to execute")
    finished = outcomes[State.FINISHED.value]
    others = outcomes.total() - finished - stopped_early
    # Not read after each of many agents that execute a run or two of a long sweep.
    quick = config.count is not None and finished and not others and len(directory.run_ids()) > _FEW_RUNS
    if config.rerun_id is None and not quick:
        status = read_status(directory, config.max_attempts)
        runs = showing_command(config, "dysweep_status", "--runs")
        compared = showing_command(config, "dysweep_results")
        for line in ending(status, outcomes, config.max_attempts, command, runs, compared):
            say(line)
    return 1 if others else 0
