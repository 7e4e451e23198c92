"""Artifacts, as far as checkpoints need them: logged by a run, found by their alias, downloaded, deleted.

The operations are answered by their names, and not held against a schema.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

_MANIFEST = "wandb_manifest.json"


@dataclass
class Artifact:
    """A version of an artifact; `files` holds what was uploaded, the manifest too, by its name."""

    entity: str
    project: str
    name: str
    kind: str
    digest: str
    index: int
    state: str = "PENDING"
    aliases: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def identifier(self) -> str:
        """Its id."""
        return _plain_id(f"Artifact:{self.entity}:{self.project}:{self.name}:{self.index}")


class Artifacts:
    """All artifacts; files go to and come from addresses below the service's own."""

    def __init__(self) -> None:
        self.versions: list[Artifact] = []

    def named(self, name: str) -> list[Artifact]:
        """List the committed versions with this name, oldest first."""
        return [each for each in self.versions if each.name == name and each.state == "COMMITTED"]

    def upload(self, path: str, content: bytes) -> None:
        """Take a file: `/artifact/ID/NAME`."""
        _, _, identifier, name = path.split("/", 3)
        self._by_id(identifier).files[name] = content

    def download(self, path: str) -> bytes:
        """Give a file that was uploaded."""
        _, _, identifier, name = path.split("/", 3)
        return self._by_id(identifier).files[name]

    def answer(self, url: str, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Answer one of the SDK's operations.

        Raises:
            LookupError: it is not known here.
        """
        if not hasattr(self, f"_{operation}"):
            raise LookupError(f"this server does not know {operation}")
        given = variables.get("input") or variables
        return {"data": getattr(self, f"_{operation}")(url, given)}

    def _by_id(self, identifier: str) -> Artifact:
        [found] = [each for each in self.versions if each.identifier == identifier]
        return found

    def _find(self, given: dict[str, Any]) -> Artifact | None:
        name, _, alias = given["name"].partition(":")
        for each in reversed(self.named(name)):
            is_there = (each.entity, each.project) == (given["entity"], given["project"])
            if is_there and alias in (*each.aliases, f"v{each.index}"):
                return each
        return None

    def _CreateArtifact(self, url: str, given: dict[str, Any]) -> Any:
        name = given["artifactCollectionName"]
        former = [each for each in self.versions if each.name == name]
        same = [each for each in self.named(name) if each.digest == given["digest"]]
        made = same[0] if same else Artifact(
            given["entityName"], given["projectName"], name, given["artifactTypeName"], given["digest"],
            max((each.index for each in former), default=-1) + 1,
        )  # fmt: skip
        if not same:
            self.versions.append(made)
        for each in former:
            each.aliases = []
        made.aliases = [alias["alias"] for alias in given["aliases"]]
        latest = {"id": made.identifier} if same else None
        described = {
            "id": made.identifier,
            "state": made.state,
            "artifactSequence": {"latestArtifact": latest},
        }
        return {"createArtifact": {"artifact": described}}

    def _CreateArtifactManifest(self, url: str, given: dict[str, Any]) -> Any:
        address = f"{url}/artifact/{given['artifactID']}/{_MANIFEST}"
        file = {"id": "RmlsZQ", "uploadUrl": address, "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": "TWFuaWZlc3Q", "file": file}}}

    def _CreateArtifactFiles(self, url: str, given: dict[str, Any]) -> Any:
        nodes = [
            {
                "id": "RmlsZQ", "name": each["name"], "displayName": each["name"], "uploadHeaders": [],
                "uploadUrl": f"{url}/artifact/{each['artifactID']}/{each['name']}",
                "uploadMultipartUrls": None, "storagePath": each["name"],
                "artifact": {"id": each["artifactID"]},
            }
            for each in given["artifactFiles"]
        ]  # fmt: skip
        return {"createArtifactFiles": {"files": {"edges": [{"node": node} for node in nodes]}}}

    def _CommitArtifact(self, url: str, given: dict[str, Any]) -> Any:
        artifact = self._by_id(given["artifactID"])
        artifact.state = "COMMITTED"
        return {"commitArtifact": {"artifact": {"id": artifact.identifier, "digest": artifact.digest}}}

    def _DeleteArtifact(self, url: str, given: dict[str, Any]) -> Any:
        artifact = self._by_id(given["artifactID"])
        self.versions.remove(artifact)
        return {"deleteArtifact": {"artifact": {"id": artifact.identifier}, "success": True}}

    def _ArtifactByID(self, url: str, given: dict[str, Any]) -> Any:
        return {"artifact": _described(self._by_id(given["id"]))}

    def _ArtifactType(self, url: str, given: dict[str, Any]) -> Any:
        found = self._find(given)
        kind = found and {"artifactType": {"name": found.kind}}
        return {"project": {"artifact": kind}}

    def _ArtifactMembershipByName(self, url: str, given: dict[str, Any]) -> Any:
        found = self._find(given)
        if found is None:
            return {"project": {"artifactCollectionMembership": None}}
        membership = {
            "__typename": "ArtifactCollectionMembership",
            "id": "TWVtYmVy",
            "versionIndex": found.index,
            "createdAt": "2026-01-01T00:00:00",
            "aliases": _aliases(found),
            "artifactCollection": _sequence(found),
            "artifact": _described(found),
        }
        return {"project": {"artifactCollectionMembership": membership}}

    def _FetchArtifactManifest(self, url: str, given: dict[str, Any]) -> Any:
        artifact = self._by_id(given["id"])
        address = f"{url}/artifact/{artifact.identifier}/{_MANIFEST}"
        return {"artifact": {"currentManifest": {"file": {"directUrl": address}}}}

    def _GetArtifactMembershipFileUrls(self, url: str, given: dict[str, Any]) -> Any:
        found = self._find({**given, "name": f"{given['collection']}:{given['alias']}"})
        assert found is not None
        nodes = [
            {"__typename": "File", "name": name, "directUrl": f"{url}/artifact/{found.identifier}/{name}"}
            for name in found.files
            if name != _MANIFEST
        ]
        page = {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}
        files = {"pageInfo": page, "edges": [{"node": node} for node in nodes]}
        collection = {"__typename": "ArtifactSequence", "artifactMembership": {"files": files}}
        return {"project": {"artifactCollection": collection}}


def _sequence(artifact: Artifact) -> dict[str, Any]:
    project = {"id": "UDox", "internalId": "1", "name": artifact.project, "entity": {"name": artifact.entity}}
    return {"__typename": "ArtifactSequence", "name": artifact.name, "project": project}


def _aliases(artifact: Artifact) -> list[dict[str, str]]:
    return [{"__typename": "ArtifactAlias", "id": "QWxpYXM", "alias": alias} for alias in artifact.aliases]


def _described(artifact: Artifact) -> dict[str, Any]:
    return {
        "__typename": "Artifact",
        "id": artifact.identifier,
        "artifactSequence": _sequence(artifact),
        "versionIndex": artifact.index,
        "artifactType": {"name": artifact.kind},
        "description": None,
        "metadata": None,
        "ttlDurationSeconds": -1,
        "ttlIsInherited": True,
        "tags": [],
        "historyStep": None,
        "state": artifact.state,
        "size": str(sum(map(len, artifact.files.values()))),
        "digest": artifact.digest,
        "commitHash": artifact.digest,
        "fileCount": str(max(0, len(artifact.files) - 1)),
        "createdAt": "2026-01-01T00:00:00",
        "updatedAt": None,
        "aliases": [{**each, "artifactCollection": _sequence(artifact)} for each in _aliases(artifact)],
    }


def _plain_id(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")
