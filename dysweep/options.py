"""What commands take besides the settings of a sweep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dysweep.settings import CREATE, LAUNCH, RESULTS, RUN, STATUS, SYNC, at_least_one, setting


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
    from_wandb: str | None = setting(
        None,
        "print the settings with which a sweep behaves as this sweep file of W&B, over base_config if given",
        CREATE,
        metavar="FILE",
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


@dataclass(frozen=True)
class ResultsOptions:
    """What `dysweep_results` shows of sweeps."""

    sweep_id: list[str] | None = setting(None, "the sweep; several are compared", RESULTS, metavar="ID")
    metric: str | None = setting(None, "the metric that counts; the sweep's own by default", RESULTS)
    goal: Literal["maximize", "minimize"] | None = setting(
        None, "whether it is to be large or small; the sweep's own goal by default", RESULTS
    )
    where: list[str] | None = setting(
        None,
        "only runs that meet a condition, as dataset=wine, 'lr<=0.01' or state!=killed; all conditions "
        "if several are given",
        RESULTS,
        metavar="CONDITION",
    )
    by: str | None = setting(
        None,
        "one row for each combination of these parameters, as model,dataset, with mean, standard deviation, "
        "n, median and the 95 % confidence interval of the mean over whatever else differs",
        RESULTS,
        metavar="NAMES",
    )
    pivot: str | None = setting(None, "with by: spread this parameter into columns", RESULTS)
    sort: str | None = setting(
        None, "the column to sort by, NAME, NAME:asc or NAME:desc; the metric by default", RESULTS
    )
    top: int | None = setting(
        None, "show only so many rows, the first ones", RESULTS, metavar="K", check=at_least_one
    )
    best: int | None = setting(
        None,
        "show only so many runs, the best, of each combination if by is given; 1 if no number is given",
        RESULTS,
        metavar="[K]",
        check=at_least_one,
    )
    importance: bool = setting(
        False, "show how much each parameter matters for the metric, and the effect of each value", RESULTS
    )
    diff: list[str] | None = setting(
        None, "show in which settings two runs differ, and their metrics", RESULTS, metavar="RUN"
    )
    export: str | None = setting(
        None,
        "write the config of the best run as a YAML file that is itself a base_config (`-` for stdout)",
        RESULTS,
        metavar="FILE",
    )
    run: str | None = setting(None, "with export: of this run instead", RESULTS, metavar="RUN")
    format: Literal["text", "markdown", "latex", "csv", "json"] = setting(
        "text", "how tables are written", RESULTS
    )
