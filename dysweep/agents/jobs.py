"""What is executed for every run: a function in this process or one of its own, or a program."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from dysweep.agents.function_job import FunctionJob
from dysweep.agents.functions import function_named
from dysweep.agents.isolated_job import IsolatedJob
from dysweep.agents.program_job import ProgramJob
from dysweep.directory.sweep import Sweep
from dysweep.errors import ConfigError
from dysweep.language.hyperband import Hyperband
from dysweep.settings import ResumableSweepConfig, wandb_command

logger = logging.getLogger("dysweep")

Job: TypeAlias = FunctionJob | ProgramJob | IsolatedJob


def job_of(
    config: ResumableSweepConfig, function: Callable[..., Any] | None, arguments: Mapping[str, Any]
) -> Job:
    """Choose what is executed.

    A command is never taken from the sweep's directory or from W&B, where others may write.

    Args:
        config: the settings; they name the function or the command where no function is given.
        function: the function, or None.
        arguments: further keyword arguments of the function.

    Raises:
        FunctionError: the function cannot be found.
        ConfigError: there is nothing to execute, or two things.
    """
    has_function = function is not None or config.package is not None or config.function is not None
    of_wandb = {} if has_function else wandb_command(config)
    with_tree = config.wandb_config == "tree"
    if config.command is None and not of_wandb:
        if config.isolate:
            if config.checkpoint_artifacts:
                raise ConfigError("checkpoint_artifacts: it needs the function in the agent's own process")
            names, logger = (config.package, config.function), config.use_lightning_logger
            return IsolatedJob.of(function, *names, arguments, logger, config.grace, with_tree)
        function = function or function_named(config.package, config.function)
        return FunctionJob(function, dict(arguments), config.use_lightning_logger, with_tree)
    if has_function:
        raise ConfigError("command: a function is given, too; leave out one of them")
    of_functions = {
        "run_additional_args": arguments,
        "use_lightning_logger": config.use_lightning_logger,
        "isolate": config.isolate,
        "mark_preempting": config.mark_preempting,
        "checkpoint_artifacts": config.checkpoint_artifacts,
    }
    if unused := [name for name, value in of_functions.items() if value]:
        raise ConfigError(f"{unused[0]}: is for a function, and command is given")
    command = config.command if config.command is not None else of_wandb.get("command")
    return ProgramJob.of(command, of_wandb.get("program"), config.grace, with_tree)


def warn_of_no_effect(job: Job, sweep: Sweep) -> None:
    """Say that programs are not stopped early without W&B: what they log is seen when they have ended."""
    if isinstance(job, ProgramJob) and not sweep.online and Hyperband.of(sweep.sweep_configuration):
        logger.warning(
            "sweep_configuration.early_terminate: no effect on programs offline, only on functions"
        )
