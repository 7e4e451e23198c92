"""What the service remembers: runs, sweeps, agents, and how a sweep chooses points."""

from __future__ import annotations

import itertools
import json
import random
import secrets
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import yaml

DEFAULT_ENTITY = "researcher"
ENTITIES = frozenset([DEFAULT_ENTITY, "team"])


class Refused(Exception):
    """The service refuses an operation with this HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Run:
    """A run; `config` is in W&B's form `{key: {"value": ...}}`, `history` holds one JSON line per step."""

    entity: str
    project: str
    name: str
    sweep: str | None = None
    state: str = "pending"
    display_name: str | None = None
    group: str | None = None
    job_type: str | None = None
    notes: str | None = None
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    streams: dict[str, list[str]] = field(default_factory=dict)
    exit_code: int | None = None
    preempting: bool = False
    stop_asked: bool = False
    starts: int = 0
    resuming: bool = False
    created: str = field(default_factory=lambda: datetime.now(timezone.utc).isoformat())
    heartbeat: float = field(default_factory=time.monotonic)

    @property
    def history(self) -> list[dict[str, Any]]:
        """The logged steps."""
        return [json.loads(line) for line in self.streams.get("wandb-history.jsonl", [])]

    @property
    def values(self) -> dict[str, Any]:
        """The config as a user sees it."""
        return {key: item["value"] for key, item in self.config.items() if key not in ("_wandb", "t")}

    @property
    def steps(self) -> list[int]:
        """The logged steps' numbers."""
        return [line["_step"] for line in self.history]


@dataclass
class Sweep:
    """A sweep and the runs of it that wait to be resumed."""

    entity: str
    project: str
    name: str
    config: dict[str, Any]
    state: str = "PENDING"
    requeued: list[str] = field(default_factory=list)


class Backend:
    """All that the service remembers; every access holds `lock`."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.runs: dict[tuple[str, str, str], Run] = {}
        self.sweeps: dict[str, Sweep] = {}
        self.agents: dict[str, str] = {}

    def check_entity(self, entity: str | None) -> str:
        """Give the entity, the default one for none."""
        if entity and entity not in ENTITIES:
            raise Refused(404, f"entity {entity} not found")
        return entity or DEFAULT_ENTITY

    def run(self, name: str) -> Run:
        """Find the run with this id, whatever its project."""
        [found] = [run for run in self.runs.values() if run.name == name]
        return found

    def runs_of(self, sweep: str) -> list[Run]:
        """List the runs of a sweep in the order in which they were made."""
        return [run for run in self.runs.values() if run.sweep == sweep]

    def find_sweep(self, name: str, entity: str | None, project: str | None) -> Sweep:
        """Find a sweep by its path."""
        entity = self.check_entity(entity)
        sweep = self.sweeps.get(name)
        if sweep is None or (sweep.entity, sweep.project) != (entity, project):
            raise Refused(404, f"could not find sweep {entity}/{project}/{name}")
        return sweep

    def begin_run(self, run: Run) -> None:
        """A process starts to write a run: from scratch, unless it has asked before where to go on."""
        if not run.resuming:
            run.streams, run.summary = {}, {}
        run.resuming = False
        run.exit_code, run.preempting, run.stop_asked = None, False, False
        run.starts += 1

    def end_run(self, run: Run, exit_code: int | None) -> None:
        """A run has ended with this code, or has vanished (None); preempted ones are queued again."""
        run.exit_code = exit_code
        if exit_code == 0:
            run.state = "finished"
        elif run.preempting:
            run.state = "preempted"
            if run.sweep is not None and run.name not in self.sweeps[run.sweep].requeued:
                self.sweeps[run.sweep].requeued.append(run.name)
        elif run.stop_asked:
            run.state = "killed"
        else:
            run.state = "crashed" if exit_code is None else "failed"

    def next_command(self, agent: str, running: dict[str, Any]) -> list[dict[str, Any]]:
        """Choose what an agent shall do next."""
        sweep = self.sweeps.get(self.agents[agent])
        if sweep is None:
            raise Refused(404, "agent not found")
        stopped = [name for name in running if self.run(name).stop_asked]
        if stopped:
            return [{"type": "stop", "run_id": stopped[0]}]
        if sweep.state in ("CANCELED", "FINISHED", "STOPPED"):
            return [{"type": "exit"}]
        if running or sweep.state == "PAUSED":
            return []
        sweep.state = "RUNNING"
        if sweep.requeued:
            run = self.run(sweep.requeued.pop(0))
            run.state = "pending"
            names = sweep.config["parameters"]
            return [_command("resume", run.name, {k: v for k, v in run.values.items() if k in names})]
        point = self._choose(sweep)
        if point is None:
            if not any(run.state in ("running", "pending") for run in self.runs_of(sweep.name)):
                sweep.state = "FINISHED"
            return [{"type": "exit"}]
        run = Run(sweep.entity, sweep.project, new_id(), sweep=sweep.name)
        run.config = {key: {"value": value} for key, value in point.items()}
        run.display_name = f"{sweep.name}-sweep-{len(self.runs_of(sweep.name)) + 1}"
        self.runs[run.entity, run.project, run.name] = run
        return [_command("run", run.name, point)]

    def _choose(self, sweep: Sweep) -> dict[str, Any] | None:
        runs = self.runs_of(sweep.name)
        if len(runs) >= sweep.config.get("run_cap", float("inf")):
            return None
        parameters = sweep.config["parameters"]
        axes = {name: _values(node) for name, node in parameters.items()}
        if sweep.config["method"] != "grid":
            chooser = random.Random(len(runs))
            return {
                name: chooser.choice(axis) if axis else chooser.uniform(node["min"], node["max"])
                for (name, axis), node in zip(axes.items(), parameters.values(), strict=True)
            }
        taken = [{name: run.values.get(name) for name in axes} for run in runs]
        for point in itertools.product(*axes.values()):
            chosen = dict(zip(axes, point, strict=True))
            if chosen not in taken:
                return chosen
        return None


def new_id() -> str:
    """Give an id as W&B's are: eight small letters and digits."""
    return secrets.token_hex(4)


def parse_sweep_config(text: str) -> dict[str, Any]:
    """Read a sweep's configuration and refuse what the service would refuse."""
    config = yaml.safe_load(text)
    if not isinstance(config, dict) or not isinstance(config.get("parameters"), dict):
        raise Refused(400, "Invalid sweep config: parameters are missing")
    if config.get("method") not in ("grid", "random", "bayes"):
        raise Refused(400, f"Invalid sweep config: invalid method {config.get('method')!r}")
    return config


def _values(node: dict[str, Any]) -> list[Any]:
    if "values" in node:
        return list(node["values"])
    if "value" in node:
        return [node["value"]]
    return list(range(node["min"], node["max"] + 1)) if isinstance(node.get("min"), int) else []


def _command(kind: str, run_id: str, point: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "run_id": run_id, "args": {key: {"value": value} for key, value in point.items()}}
