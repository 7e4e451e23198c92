"""Several processes that train one run: an agent that is one of them is refused, with what to do instead."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dysweep.errors import ConfigError, FunctionError

# A launcher's variables for the rank of a process, and for how many there are.
_LAUNCHERS = (
    ("RANK", "WORLD_SIZE"),  # torchrun, accelerate, deepspeed, PyTorch jobs of Kubernetes
    ("LOCAL_RANK", "WORLD_SIZE"),  # what Lightning starts
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("MV2_COMM_WORLD_RANK", "MV2_COMM_WORLD_SIZE"),
    ("HOROVOD_RANK", "HOROVOD_SIZE"),
    ("JSM_NAMESPACE_RANK", "JSM_NAMESPACE_SIZE"),
    (
        "SLURM_PROCID",
        "SLURM_STEP_NUM_TASKS",
    ),  # SLURM_NTASKS is set in a batch script too, which is one process
)
_INSTEAD = (
    "put the launcher inside, so that all ranks are one run: dysweep_run_resume --sweep_id ID --command "
    "'torchrun --nproc_per_node 2 train.py --config {config}'; a function of Lightning's can start its ranks "
    "itself, with --isolate or strategy='ddp_spawn', 'ddp_fork', 'ddp_notebook'"
)
_refusing = False  # while functions are executed
_is_hooked = False


def refuse_ranks() -> None:
    """Refuse to work as one of several processes, which would each execute another run.

    Raises:
        ConfigError: a launcher has started this process as one of several.
    """
    found = _rank(os.environ)
    if found is None:
        return
    name, size_name = found
    size = os.environ.get(size_name)
    raise ConfigError(
        f"{name}={os.environ[name]}{f', {size_name}={size}' if size else ''}: this process is one of several "
        "that would each execute another run; start one process for each agent, and "
        f"{_INSTEAD}; for independent agents remove the variable (env -u {name} dysweep_run_resume ...)"
    )


def _rank(environment: Mapping[str, str]) -> tuple[str, str] | None:
    """Find the variable that makes a process one of several, and the one for how many there are."""
    for name, size_name in _LAUNCHERS:
        rank, size = _number(environment.get(name)), _number(environment.get(size_name))
        if rank > 0 or (rank == 0 and size > 1):
            return name, size_name
    return None


def _number(text: str | None) -> int:
    return int(text) if text is not None and text.isdecimal() else -1


def is_follower() -> bool:
    """Return whether a launcher has started this process as another one than the first of a run's ranks."""
    return any(_number(os.environ.get(name)) > 0 for name, _ in _LAUNCHERS)


@contextmanager
def refusing_restarts() -> Iterator[None]:
    """Raise FunctionError in a function that starts this command again for other ranks.

    Lightning's `ddp` does so. Its first rank would wait for the others, in C++ where no signal is handled,
    until Lightning ends it with SIGKILL, and nobody would know why. An audit hook is the only place that sees
    the start of a process, whoever starts it; hooks cannot be removed, so there is one, which rests in
    between.
    """
    global _refusing, _is_hooked
    if not _is_hooked:
        _is_hooked = True
        sys.addaudithook(_refuse_restart)
    _refusing = True
    try:
        yield
    finally:
        _refusing = False


def _refuse_restart(event: str, arguments: tuple[Any, ...]) -> None:
    if event != "subprocess.Popen" or not _refusing:
        return
    _, command, _, environment = arguments
    if environment is None or _rank(environment) is None or not _restarts_this_program(command):
        return
    raise FunctionError(
        "the function would start this command again for each rank, as Lightning's strategy='ddp' does, and "
        f"each would execute another run; {_INSTEAD}"
    )


def _restarts_this_program(command: Any) -> bool:
    if not isinstance(command, (list, tuple)):
        return False
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    again = [sys.executable, "-m", spec.name] if spec else [sys.executable, os.path.abspath(sys.argv[0])]
    return list(map(os.fsdecode, command[: len(again)])) == again
