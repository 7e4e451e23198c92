"""Every setting, declared once: its default, its help, the commands that take it, and what it allows."""

from __future__ import annotations

import math
import os
import textwrap
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from dysweep.errors import ConfigError, closest, misspelt
from dysweep.files import load_file
from dysweep.text import key_in_a_line
from dysweep.typed import parse_dictionary_onto_dataclass
from dysweep.yaml_text import parse_yaml

T = TypeVar("T")
TREES = ("base_config", "sweep_configuration")
_DOCUMENTED_WIDTH = 102


@dataclass(frozen=True)
class Setting:
    """What is known of a setting besides its name, type and default.

    Args:
        help: what it is for.
        used_by: the commands that take it.
        metavar: what stands for its value in the help.
        check: returns what is wrong with a value, None if nothing is.
    """

    help: str
    used_by: frozenset[str]
    metavar: str
    check: Callable[[Any], str | None]


def setting(
    default: Any,
    help: str,
    *used_by: str,
    metavar: str = "NAME",
    check: Callable[[Any], str | None] = lambda value: None,
) -> Any:
    """Declare a setting: a field of a dataclass, with its default and a `Setting`."""
    return field(default=default, metadata={"setting": Setting(help, frozenset(used_by), metavar, check)})


def at_least_one(value: int) -> str | None:
    """Check a number of things."""
    return None if value >= 1 else f"must be at least 1, got {value}"


def at_least_zero(value: int) -> str | None:
    """Check a number of things of which there may be none."""
    return None if value >= 0 else f"must be at least 0, got {value}"


def _positive(value: float) -> str | None:
    return None if 0 < value < math.inf else f"must be a number of more than 0, got {value}"


CREATE, RUN, SYNC, STATUS = "dysweep_create", "dysweep_run_resume", "dysweep_sync", "dysweep_status"
LAUNCH, RESULTS = "dysweep_launch", "dysweep_results"
_BOTH = (CREATE, RUN)


@dataclass(frozen=True)
class ResumableSweepConfig:
    """Settings of a sweep and of the agents that work on it.

    Example:
        >>> from dysweep import ResumableSweepConfig
        >>> config = ResumableSweepConfig(project="study", count=10, recover=True)
        >>> config.default_root_dir
        './dysweep_logs'
    """

    default_root_dir: str = setting(
        "./dysweep_logs",
        "folder below which every sweep has its directory `checkpoints-<sweep_id>`",
        *_BOTH, SYNC, STATUS, RESULTS,
        metavar="DIR",
    )  # fmt: skip
    custom_checkpoint_dir: str | None = setting(
        None,
        "the sweep's directory itself, instead; relative to default_root_dir",
        *_BOTH, SYNC, STATUS, RESULTS,
        metavar="DIR",
    )  # fmt: skip
    sweep_configuration: dict | str | None = setting(  # type: ignore[type-arg]
        None,
        "what to sweep, a tree or the path of a YAML or JSON file: a W&B sweep configuration whose "
        "`parameters` are hierarchical, or the bare parameters",
        *_BOTH,
        metavar="FILE",
    )
    base_config: dict | str | None = setting(  # type: ignore[type-arg]
        None,
        "the tree that every run starts from, or the path of a YAML or JSON file",
        *_BOTH,
        metavar="FILE",
    )
    check_classes: bool = setting(
        False, "import the classes in the configs, and refuse arguments that they do not take", *_BOTH
    )
    entity: str | None = setting(None, "W&B's user or team", *_BOTH, SYNC)
    project: str | None = setting(None, "W&B's project", *_BOTH, SYNC)
    package: str | None = setting(None, "dotted name of the module that holds the function", RUN)
    function: str | None = setting(None, "name of the function that executes a run", RUN)
    command: str | list[str] | None = setting(
        None,
        'instead of a function: the program that executes a run, as "python train.py --config {config}"; a '
        "text that is split into words, or a list",
        RUN,
        metavar="COMMAND",
    )
    isolate: bool = setting(False, "execute the function in a fresh Python process for every run", RUN)
    count: int | None = setting(
        None, "how many runs to execute; all by default", RUN, metavar="N", check=at_least_one
    )
    resume: bool = setting(False, "resume runs that were preempted, crashed or failed", RUN)
    rerun: Literal["failed", "preempted", "crashed", "all"] | None = setting(
        None,
        "rerun all runs of this state from scratch, or with resume from their checkpoints; all is every "
        "failed, preempted or crashed one",
        RUN,
    )
    rerun_id: str | None = setting(
        None,
        "id of the one run to rerun: from scratch, or with resume from its checkpoint",
        RUN,
        metavar="RUN",
    )
    run_name: str | None = setting(
        None, "the runs' names, a template over the parameters' names as \"{optimizer}-lr{lr}\"", *_BOTH
    )
    wandb_keys: list[str] | str | None = setting(
        None,
        "settings deep in the tree that W&B also gets under a short key, as model.init_args.encoder.depth: "
        "a list, or a text with commas",
        *_BOTH,
        metavar="PATHS",
    )
    wandb_config: Literal["tree"] | None = setting(
        None,
        "tree: the config of a W&B run has the keys of the whole tree, besides the assignment and dy_config; "
        "for a function without `config` it always has",
        RUN,
    )
    sweep_id: str | None = setting(
        None,
        "the sweep, also as entity/project/id; without it one is created, or all are listed",
        RUN, SYNC, STATUS,
        metavar="ID",
    )  # fmt: skip
    run_name_changer: str | dict | None = setting(  # type: ignore[type-arg]
        None,
        "dotted name of a function, or its code (allow_eval), or a mapping of 0.1 with its code, called with "
        "(config, run_name) for the run's name",
        RUN,
    )
    delete_checkpoints: bool = setting(
        False, "on a rerun from scratch, delete the old checkpoint instead of setting it aside", RUN
    )
    use_lightning_logger: bool = setting(
        False, "call the function with Lightning's WandbLogger as `logger`", RUN
    )
    method: Literal["grid", "random", "bayes"] | None = setting(
        None, "W&B's search method, if sweep_configuration has none; grid by default", *_BOTH
    )
    metric: str | None = setting(
        None, "name of the metric to optimize, if sweep_configuration has none", *_BOTH
    )
    goal: Literal["maximize", "minimize"] | None = setting(
        None,
        "what to do with the metric, if sweep_configuration does not say it; minimize by default",
        *_BOTH,
    )
    sweep_name: str | None = setting(None, "the sweep's name, if sweep_configuration has none", *_BOTH)
    mark_preempting: bool = setting(False, "tell W&B from the start that runs may be preempted", RUN)
    mode: Literal["online", "offline"] | None = setting(
        None,
        "who serves the sweep, W&B (online) or its own directory (offline); WANDB_MODE by default",
        *_BOTH,
    )
    recover: bool = setting(
        False, "resume runs that were preempted or crashed, before and after the new ones", RUN
    )
    max_attempts: int = setting(
        3,
        "how often a run may fail or crash before resume gives it up",
        RUN,
        STATUS,
        metavar="N",
        check=at_least_one,
    )
    max_failures: int = setting(
        5,
        "an agent stops when so many of its runs, from its first on, have failed with the same error; 0 for "
        "never",
        RUN,
        metavar="N",
        check=at_least_zero,
    )
    lease: float = setting(
        120.0,
        "seconds without a heartbeat after which a process on another host counts as dead",
        RUN, SYNC,
        metavar="SECONDS",
        check=_positive,
    )  # fmt: skip
    grace: float = setting(
        20.0,
        "seconds that a function or program has to stop after SIGTERM, SIGINT or SIGUSR1",
        RUN,
        metavar="SECONDS",
        check=_positive,
    )
    max_log_mb: float = setting(
        100.0,
        "how long the log of an attempt may be, in millions of bytes; of more the middle is cut",
        RUN,
        metavar="MB",
        check=_positive,
    )
    from_wandb: bool = setting(
        False,
        "with resume or recover: take the interrupted runs, and their checkpoints, from W&B instead of the "
        "directory, on machines that share none",
        RUN,
    )
    checkpoint_artifacts: bool = setting(
        False,
        "keep checkpoint_dir as an artifact in W&B, while a function changes it and when its attempt is "
        "interrupted",
        RUN,
    )
    checkpoint_minutes: float = setting(
        10.0,
        "with checkpoint_artifacts: how many minutes there are between two versions",
        RUN,
        metavar="MINUTES",
        check=_positive,
    )
    allow_eval: bool = setting(False, "run code (`dy__eval`) that is in the sweep's configuration", *_BOTH)
    group_writable: bool = setting(
        False, "create the sweep's directory so that all members of its group can work on the sweep", *_BOTH
    )


def settings_of(kind: type) -> dict[str, tuple[Field[Any], Setting]]:
    """Return the fields of a dataclass that are settings, by their names."""
    return {each.name: (each, each.metadata["setting"]) for each in fields(kind)}


def choices_of(kind: type, name: str) -> tuple[str, ...]:
    """Return the texts that a setting can be, none if it can be anything of its type."""
    hint = typing.get_type_hints(kind)[name]
    literals = [part for part in (hint, *typing.get_args(hint)) if typing.get_origin(part) is Literal]
    return tuple(choice for literal in literals for choice in typing.get_args(literal))


def is_switch(kind: type, name: str) -> bool:
    """Return whether a setting is on or off."""
    return typing.get_type_hints(kind)[name] is bool


def _document(kind: type) -> None:
    """Put the settings into the docstring, as if they were written there."""
    lines = ["Args:"]
    for name, (_, known) in settings_of(kind).items():
        lines += textwrap.wrap(
            f"{name}: {known.help}.", _DOCUMENTED_WIDTH, initial_indent=" " * 4, subsequent_indent=" " * 8
        )
    about, example, rest = (kind.__doc__ or "").partition("Example:")
    written = "\n    ".join(lines)
    kind.__doc__ = f"{about}{written}\n\n    {example}{rest}"


# For help(), and for jsonargparse, which reads the fields' texts from the docstring.
_document(ResumableSweepConfig)


def from_text(kind: type, name: str, text: str) -> Any:
    """Read a setting's value as it is written on a command line."""
    hint = typing.get_type_hints(kind)[name]
    kinds = {hint, *typing.get_args(hint)}
    is_tree = dict in kinds and text.lstrip().startswith("{")
    return parse_yaml(text, f"--{name}") if is_tree or kinds & {bool, int, float} else text


def checked(given: Mapping[str, Any], kind: type[T]) -> T:
    """Bring settings into their dataclass.

    Raises:
        ConfigError: an unknown setting, or a value that it does not allow.
    """
    config = parse_dictionary_onto_dataclass(given, kind)
    for name, (_, known) in settings_of(kind).items():
        value = getattr(config, name)
        if value is not None and (problem := known.check(value)):
            raise ConfigError(f"{name}: {problem}")
    return config


def read_settings(conf: Any, settings: Mapping[str, Any]) -> ResumableSweepConfig:
    """Bring settings of any form into a ResumableSweepConfig.

    Args:
        conf: a ResumableSweepConfig, a mapping, a jsonargparse Namespace, the path of a file, or None.
        settings: settings that override it.

    Raises:
        ConfigError: an unknown setting, or a value that it does not allow.
    """
    if conf is None:
        given: dict[str, Any] = {}
    elif isinstance(conf, (str, os.PathLike)):
        given = load_settings(os.fspath(conf))
    elif is_dataclass(conf) and not isinstance(conf, type):
        given = {each.name: getattr(conf, each.name) for each in fields(conf)}
    elif isinstance(conf, Mapping):
        given = dict(conf)
    elif hasattr(conf, "as_dict"):
        of_the_command = ("config", "package", "function", "run_additional_args")
        given = {key: value for key, value in conf.as_dict().items() if key not in of_the_command}
    else:
        raise ConfigError(
            f"conf: a {type(conf).__name__} holds no settings; give a mapping or a ResumableSweepConfig"
        )
    return checked({**given, **settings}, ResumableSweepConfig)


def load_settings(path: str) -> dict[str, Any]:
    """Read a file of settings; paths of trees in it may be relative to the file.

    Raises:
        ConfigError: it cannot be read, or holds something else.
    """
    known = list(settings_of(ResumableSweepConfig))
    settings = load_file(path)
    if settings is None:
        raise ConfigError(f"{path}: is empty; dysweep_create --print_config prints what can be in it")
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: a mapping of settings is needed; there are {', '.join(known)}")
    settings.pop("$schema", None)  # editors look for it
    _refuse_other_keys(settings, path, known)
    for tree in TREES:
        beside = Path(path).parent / str(settings.get(tree))
        if isinstance(settings.get(tree), str) and not os.path.exists(settings[tree]) and beside.exists():
            settings[tree] = str(beside)
    try:
        checked(settings, ResumableSweepConfig)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return settings


def _refuse_other_keys(settings: dict[Any, Any], path: str, known: Collection[str]) -> None:
    """Refuse unknown settings; say where the content of files of other kinds belongs."""
    others = [key for key in settings if key not in known]
    if not others:
        return
    if isinstance(settings.get("parameters"), dict) and "sweep_configuration" not in settings:
        raise ConfigError(
            f"{path}: this is a sweep file of W&B; dysweep_create --from_wandb {path} prints settings for it "
            "(or put `sweep: true` in each parameter, and give it as --sweep_configuration, beside "
            "--base_config, the tree that every run starts from)"
        )
    swept = [key for key in others if isinstance(settings[key], dict) and "sweep" in settings[key]]
    if swept:
        raise ConfigError(
            f"{path}: {key_in_a_line(swept[0])}: what is swept belongs below `sweep_configuration:`"
        )
    first = key_in_a_line(others[0])
    if len(others) == len(settings) and not any(misspelt(str(key), known) for key in others):
        raise ConfigError(
            f"{path}: {first}: unknown setting; the tree that every run starts from belongs below "
            "`base_config:`, what is swept below `sweep_configuration:` (--print_config prints all settings)"
        )
    raise ConfigError(f"{path}: {first}: unknown setting{closest(str(others[0]), known)}")


def wandb_command(config: ResumableSweepConfig) -> dict[str, Any]:
    """Return W&B's own `program` and `command` of the sweep configuration that is given, if there are any."""
    described = config.sweep_configuration
    if isinstance(described, str):
        described = load_file(described)
    if not isinstance(described, dict) or not isinstance(described.get("parameters"), dict):
        return {}
    return {key: described[key] for key in ("program", "command") if described.get(key) is not None}
