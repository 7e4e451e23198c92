"""The operations of `/graphql`, one function each; answers hold all fields, whatever the query selects."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import yaml

from wandb_server.backend import DEFAULT_ENTITY, Backend, Refused, Run, Sweep, new_id, parse_sweep_config

Variables = dict[str, Any]
VIEWER = {
    "id": "VXNlcjox",
    "entity": DEFAULT_ENTITY,
    "username": DEFAULT_ENTITY,
    "name": DEFAULT_ENTITY,
    "email": "researcher@localhost",
    "admin": False,
    "flags": "{}",
    "deletedAt": None,
    "apiKeys": {"edges": []},
    "teams": {"edges": [{"node": {"name": "team"}}]},
}


def viewer(backend: Backend, variables: Variables) -> Any:
    return {"viewer": VIEWER}


def server_features(backend: Backend, variables: Variables) -> Any:
    return {"serverInfo": {"features": []}}


def upsert_sweep(backend: Backend, variables: Variables) -> Any:
    entity = backend.check_entity(variables.get("entityName"))
    identifier = variables.get("id")
    if identifier is not None:
        sweep = next(
            each for each in backend.sweeps.values() if _identifier("Sweep", each.name) == identifier
        )
    else:
        project = variables.get("projectName") or "uncategorized"
        config = parse_sweep_config(variables["config"])
        sweep = Sweep(entity, project, new_id(), config)
        backend.sweeps[sweep.name] = sweep
    if variables.get("state"):
        sweep.state = variables["state"]
    for prior in json.loads(variables.get("priorRunsFilters") or '{"$or": []}')["$or"]:
        run = backend.runs.get((sweep.entity, sweep.project, prior["name"]))
        if run is not None:
            run.sweep = sweep.name
    return {"upsertSweep": {"sweep": _sweep(backend, sweep), "configValidationWarnings": []}}


def create_agent(backend: Backend, variables: Variables) -> Any:
    sweep = backend.find_sweep(variables["sweep"], variables.get("entityName"), variables.get("projectName"))
    agent = new_id()
    backend.agents[agent] = sweep.name
    return {"createAgent": {"agent": {"id": agent}}}


def heartbeat(backend: Backend, variables: Variables) -> Any:
    agent = variables["id"]
    if agent not in backend.agents:
        raise Refused(404, "agent not found")
    commands = backend.next_command(agent, json.loads(variables.get("runState") or "{}"))
    return {"agentHeartbeat": {"agent": {"id": agent}, "commands": json.dumps(commands)}}


def upsert_bucket(backend: Backend, variables: Variables) -> Any:
    if variables.get("id") and not variables.get("name"):
        run = backend.run(_plain(variables["id"]))
    else:
        entity = backend.check_entity(variables.get("entity"))
        project = variables.get("project") or "uncategorized"
        key = (entity, project, variables["name"])
        if variables.get("sweep"):
            backend.find_sweep(variables["sweep"], entity, project)
        run = backend.runs.setdefault(key, Run(*key))
    for name, variable in (
        ("display_name", "displayName"), ("group", "groupName"), ("job_type", "jobType"), ("tags", "tags"),
        ("sweep", "sweep"), ("notes", "notes"),
    ):  # fmt: skip
        if variables.get(variable):
            setattr(run, name, variables[variable])
    if variables.get("config"):
        run.config = json.loads(variables["config"])
    if variables.get("summaryMetrics"):
        run.summary = json.loads(variables["summaryMetrics"])
    run.state = variables.get("state") or "running"
    if variables.get("host"):  # the SDK names the host when it starts a run, not when it updates one
        backend.begin_run(run)
    return {"upsertBucket": {"bucket": _run(backend, run), "inserted": run.starts == 1}}


def run_resume_status(backend: Backend, variables: Variables) -> Any:
    entity = backend.check_entity(variables.get("entity"))
    run = backend.runs.get((entity, variables.get("project") or "uncategorized", variables["name"]))
    if run is not None:
        run.resuming = True
    model = _project(variables.get("project"), entity)
    return {"model": {**model, "bucket": None if run is None else _run(backend, run)}}


def run(backend: Backend, variables: Variables) -> Any:
    entity = backend.check_entity(variables.get("entity"))
    name = variables.get("name") or variables.get("run") or variables.get("runName")
    found = backend.runs.get((entity, variables.get("project"), name))
    return {"project": {**_project(variables.get("project"), entity), "run": found and _run(backend, found)}}


def runs(backend: Backend, variables: Variables) -> Any:
    entity = backend.check_entity(variables.get("entity"))
    wanted = json.loads(variables.get("filters") or "{}")
    found = [
        run
        for run in backend.runs.values()
        if (run.entity, run.project) == (entity, variables.get("project")) and _matches(backend, run, wanted)
    ]
    first = int(variables.get("cursor") or 0)
    last = first + (variables.get("perPage") or 50)
    edges = [
        {"node": _run(backend, run), "cursor": str(number)}
        for number, run in enumerate(found[first:last], start=first + 1)
    ]
    page = {"endCursor": str(min(last, len(found))), "hasNextPage": last < len(found)}
    listed = {"edges": edges, "pageInfo": page, "totalCount": len(found)}
    project = _project(variables.get("project"), entity)
    return {"project": {**project, "runCount": len(found), "readOnly": False, "runs": listed}}


def sweep(backend: Backend, variables: Variables) -> Any:
    entity = backend.check_entity(variables.get("entity"))
    found = backend.sweeps.get(variables.get("name") or variables.get("sweep"))
    project = _project(variables.get("project"), entity)
    return {"project": {**project, "sweep": found and _sweep(backend, found)}}


def history(backend: Backend, variables: Variables) -> Any:
    found = run(backend, variables)["project"]["run"]
    logged = backend.run(found["name"]).history
    low, high = variables.get("minStep") or 0, variables.get("maxStep") or float("inf")
    lines = [json.dumps(line) for line in logged if low <= line["_step"] < high]
    return {"project": {"run": {**found, "history": lines, "sampledHistory": [logged]}}}


def create_run_files(backend: Backend, variables: Variables) -> Any:
    files = [{"name": name, "uploadUrl": f"{{base}}/upload/{name}"} for name in variables["files"]]
    return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}


def organization(backend: Backend, variables: Variables) -> Any:
    return {"entity": {"organization": None}}


def delete_run(backend: Backend, variables: Variables) -> Any:
    found = backend.run(_plain(variables["id"]))
    del backend.runs[found.entity, found.project, found.name]
    return {"deleteRun": {"clientMutationId": None}}


OPERATIONS: dict[str, Callable[[Backend, Variables], Any]] = {
    "Viewer": viewer, "GetViewer": viewer, "GetDefaultEntity": viewer, "ServerFeaturesQuery": server_features,
    "UpsertSweep": upsert_sweep, "CreateAgent": create_agent, "Heartbeat": heartbeat,
    "UpsertBucket": upsert_bucket, "RunResumeStatus": run_resume_status, "Run": run, "RunState": run,
    "Runs": runs, "GetSweep": sweep, "SweepWithRuns": sweep, "GetSweepState": sweep,
    "RunHistoryKeys": run, "OrganizationCoreWeaveOrganizationID": organization, "RunFullHistory": history,
    "RunSampledHistory": history, "HistoryPage": history,
    "CreateRunFiles": create_run_files, "DeleteRun": delete_run,
}  # fmt: skip


def _identifier(kind: str, name: str) -> str:
    return base64.b64encode(f"{kind}:{name}".encode()).decode()


def _plain(identifier: str) -> str:
    return base64.b64decode(identifier).decode().partition(":")[2]


def _project(name: str | None, entity: str) -> dict[str, Any]:
    return {"id": "UDox", "internalId": "1", "name": name, "entity": {"id": "RTox", "name": entity}}


def _run(backend: Backend, run: Run) -> dict[str, Any]:
    def tail(stream: str) -> str:
        return json.dumps(run.streams.get(stream, [])[-1:])

    def count(stream: str) -> int:
        return len(run.streams.get(stream, []))

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
        "description": None,
        "commit": None,
        "readOnly": False,
        "createdAt": run.created,
        "heartbeatAt": run.created,
        "config": json.dumps(run.config),
        "summaryMetrics": json.dumps(run.summary),
        "systemMetrics": "{}",
        "historyKeys": {"lastStep": run.steps[-1] if run.history else -1, "keys": {}},
        "historyTail": tail("wandb-history.jsonl"),
        "eventsTail": tail("wandb-events.jsonl"),
        "historyLineCount": count("wandb-history.jsonl"),
        "eventsLineCount": count("wandb-events.jsonl"),
        "logLineCount": count("output.log"),
        "wandbConfig": json.dumps({"t": {}} if run.starts else {}),
        "user": {"name": DEFAULT_ENTITY, "username": DEFAULT_ENTITY},
        "project": _project(run.project, run.entity),
        "stopped": run.stop_asked,
    }


def _sweep(backend: Backend, sweep: Sweep) -> dict[str, Any]:
    members = backend.runs_of(sweep.name)
    return {
        "__typename": "Sweep",
        "id": _identifier("Sweep", sweep.name),
        "name": sweep.name,
        "displayName": sweep.config.get("name"),
        "method": sweep.config["method"],
        "state": sweep.state,
        "description": None,
        "bestLoss": None,
        "config": yaml.safe_dump(sweep.config),
        "createdAt": "2026-01-01T00:00:00",
        "updatedAt": None,
        "runCount": len(members),
        "runCountExpected": None,
        "project": _project(sweep.project, sweep.entity),
        "runs": {"edges": [{"node": _run(backend, run)} for run in members]},
    }


def _matches(backend: Backend, run: Run, wanted: Any) -> bool:
    """Tell whether a run matches a filter in MongoDB's query language, as far as it is used here."""
    for key, value in wanted.items():
        if key == "$and":
            fits = all(_matches(backend, run, each) for each in value)
        elif key == "$or":
            fits = any(_matches(backend, run, each) for each in value)
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
    found: Any = run.values
    for part in (part for part in rest if part != "value"):
        found = found.get(part) if isinstance(found, dict) else None
    return found
