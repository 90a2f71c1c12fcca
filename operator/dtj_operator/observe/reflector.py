"""A local copy of one resource, as true as a watch can make it: the one class behind jobs, pods and nodes.

kopf's index is not used: after `410 Gone` it replays the survivors only, so that an object that vanished in the gap
stays in it for ever, and its start-up is quadratic. Here a relist *replaces* the store and what is missing from it is
announced as deleted. Records are trimmed on arrival, which keeps ten thousand pods under a hundred megabytes.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from dtj_operator.kube import errors
from dtj_operator.kube.client import KubeClient, Object
from dtj_operator.kube.resources import Resource

R = TypeVar("R")
Key = tuple[str, str]
"""Namespace (empty for cluster-wide objects) and name."""

BACKOFF = 0.5
BACKOFF_CAP = 20.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Change(Generic[R]):
    """One object came, changed or went. `new` is None when it went, `old` when it came."""

    type: Literal["ADDED", "MODIFIED", "DELETED"]
    key: Key
    uid: str
    owner: str | None
    """Uid of its controller."""
    old: R | None
    new: R | None


class WatchObserver(Protocol):
    """Told about the health of a watch, for the metrics."""

    def event(self, kind: str) -> None:
        """Something arrived, a bookmark included."""

    def restarted(self, kind: str, reason: str) -> None:
        """A watch ended and is begun anew: `expired`, `closed` or `error`."""


@dataclass(frozen=True)
class _Entry(Generic[R]):
    uid: str
    version: str
    owner: str | None
    record: R


class Reflector(Generic[R]):
    """The objects of one resource in one namespace (None: all), narrowed by labels at the server.

    Args:
        client: where to list and watch.
        resource: what.
        namespace: None for all namespaces.
        trim: what to keep of an object. It must not keep a reference to the whole.
        on_change: called synchronously for each change; it must be quick and must not raise.
        labels: label selector, applied by the server.
        observer: told about the watch's health.
    """

    def __init__(
        self,
        client: KubeClient,
        resource: Resource,
        *,
        trim: Callable[[Object], R],
        on_change: Callable[[Change[R]], None],
        namespace: str | None = None,
        labels: str = "",
        observer: WatchObserver | None = None,
    ) -> None:
        self._client = client
        self.resource = resource
        self._namespace = namespace
        self._labels = labels
        self._trim = trim
        self._on_change = on_change
        self._observer = observer
        self._store: dict[Key, _Entry[R]] = {}
        self._owned: dict[str, dict[Key, R]] = {}
        self._version = ""
        self.synced = asyncio.Event()
        """Set once the first list is complete."""
        self.last_event = time.monotonic()
        """When something last arrived, on the monotonic clock."""

    def get(self, namespace: str, name: str) -> R | None:
        """One record."""
        entry = self._store.get((namespace, name))
        return entry.record if entry else None

    def all_keys(self) -> list[Key]:
        """Keys of all objects."""
        return list(self._store)

    def values(self) -> Iterator[R]:
        """All records."""
        return (entry.record for entry in self._store.values())

    def owned_by(self, uid: str) -> list[R]:
        """Records whose controller has this uid, in no particular order."""
        return list(self._owned.get(uid, {}).values())

    def __len__(self) -> int:
        """Objects in the copy."""
        return len(self._store)

    def learn(self, item: Object) -> None:
        """Take over an object that the server answered to our own write, unless the copy is newer or it went."""
        key, uid = _identity(item)
        entry = self._store.get(key)
        if entry and entry.uid == uid and _newer(_version_of(item), entry.version):
            self._put(item)

    async def run(self) -> None:
        """List and watch until cancelled. Faults of the server are waited out; only a defect ends it."""
        failures = 0
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
                failures = 0
                reason = "closed"
            except errors.Gone:
                self._version = ""
                reason = "expired"
            except errors.KubeError as error:
                reason = "error"
                logger.warning("watch of %s: %s", self.resource.plural, error)
            if self._observer:
                self._observer.restarted(self.resource.kind, reason)
            if reason != "closed":
                failures += 1
                await asyncio.sleep(min(BACKOFF_CAP, BACKOFF * 2 ** min(failures - 1, 10)) * random.uniform(0.1, 1.0))

    async def _list(self) -> None:
        items: list[Object] = []
        token = ""
        while True:
            page = await self._client.list_page(self.resource, self._namespace, labels=self._labels, token=token)
            items += page.get("items") or []
            token = page["metadata"].get("continue") or ""
            if not token:
                break
        self._replace(items)
        self._version = page["metadata"]["resourceVersion"]
        self.last_event = time.monotonic()
        self.synced.set()

    def _replace(self, items: list[Object]) -> None:
        present = {_identity(item) for item in items}
        for key, entry in list(self._store.items()):
            if (key, entry.uid) not in present:
                self._drop(key)
        for item in items:
            self._put(item)

    async def _watch(self) -> None:
        async for event in self._client.watch(
            self.resource, self._namespace, version=self._version, labels=self._labels
        ):
            self.last_event = time.monotonic()
            if self._observer:
                self._observer.event(self.resource.kind)
            self._apply(str(event["type"]), event["object"])

    def _apply(self, kind: str, item: Object) -> None:
        if kind == "ERROR":
            call = f"WATCH {self.resource.plural}"
            raise errors.from_answer(call, int(item.get("code") or 500), item)
        self._version = _version_of(item)
        if kind == "BOOKMARK":
            return
        key, uid = _identity(item)
        entry = self._store.get(key)
        if kind == "DELETED":
            if entry and entry.uid == uid:
                self._drop(key)
            return
        if entry and entry.uid == uid and _newer(entry.version, _version_of(item)):
            return
        if entry and entry.uid != uid:
            self._drop(key)
        self._put(item)

    def _put(self, item: Object) -> None:
        key, uid = _identity(item)
        before = self._store.get(key)
        if before and before.uid == uid and before.version == _version_of(item):
            return
        owner = controller_of(item)
        record = self._trim(item)
        if before and before.owner and before.owner != owner:
            self._owned.get(before.owner, {}).pop(key, None)
        self._store[key] = _Entry(uid, _version_of(item), owner, record)
        if owner:
            self._owned.setdefault(owner, {})[key] = record
        self._on_change(
            Change("MODIFIED" if before else "ADDED", key, uid, owner, before.record if before else None, record)
        )

    def _drop(self, key: Key) -> None:
        entry = self._store.pop(key)
        if entry.owner:
            siblings = self._owned.get(entry.owner, {})
            siblings.pop(key, None)
            if not siblings:
                self._owned.pop(entry.owner, None)
        self._on_change(Change("DELETED", key, entry.uid, entry.owner, entry.record, None))


def controller_of(item: Object) -> str | None:
    """Uid of the controller in the owner references."""
    references: list[dict[str, Any]] = item["metadata"].get("ownerReferences") or []
    return next((str(reference["uid"]) for reference in references if reference.get("controller")), None)


def _identity(item: Object) -> tuple[Key, str]:
    metadata = item["metadata"]
    return (metadata.get("namespace") or "", metadata["name"]), metadata["uid"]


def _version_of(item: Object) -> str:
    return str(item["metadata"]["resourceVersion"])


def _newer(left: str, right: str) -> bool:
    """Whether one resourceVersion is later. Kubernetes documents them as comparable integers."""
    return int(left) > int(right)
