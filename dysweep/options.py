"""What commands take besides the settings of a sweep."""

from __future__ import annotations

from dataclasses import dataclass

from dysweep.settings import CREATE, LAUNCH, RUN, STATUS, SYNC, at_least_one, setting


@dataclass(frozen=True)
class Options:
    """What commands take besides the settings of a sweep."""

    config: str | None = setting(
        None, "YAML or JSON file with the settings below", CREATE, RUN, SYNC, LAUNCH, metavar="FILE"
    )
    run_additional_args: str | None = setting(
        None, "more arguments for the function", RUN, metavar="KEY:VALUE"
    )
    debug: str | None = setting(
        None,
        "execute one configuration without a record and without W&B: of the run with this id, or of the "
        "point of the grid at this place",
        RUN,
        metavar="RUN",
    )
    checkpoint_dir: str | None = setting(
        None, "with debug: the folder that the function gets; a temporary one by default", RUN, metavar="DIR"
    )
    dry_run: bool = setting(False, "show the sweep and its first configs, and create nothing", CREATE)
    dry_run_dir: str | None = setting(
        None, "with dry_run: write the configs there, as YAML", CREATE, metavar="DIR"
    )
    limit: int | None = setting(
        None, "with dry_run: how many configs to show or to write", CREATE, metavar="N", check=at_least_one
    )
    extend: str | None = setting(
        None,
        "instead of creating a sweep, add to this one, which its directory serves, what it does not have yet",
        CREATE,
        metavar="ID",
    )
    print_config: bool = setting(False, "print a file with all settings of a sweep, explained", CREATE)


@dataclass(frozen=True)
class StatusOptions:
    """What `dysweep_status` shows of a sweep."""

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
    by: str | None = setting(
        None,
        "with html: compare only runs that have these parameters in common, as dataset,model; by default "
        "those with the word data in their names",
        STATUS,
        metavar="NAMES",
    )
    watch: bool = setting(False, "draw again every two seconds, until nothing is left to wait for", STATUS)
    log: str | None = setting(
        None, "print what the last attempt of the run with this id has printed", STATUS, metavar="RUN"
    )
    raw: bool = setting(False, "with log: as it was written, control characters included", STATUS)
    check: str | None = setting(
        None, "try whether a folder's file system gives what a sweep's directory needs", STATUS, metavar="DIR"
    )
