"""Keeps a local copy of one resource as true as a watch can make it: the one class behind jobs, pods and nodes.

kopf's index is not used: after `410 Gone` it replays the survivors only, so that an object that vanished in the gap
stays in it for ever, and its start-up is quadratic. Here a relist *replaces* the copy and what is missing from it is
announced as deleted.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Protocol

from dtj_api import bounds
from dtj_operator.kube import errors
from dtj_operator.kube.client import KubeClient, Object
from dtj_operator.kube.resources import Resource
from dtj_operator.observe.indexer import Change, Entry, Indexer, Key, R, newer

BACKOFF = 0.5
BACKOFF_CAP = 20.0
SHORT_WATCH = 1.0
"""Seconds: a watch that ended sooner and brought nothing is no better than one that was refused."""

logger = logging.getLogger(__name__)


class WatchObserver(Protocol):
    """Told about the health of a watch, for the metrics."""

    def event(self, kind: str) -> None:
        """Something arrived, a bookmark included."""

    def restarted(self, kind: str, reason: str) -> None:
        """A watch ended and is begun anew: `expired`, `closed` or `error`."""


class Reflector(Indexer[R]):
    """The objects of one resource in one namespace (None: all), narrowed by labels at the server.

    Args:
        client: where to list and watch.
        resource: what.
        namespace: None for all namespaces.
        trim: what to keep of an object, see `Indexer`.
        on_change: called for each change, see `Indexer`.
        labels: label that they must have, applied by the server; empty: all.
        page: objects that are listed at once.
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
        page: int = bounds.OBJECTS_A_PAGE,
        observer: WatchObserver | None = None,
    ) -> None:
        super().__init__(resource, trim=trim, on_change=on_change, labels=labels)
        self._client = client
        self._namespace = namespace
        self._page = page
        self._observer = observer
        self._version = ""
        self._failures = 0
        """Times in a row that the watch ended soon and had brought nothing."""
        self.synced = asyncio.Event()
        """Set once the first list is complete."""
        self.last_event = time.monotonic()
        """When something last arrived, on the monotonic clock."""

    def hear(self, item: Object) -> None:
        """Take over an object that another watch brought, if it is newer than all that this copy knows of it."""
        if not self.synced.is_set() or (found := self._read(item)) is None:
            return
        key, entry = found
        old = self._store.get(key)
        known = old.version if old and old.uid == entry.uid else self._version
        if not known or not newer(entry.version, known):
            return
        if old and old.uid != entry.uid:
            self._drop(key)
        self._put(key, entry)

    def expire(self) -> None:
        """Begin with a list when it runs next: what is known now may be old. Not while it runs."""
        self._version = ""
        self.synced.clear()

    async def run(self) -> None:
        """List and watch until cancelled. Faults of the server are waited out; only a defect ends it."""
        while True:
            try:
                if not self._version:
                    await self._list()
                await self._watch()
                reason = "closed"
            except errors.Gone:
                self._version = ""
                reason = "expired"
            except errors.KubeError as error:
                reason = "error"
                logger.warning("watch of %s: %s", self.resource.plural, error)
            if self._observer:
                self._observer.restarted(self.resource.kind, reason)
            self._failures += 1
            if reason != "closed" or self._failures > 1:
                times = 2 ** min(self._failures - 1, 10)
                await asyncio.sleep(min(BACKOFF_CAP, BACKOFF * times) * random.uniform(0.1, 1.0))

    async def _list(self) -> None:
        present: dict[Key, Entry[R]] = {}
        token, limit = "", self._page
        while True:
            try:
                page = await self._client.list_page(
                    self.resource, self._namespace, labels=self._labels, limit=limit, token=token
                )
            except errors.TooLarge:
                if limit == 1:
                    raise
                limit = max(1, limit // 2)
                continue
            for item in page["items"]:
                if (found := self._read(item)) is not None:
                    present[found[0]] = found[1]
                # A page of the largest objects takes some time, and others have something to do too.
                await asyncio.sleep(0)
            token = page["metadata"].get("continue") or ""
            if not token:
                break
        self._replace(present)
        self._version = page["metadata"]["resourceVersion"]
        self.last_event = time.monotonic()
        self.synced.set()

    async def _watch(self) -> None:
        opened: list[float] = []
        stream = self._client.watch(
            self.resource,
            self._namespace,
            version=self._version,
            labels=self._labels,
            opened=lambda: opened.append(time.monotonic()),
        )
        try:
            async for event in stream:
                self.last_event = time.monotonic()
                if self._observer:
                    self._observer.event(self.resource.kind)
                self._apply(str(event["type"]), event["object"])
        finally:
            # A proxy that cuts whatever is silent for half a minute is no reason to be blind for longer each time.
            if opened and time.monotonic() - opened[0] > SHORT_WATCH:
                self._failures = 0

    def _apply(self, kind: str, item: Object) -> None:
        if kind == "ERROR":
            call = f"WATCH {self.resource.plural}"
            code = item.get("code")
            raise errors.from_answer(call, code if isinstance(code, int) else 500, item)
        metadata = item.get("metadata")
        version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
        if isinstance(version, str) and version.isdecimal():
            self._version = version
        self._failures = 0
        if kind == "BOOKMARK":
            return
        if (found := self._read(item)) is None:
            return
        key, entry = found
        known = self._store.get(key)
        self._adopted.pop(key, None)
        if kind == "DELETED":
            if known and known.uid == entry.uid:
                self._drop(key)
        elif known is None or known.uid != entry.uid:
            if known:
                self._drop(key)
            self._put(key, entry)
        elif not newer(known.version, entry.version):
            self._put(key, entry)
