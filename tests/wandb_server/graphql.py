"""`/graphql`: every request is held against W&B's schema, and so is every answer.

A request is parsed, validated and coerced as the schema says, and its answer holds what the query selects.
What the schema does not allow, on either side, is kept in `deviations`, and fails the test.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import graphql
import yaml

from wandb_server.backend import (
    DEFAULT_ENTITY,
    Agent,
    Backend,
    Refused,
    Run,
    Sweep,
    now,
    parse_sweep_config,
)

SCHEMA = graphql.build_schema((Path(__file__).parent / "schema.graphql").read_text(encoding="utf-8"))
FEATURES = ("SWEEPS_LOCAL_SCHEDULER",)
VIEWER = {
    "id": "VXNlcjox",
    "entity": DEFAULT_ENTITY,
    "username": DEFAULT_ENTITY,
    "name": DEFAULT_ENTITY,
    "email": "researcher@localhost",
    "admin": False,
    "flags": "{}",
    "apiKeys": {"edges": []},
    "teams": {"edges": [{"node": {"id": "RTo1", "name": "team"}}]},
}


def answer(backend: Backend, url: str, request: dict[str, Any], deviations: list[str]) -> dict[str, Any]:
    """Answer a request to `/graphql`.

    Args:
        backend: what the service remembers.
        url: the service's own address.
        request: `query` and `variables`.
        deviations: where what the schema does not allow is noted.

    Raises:
        Refused: the service does not do this.
    """
    if "rtifact" in request["query"]:
        operation = re.search(r"(?:query|mutation)\s+(\w+)", request["query"])
        assert operation is not None
        try:
            return backend.artifacts.answer(url, operation[1], request.get("variables") or {})
        except LookupError as error:
            raise Refused(400, str(error)) from None
    try:
        document = graphql.parse(request["query"])
        errors = graphql.validate(SCHEMA, document)
    except graphql.GraphQLSyntaxError as error:
        errors = [error]
    if errors:
        deviations += [f"{request['query']}\n{error}" for error in errors]
        raise Refused(400, str(errors[0].message))
    root = Root(backend, url)
    done = graphql.execute_sync(SCHEMA, document, root, variable_values=request.get("variables") or {})
    for error in done.errors or []:
        if isinstance(error.original_error, Refused):
            raise error.original_error
        deviations.append(f"{request['query']}\n{request.get('variables')}\n{error!r}")
        raise Refused(400, error.message)
    return {"data": done.data}


class Root:
    """The fields of queries and mutations, each a method of its name."""

    def __init__(self, backend: Backend, url: str) -> None:
        self.backend = backend
        self.url = url

    def viewer(self, info: Any) -> Any:
        return VIEWER

    def serverInfo(self, info: Any) -> Any:
        return {
            "features": [{"name": name, "isEnabled": True} for name in FEATURES],
            "cliVersionInfo": {"max_cli_version": "1.0.0"},
        }

    def entity(self, info: Any, name: str | None = None) -> Any:
        return {"id": "RTox", "name": self.backend.check_entity(name)}

    def project(self, info: Any, name: str | None = None, entityName: str | None = None) -> Any:
        place = self.backend.check_entity(entityName), name or "uncategorized"
        return _project(self.backend, *place) if self.backend.has_project(*place) else None

    model = project

    def upsertSweep(self, info: Any, input: dict[str, Any]) -> Any:
        backend = self.backend
        entity = backend.check_entity(input.get("entityName"))
        if input.get("id") is not None:
            sweep = backend.sweeps[_plain(input["id"])]
        else:
            config = parse_sweep_config(input["config"])
            sweep = backend.add_sweep(entity, input.get("projectName") or "uncategorized", config)
        if input.get("state"):
            sweep.state = input["state"]
        prior = json.loads(input.get("priorRunsFilters") or '{"$or": []}')["$or"]
        sweep.prior_runs += [each["name"] for each in prior[:1000]]
        return {"sweep": _sweep(backend, sweep), "configValidationWarnings": []}

    def createAgent(self, info: Any, input: dict[str, Any]) -> Any:
        sweep = self.backend.find_sweep(input["sweep"], input.get("entityName"), input.get("projectName"))
        return {"agent": _agent(self.backend, self.backend.add_agent(sweep, input["host"]))}

    def agentHeartbeat(self, info: Any, input: dict[str, Any]) -> Any:
        commands = self.backend.next_command(input["id"], json.loads(input.get("runState") or "{}"))
        return {
            "agent": _agent(self.backend, self.backend.agents[input["id"]]),
            "commands": json.dumps(commands),
        }

    def enqueueSweepRun(self, info: Any, input: dict[str, Any]) -> Any:
        sweep = self.backend.sweeps[_plain(input["id"])]
        run = self.backend.enqueue(sweep, json.loads(input["config"]), input.get("displayName"))
        return {"id": run.name, "runQueueItemId": "1"}

    def upsertBucket(self, info: Any, input: dict[str, Any]) -> Any:
        backend = self.backend
        if input.get("id") and not input.get("name"):
            run = backend.run(_plain(input["id"]))
        else:
            entity = backend.check_entity(input.get("entityName"))
            project = input.get("modelName") or "uncategorized"
            if input.get("sweep"):
                backend.find_sweep(input["sweep"], entity, project)
            run = backend.find_or_add_run(entity, project, input["name"])
        for name, field in (
            ("display_name", "displayName"), ("group", "groupName"), ("job_type", "jobType"),
            ("tags", "tags"), ("sweep", "sweep"), ("notes", "notes"), ("commit", "commit"),
        ):  # fmt: skip
            if input.get(field):
                setattr(run, name, input[field])
        if input.get("config"):
            sent = json.loads(input["config"])
            run.config = {**run.config, **sent} if backend.unknown.config_is_merged else sent
        if input.get("summaryMetrics"):
            run.summary = json.loads(input["summaryMetrics"])
        if input.get("state") or input.get("host") or run.state == "pending":
            run.state = input.get("state") or "running"
        # The host is named when a run starts; in an update only after a second `wandb.init()`, with the id,
        # which a start has only where the SDK has asked for it, to resume. It sends again what was not
        # answered in time, as on a busy machine.
        is_start = input.get("host") and (not input.get("id") or run.resuming)
        if is_start and input != run.begun_by:
            run.begun_by = input
            backend.begin_run(run)
        told: dict[str, Any] = {"serverMessages": []}
        return {"bucket": _run(backend, run), "inserted": run.starts == 1, "serverSettings": told}

    def stopRun(self, info: Any, input: dict[str, Any]) -> Any:
        self.backend.run(_plain(input["id"])).stop_asked = True
        return {"success": True}

    def deleteRun(self, info: Any, input: dict[str, Any]) -> Any:
        self.backend.delete_run(_plain(input["id"]))
        return {"clientMutationId": None}

    def createRunFiles(self, info: Any, input: dict[str, Any]) -> Any:
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in input["files"]]
        return {"runID": input["runName"], "uploadHeaders": [], "files": files}

    def markRunFilesUploaded(self, info: Any, input: dict[str, Any]) -> Any:
        return {"success": True}


def _identifier(kind: str, name: str) -> str:
    return base64.b64encode(f"{kind}:{name}".encode()).decode()


def _plain(identifier: str) -> str:
    return base64.b64decode(identifier).decode().partition(":")[2]


def _project(backend: Backend, entity: str, name: str) -> dict[str, Any]:
    def found(filters: str | None) -> list[Run]:
        wanted = json.loads(filters or "{}")
        return [run for run in backend.all_runs(entity, name) if _matches(run, wanted)]

    def bucket(info: Any, name: str, missingOk: bool = False) -> Any:
        run = project_run(info, name)
        if run is not None:  # only the SDK asks in this way, to go on with a run
            backend.run(name).resuming = True
        return run

    def project_run(info: Any, name: str) -> Any:
        run = backend.runs.get((entity, here, name))
        return None if run is None else _run(backend, run)

    def sweeps() -> list[Sweep]:
        return [each for each in backend.sweeps.values() if (each.entity, each.project) == (entity, here)]

    def sweep(info: Any, sweepName: str) -> Any:
        sweep = backend.sweeps.get(sweepName)
        return None if sweep is None else _sweep(backend, sweep)

    here = name
    return {
        "id": "UDox",
        "internalId": "1",
        "name": name,
        "entity": {"id": "RTox", "name": entity},
        "readOnly": False,
        "runCount": lambda info, filters=None: len(found(filters)),
        "run": project_run,
        "bucket": bucket,
        "runs": lambda info, filters=None, after=None, first=None, order=None: _connection(
            backend, found(filters), after, first
        ),
        "sweep": sweep,
        "totalSweeps": lambda info: len(sweeps()),
        "sweeps": lambda info, filters=None, after=None, first=None: _connection(
            backend, sweeps(), after, first
        ),
    }


def _connection(backend: Backend, nodes: Sequence[Run | Sweep], after: str | None, first: int | None) -> Any:
    begin = int(after or 0)
    end = begin + (first or 50)
    edges = [
        {
            "node": _sweep(backend, node) if isinstance(node, Sweep) else _run(backend, node),
            "cursor": str(number),
        }
        for number, node in enumerate(nodes[begin:end], start=begin + 1)
    ]
    page = {"endCursor": str(min(end, len(nodes))), "hasNextPage": end < len(nodes)}
    return {"edges": edges, "pageInfo": page, "totalCount": len(nodes)}


def _run(backend: Backend, run: Run) -> dict[str, Any]:
    def tail(stream: str) -> str:
        return json.dumps(run.streams.get(stream, [])[-1:])

    def count(stream: str) -> int:
        return 0 if run.anew else len(run.streams.get(stream, []))

    def history(info: Any, minStep: int = 0, maxStep: int | None = None, samples: int | None = None) -> Any:
        high = float("inf") if maxStep is None else maxStep
        return [json.dumps(line) for line in run.history if minStep <= line["_step"] < high]

    backend.judge(run)
    return {
        "id": _identifier("Run", run.name),
        "projectId": "1",
        "name": run.name,
        "displayName": run.display_name or run.name,
        "state": run.state,
        "sweepName": run.sweep,
        "group": run.group,
        "groupName": run.group,
        "jobType": run.job_type,
        "tags": run.tags,
        "notes": run.notes,
        "commit": run.commit,
        "readOnly": False,
        "computeSeconds": 1,
        "storageBytes": 0,
        "createdAt": run.created,
        "heartbeatAt": run.created,
        "config": json.dumps(run.config),
        "summaryMetrics": json.dumps(run.summary),
        "systemMetrics": "{}",
        "history": history,
        "sampledHistory": lambda info, specs: [run.history for _ in specs],
        "events": [],
        "historyKeys": {"lastStep": run.steps[-1] if run.history else -1, "keys": {}},
        "historyTail": tail("wandb-history.jsonl"),
        "eventsTail": tail("wandb-events.jsonl"),
        "historyLineCount": count("wandb-history.jsonl"),
        "eventsLineCount": count("wandb-events.jsonl"),
        "logLineCount": count("output.log"),
        "wandbConfig": lambda info, keys=(): json.dumps({"t": {}} if run.starts else {}),
        "exitcode": run.exit_code,
        "shouldStop": run.stop_asked,
        "stopped": run.stop_asked,
        "failed": run.state == "failed",
        "running": run.state == "running",
        "user": VIEWER,
        "project": lambda info: _project(backend, run.entity, run.project),
    }


def _sweep(backend: Backend, sweep: Sweep) -> dict[str, Any]:
    def runs(
        info: Any,
        first: int | None = None,
        after: str | None = None,
        last: int | None = None,
        before: str | None = None,
        order: str | None = None,
    ) -> Any:
        return _connection(backend, backend.runs_of(sweep.name), after, first or 1_000_000)

    def agent(info: Any, agentName: str) -> Any:
        found = backend.agents.get(agentName)
        return None if found is None else _agent(backend, found)

    members = [each for each in backend.agents.values() if each.sweep == sweep.name]
    prior = [run for run in backend.runs.values() if run.name in sweep.prior_runs]
    return {
        "id": _identifier("Sweep", sweep.name),
        "name": sweep.name,
        "displayName": sweep.config.get("name"),
        "method": sweep.config["method"],
        "state": sweep.state,
        "config": yaml.safe_dump(sweep.config),
        "controllerRunName": f"controller-{sweep.name}",
        "createdAt": sweep.created,
        "heartbeatAt": sweep.created,
        "earlyStopJobRunning": False,
        "runCount": len(backend.runs_of(sweep.name)),
        "runTime": 0,
        "agents": lambda info: {"edges": [{"node": _agent(backend, each)} for each in members]},
        "agent": agent,
        "runs": runs,
        "priorRuns": lambda info: _connection(backend, prior, None, None),
        "project": lambda info: _project(backend, sweep.entity, sweep.project),
    }


def _agent(backend: Backend, agent: Agent) -> dict[str, Any]:
    def runs(info: Any, **_: Any) -> Any:
        return _connection(
            backend, [run for run in backend.runs.values() if run.name in agent.runs], None, 1000
        )

    return {
        "id": agent.name,
        "name": agent.name,
        "host": agent.host,
        "state": "RUNNING",
        "totalRuns": len(agent.runs),
        "createdAt": agent.created,
        "heartbeatAt": now(),
        "sweep": lambda info: _sweep(backend, backend.sweeps[agent.sweep]),
        "runs": runs,
    }


def _matches(run: Run, wanted: Any) -> bool:
    """Tell whether a run matches a filter in MongoDB's query language, as far as it is used here."""
    for key, value in wanted.items():
        if key == "$and":
            fits = all(_matches(run, each) for each in value)
        elif key == "$or":
            fits = any(_matches(run, each) for each in value)
        else:
            found = _lookup(run, key)
            fits = found in value["$in"] if isinstance(value, dict) and "$in" in value else found == value
        if not fits:
            return False
    return True


def _lookup(run: Run, key: str) -> Any:
    first, *rest = key.split(".")
    if first != "config":
        return {"jobType": run.job_type, "state": run.state, "sweep": run.sweep, "group": run.group,
                "name": run.name, "tags": run.tags, "display_name": run.display_name}[first]  # fmt: skip
    # W&B flattens a config with at most three dots: what is deeper cannot be asked for.
    parts = [part for part in rest if part != "value"]
    found: Any = run.values
    for part in parts[:4]:
        found = found.get(part) if isinstance(found, dict) else None
    return found if len(parts) <= 4 else None
