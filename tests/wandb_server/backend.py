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

from wandb_server.artifacts import Artifacts

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
    commit: str | None = None
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    streams: dict[str, list[str]] = field(default_factory=dict)
    exit_code: int | None = None
    preempting: bool = False
    stop_asked: bool = False
    starts: int = 0
    resuming: bool = False
    anew: bool = False
    begun_by: dict[str, Any] = field(default_factory=dict)
    created: str = field(default_factory=lambda: now())
    handed_out: float = field(default_factory=time.monotonic)
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
    """A sweep, the runs of it that wait to be started or resumed, and those that came before it."""

    entity: str
    project: str
    name: str
    config: dict[str, Any]
    state: str = "PENDING"
    queued: list[str] = field(default_factory=list)
    requeued: list[str] = field(default_factory=list)
    prior_runs: list[str] = field(default_factory=list)
    created: str = field(default_factory=lambda: now())


@dataclass
class Agent:
    """An agent of a sweep, and the runs that it was given."""

    name: str
    sweep: str
    host: str
    runs: list[str] = field(default_factory=list)
    created: str = field(default_factory=lambda: now())


@dataclass
class Unknown:
    """What nobody outside W&B knows, each in one of its positions.

    Args:
        mark_outlives_attempt: a run that was marked as preempting still is when it is begun again.
        stopped_is_killed: a run that ends after it was stopped on its page is killed, instead of failed.
        rerun_keeps_tail: rows of a run that is begun anew stay until a new one takes their place.
        config_is_merged: an upsert's config is put into the stored one, instead of replacing it.
        hands_out_again_after: seconds after which a run that nobody has started is given out again.
        with_new_id: then under a new id.
    """

    mark_outlives_attempt: bool = False
    stopped_is_killed: bool = True
    rerun_keeps_tail: bool = False
    config_is_merged: bool = False
    hands_out_again_after: float = 3600
    with_new_id: bool = False


class Backend:
    """All that the service remembers; every access holds `lock`."""

    def __init__(self, unknown: Unknown | None = None) -> None:
        self.lock = threading.RLock()
        self.unknown = unknown or Unknown()
        self.silence = 300.0  # seconds until a run that is not heard of counts as crashed
        self.runs: dict[tuple[str, str, str], Run] = {}
        self.deleted: set[tuple[str, str, str]] = set()
        self.sweeps: dict[str, Sweep] = {}
        self.agents: dict[str, Agent] = {}
        self.artifacts = Artifacts()

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

    def all_runs(self, entity: str, project: str) -> list[Run]:
        """List the runs of a project, each in its present state."""
        found = [run for run in self.runs.values() if (run.entity, run.project) == (entity, project)]
        for run in found:
            self.judge(run)
        return found

    def has_project(self, entity: str, project: str) -> bool:
        """Return whether anything was ever put into a project; it has no life of its own."""
        places = [(each.entity, each.project) for each in (*self.runs.values(), *self.sweeps.values())]
        return (entity, project) in places

    def add_sweep(self, entity: str, project: str, config: dict[str, Any]) -> Sweep:
        """Make a sweep."""
        sweep = self.sweeps[name] = Sweep(entity, project, name := new_id(), config)
        return sweep

    def add_agent(self, sweep: Sweep, host: str = "somewhere") -> Agent:
        """Make an agent."""
        agent = self.agents[name] = Agent(name := new_id(), sweep.name, host)
        return agent

    def enqueue(self, sweep: Sweep, config: dict[str, Any], display_name: str | None = None) -> Run:
        """Make a run that waits for an agent."""
        run = self._add_run(sweep, {key: item.get("value", item) if isinstance(item, dict) else item
                                    for key, item in config.items()})  # fmt: skip
        run.display_name = display_name or run.display_name
        sweep.queued.append(run.name)
        return run

    def find_or_add_run(self, entity: str, project: str, name: str) -> Run:
        """Find a run, or make it."""
        key = (entity, project, name)
        if key in self.deleted:
            where = f"{entity}/{project}/{name}"
            raise Refused(409, f"run {where} was previously created and deleted; try a new run name")
        return self.runs.setdefault(key, Run(*key))

    def delete_run(self, name: str) -> None:
        """Delete a run; its id cannot be used again."""
        run = self.run(name)
        key = (run.entity, run.project, run.name)
        del self.runs[key]
        self.deleted.add(key)
        for sweep in self.sweeps.values():
            for names in (sweep.queued, sweep.requeued):
                if name in names:
                    names.remove(name)

    def judge(self, run: Run) -> None:
        """Count a run of which nothing was heard for long as crashed, or as preempted."""
        if run.state in ("running", "preempting") and time.monotonic() - run.heartbeat > self.silence:
            self.end_run(run, None)

    def begin_run(self, run: Run) -> None:
        """A process starts to write a run: from scratch, unless it has asked before where to go on."""
        run.anew = not run.resuming
        if run.anew and not self.unknown.rerun_keeps_tail:
            run.streams, run.summary = {}, {}
        run.exit_code, run.stop_asked = None, False
        run.preempting = run.preempting and self.unknown.mark_outlives_attempt
        run.state = "preempting" if run.preempting else "running"
        run.heartbeat = time.monotonic()
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
        elif run.stop_asked and self.unknown.stopped_is_killed:
            run.state = "killed"
        else:
            run.state = "crashed" if exit_code is None else "failed"

    def next_command(self, agent: str, running: dict[str, Any]) -> list[dict[str, Any]]:
        """Choose what an agent shall do next."""
        if agent not in self.agents or self.agents[agent].sweep not in self.sweeps:
            raise Refused(404, "agent not found")
        sweep = self.sweeps[self.agents[agent].sweep]
        had = self.agents[agent].runs
        stopped = [name for name in running if self.run(name).stop_asked]
        if stopped:
            return [{"type": "stop", "run_id": stopped[0]}]
        if sweep.state == "CANCELED":
            return [{"type": "exit"}]
        if running or sweep.state == "PAUSED":
            return []
        if sweep.state == "FINISHED":  # runs that are under way may end
            return [{"type": "exit"}]
        sweep.state = "RUNNING"
        for run in self.runs_of(sweep.name):
            self.judge(run)
        if sweep.requeued:
            run = self.run(sweep.requeued.pop(0))
            run.state = "pending"
            had.append(run.name)
            # With its whole config, W&B's own part too (wandb/wandb issues 4237 and 9143).
            return [_command("resume", sweep, run.name, run.config)]
        if sweep.queued:  # by people, or by a scheduler outside W&B
            run = self.run(sweep.queued.pop(0))
            had.append(run.name)
            return [_command("run", sweep, run.name, run.config)]
        if sweep.config["method"] == "custom" or "scheduler" in sweep.config:
            return []
        point = self._forgotten(sweep) or self._choose(sweep)
        if point is None:
            if not any(run.state in ("running", "pending") for run in self.runs_of(sweep.name)):
                sweep.state = "FINISHED"
            return [{"type": "exit"}]
        run = point if isinstance(point, Run) else self._add_run(sweep, point)
        had.append(run.name)
        return [_command("run", sweep, run.name, run.config)]

    def _add_run(self, sweep: Sweep, point: dict[str, Any]) -> Run:
        run = Run(sweep.entity, sweep.project, new_id(), sweep=sweep.name)
        run.config = {key: {"value": value} for key, value in point.items()}
        run.display_name = f"{sweep.name}-sweep-{len(self.runs_of(sweep.name)) + 1}"
        self.runs[run.entity, run.project, run.name] = run
        return run

    def _forgotten(self, sweep: Sweep) -> Run | dict[str, Any] | None:
        """Choose a run that was given out long ago, and that nobody has started."""
        had = {name for agent in self.agents.values() for name in agent.runs}
        for run in self.runs_of(sweep.name):
            age = time.monotonic() - run.handed_out
            if run.state == "pending" and run.name in had and age > self.unknown.hands_out_again_after:
                run.handed_out = time.monotonic()
                if not self.unknown.with_new_id:
                    return run
                run.state = "crashed"
                return run.values
        return None

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


def now() -> str:
    """Give the time as W&B writes it."""
    return datetime.now(timezone.utc).isoformat()


def new_id() -> str:
    """Give an id as W&B's are: eight small letters and digits."""
    return secrets.token_hex(4)


def parse_sweep_config(text: str) -> dict[str, Any]:
    """Read a sweep's configuration and refuse what the service would refuse."""
    config = yaml.safe_load(text)
    if not isinstance(config, dict) or not isinstance(config.get("parameters"), dict):
        raise Refused(400, "Invalid sweep config: parameters are missing")
    if config.get("method") not in ("grid", "random", "bayes", "custom"):
        raise Refused(400, f"Invalid sweep config: invalid method {config.get('method')!r}")
    return config


def _values(node: dict[str, Any]) -> list[Any]:
    if "values" in node:
        return list(node["values"])
    if "value" in node:
        return [node["value"]]
    return list(range(node["min"], node["max"] + 1)) if isinstance(node.get("min"), int) else []


def _command(kind: str, sweep: Sweep, run_id: str, args: dict[str, Any]) -> dict[str, Any]:
    return {"type": kind, "run_id": run_id, "program": sweep.config.get("program"), "args": args}
