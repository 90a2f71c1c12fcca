"""An API server in memory, as honest as the tests need: uids, resourceVersions, conflicts, watches that expire, faults.

It implements `KubeClient`, so that whole reconciles run against it without a socket. Semantics of validation and
defaulting are the real API server's business (tests/cluster).
"""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from api_faults import Call, FaultOf, FaultyCall
from api_objects import as_selected, fill_in, prune, selected

from dtj_operator.kube import errors
from dtj_operator.kube.client import Object
from dtj_operator.kube.resources import EVENTS, JOBS, PODS, SERVICES, Resource


@dataclass
class FakeKube:
    """The server. `fault_of` is asked before each call."""

    fault_of: FaultOf = lambda call: None
    page_size: int = 500
    bookmark_seconds: float = 60.0
    """How long a watch is silent before it tells how far it is."""
    graceful: bool = False
    """Deleted pods that are on a node linger with a deletionTimestamp until `finish_deletions`."""
    admission: Callable[[Resource, Object], Any] = lambda resource, item: None
    """A mutating policy: may change what is created before it is stored."""
    prunes: tuple[str, ...] = ()
    """Fields of a status that the CRD does not know, as `store.unreached`: dropped without a word."""
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._objects: dict[tuple[Resource, str, str], Object] = {}
        self._version = 100
        self._uids = itertools.count(1)
        self._history: list[tuple[int, Resource, Object, Object | None]] = []
        """Version, resource, event, and the object as it was before."""
        self._compacted = 0
        self._snapshots: dict[str, tuple[int, list[Object]]] = {}
        # The pages of one list are of one moment, as the real server's are.
        self._changed = asyncio.Event()
        self._cut = 0
        self.created: list[tuple[Resource, str, str]] = []
        """Resource, name and uid of everything ever created, in order."""

    # What tests do to the cluster directly; no faults here.

    def put(self, resource: Resource, item: Object) -> Object:
        """Create or overwrite, as somebody else would. Spec changes bump the generation."""
        item = copy.deepcopy(item)
        metadata = item.setdefault("metadata", {})
        key = self._key(resource, metadata.get("namespace"), metadata["name"])
        old = self._objects.get(key)
        metadata["uid"] = old["metadata"]["uid"] if old else metadata.get("uid") or self._uid()
        metadata.setdefault("creationTimestamp", datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))
        changed = old is None or old.get("spec") != item.get("spec")
        metadata["generation"] = (old["metadata"].get("generation", 0) if old else 0) + int(changed)
        if old is None:
            self.created.append((resource, metadata["name"], metadata["uid"]))
        self._store(key, item, "MODIFIED" if old else "ADDED")
        return copy.deepcopy(item)

    def read(self, resource: Resource, name: str, namespace: str = "default") -> Object:
        """One object; KeyError when there is none."""
        return copy.deepcopy(self._objects[self._key(resource, namespace, name)])

    def all(self, resource: Resource) -> list[Object]:
        """All objects of a resource, by name."""
        found = [item for key, item in self._objects.items() if key[0] == resource]
        return copy.deepcopy(sorted(found, key=lambda item: str(item["metadata"]["name"])))

    def edit(
        self, resource: Resource, name: str, change: Callable[[Object], Any], namespace: str = "default"
    ) -> Object:
        """Change an object in place, status included."""
        item = self.read(resource, name, namespace)
        change(item)
        stored = self.put(resource, item)
        if item["metadata"].get("deletionGracePeriodSeconds") == 0 and not item["metadata"].get("finalizers"):
            self.remove(resource, name, namespace)
        return stored

    def remove(self, resource: Resource, name: str, namespace: str = "default") -> None:
        """The object vanishes; so do the children of a job."""
        self._remove(self._key(resource, namespace, name))

    def finish_deletions(self) -> None:
        """The kubelets report that the pods which are being deleted have ended."""
        for key, item in list(self._objects.items()):
            if "deletionTimestamp" in item["metadata"]:
                self._remove(key)

    def compact(self) -> None:
        """Forget the history: watches from before answer 410."""
        self._history.clear()
        self._compacted = self._version

    def cut_watches(self) -> None:
        """End all open watches, as a restarting API server does."""
        self._cut += 1
        self._wake()

    def writes(self) -> list[Call]:
        """The writes so far."""
        return [call for call in self.calls if call.is_write]

    # KubeClient

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """See `KubeClient`."""
        async with self._call("get", resource, namespace, name):
            return copy.deepcopy(self._find(resource, namespace, name))

    async def list_page(
        self, resource: Resource, namespace: str | None, *, labels: str = "", limit: int = 500, token: str = ""
    ) -> Object:
        """See `KubeClient`."""
        async with self._call("list", resource, namespace, ""):
            version, found = self._snapshots.get(token.partition("/")[0], (self._version, []))
            if not token:
                found = [
                    copy.deepcopy(item)
                    for key, item in sorted(self._objects.items(), key=lambda each: each[0][1:])
                    if key[0] == resource and namespace in (None, key[1]) and selected(item, labels)
                ]
                token = f"{len(self._snapshots)}/0"
                self._snapshots[token.partition("/")[0]] = (version, found)
            start, size = int(token.partition("/")[2]), min(limit, self.page_size)
            rest = f"{token.partition('/')[0]}/{start + size}" if start + size < len(found) else ""
            return {
                "metadata": {"resourceVersion": str(version), "continue": rest},
                "items": copy.deepcopy(found[start : start + size]),
            }

    async def watch(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        version: str,
        labels: str = "",
        opened: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[Object]:
        """See `KubeClient`."""
        async with self._call("watch", resource, namespace, ""):
            pass
        if int(version) < self._compacted:
            raise errors.Gone("WATCH", "too old resource version")
        opened()
        at, cut = int(version), self._cut
        while self._cut == cut:
            if at < self._compacted:
                yield {"type": "ERROR", "object": {"kind": "Status", "code": 410, "message": "too old"}}
                return
            news = [each for each in self._history if each[0] > at]
            for number, kind, event, before in news:
                at = number
                if kind == resource and namespace in (None, _namespace(event["object"])):
                    told = as_selected(event, before, labels)
                    if told is not None:
                        yield copy.deepcopy(told)
            if news:
                continue
            self._changed.clear()
            try:
                async with asyncio.timeout(self.bookmark_seconds):
                    await self._changed.wait()
            except TimeoutError:
                yield {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(self._version)}}}

    async def create(self, resource: Resource, namespace: str | None, body: Object, *, dry_run: bool = False) -> Object:
        """See `KubeClient`."""
        name = body["metadata"]["name"]
        async with self._call("create", resource, namespace, name, dry_run):
            key = self._key(resource, namespace, name)
            if key in self._objects:
                raise errors.AlreadyExists("POST", f"{name} already exists")
            if resource == EVENTS and len(str(body.get("note", "")).encode()) > 1024:
                raise errors.Invalid("POST", "note: can have at most 1024 bytes")
            if dry_run:
                return copy.deepcopy(body)
            item = copy.deepcopy({**body, "metadata": {**body["metadata"], "namespace": namespace}})
            if resource == SERVICES:
                fill_in(item["spec"])
            self.admission(resource, item)
            return self.put(resource, item)

    async def replace(
        self, resource: Resource, namespace: str | None, name: str, body: Object, *, subresource: str | None = None
    ) -> Object:
        """See `KubeClient`."""
        async with self._call("replace", resource, namespace, name):
            old = self._find(resource, namespace, name)
            if body["metadata"].get("resourceVersion") != old["metadata"]["resourceVersion"]:
                raise errors.Conflict("PUT", f"{name}: the object has been modified")
            new = copy.deepcopy(old)
            if subresource == "status":
                new["status"] = copy.deepcopy(body["status"])
                for path in self.prunes:
                    prune(new["status"], path.split("."))
            else:
                new = copy.deepcopy(body)
                new["metadata"]["uid"] = old["metadata"]["uid"]
            return self.put(resource, new)

    async def delete(
        self, resource: Resource, namespace: str | None, name: str, *, uid: str, grace_seconds: int | None = None
    ) -> None:
        """See `KubeClient`."""
        async with self._call("delete", resource, namespace, name):
            item = self._find(resource, namespace, name)
            if item["metadata"]["uid"] != uid:
                raise errors.Conflict("DELETE", f"{name}: the uid differs")
            lingers = (
                self.graceful and resource == PODS and grace_seconds != 0 and (item.get("spec") or {}).get("nodeName")
            )
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            if lingers:
                self.edit(resource, name, lambda it: it["metadata"].update(deletionTimestamp=now), namespace or "")
            elif not item["metadata"].get("finalizers"):
                self._remove(self._key(resource, namespace, name))
            elif item["metadata"].get("deletionGracePeriodSeconds") != 0:
                at = {"deletionTimestamp": now, "deletionGracePeriodSeconds": 0}
                self.edit(resource, name, lambda it: it["metadata"].update(at), namespace or "")

    # Inside

    def _call(
        self, verb: str, resource: Resource, namespace: str | None, name: str, dry_run: bool = False
    ) -> FaultyCall:
        return FaultyCall(Call(verb, resource, namespace or "", name, dry_run), self.calls, self.fault_of)

    def _key(self, resource: Resource, namespace: str | None, name: str) -> tuple[Resource, str, str]:
        return resource, (namespace or "") if resource.namespaced else "", name

    def _find(self, resource: Resource, namespace: str | None, name: str) -> Object:
        try:
            return self._objects[self._key(resource, namespace, name)]
        except KeyError:
            raise errors.NotFound("GET", f"{resource.plural} {name} not found") from None

    def _uid(self) -> str:
        return f"00000000-0000-4000-8000-{next(self._uids):012d}"

    def _store(self, key: tuple[Resource, str, str], item: Object, kind: str) -> None:
        self._version += 1
        item["metadata"]["resourceVersion"] = str(self._version)
        before = self._objects.get(key)
        self._objects[key] = item
        self._history.append((self._version, key[0], {"type": kind, "object": copy.deepcopy(item)}, before))
        self._wake()

    def _remove(self, key: tuple[Resource, str, str]) -> None:
        item = self._objects.pop(key)
        self._version += 1
        item["metadata"]["resourceVersion"] = str(self._version)
        self._history.append((self._version, key[0], {"type": "DELETED", "object": copy.deepcopy(item)}, item))
        self._wake()
        if key[0] == JOBS:
            uid = item["metadata"]["uid"]
            for child, other in list(self._objects.items()):
                if any(owner["uid"] == uid for owner in other["metadata"].get("ownerReferences") or []):
                    self._remove(child)

    def _wake(self) -> None:
        self._changed.set()


def _namespace(item: Object) -> str:
    return str(item["metadata"].get("namespace") or "")
