"""A local copy of one resource's objects, by key and by their controller, of what a watch brings and what others learn.

Records are trimmed on arrival, one object after the other, which keeps ten thousand pods under a hundred megabytes. An
object that cannot be read is one object that cannot be read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, TypeVar

from dtj_operator.kube.client import Object
from dtj_operator.kube.resources import Resource

R = TypeVar("R")
Key = tuple[str, str]
"""Namespace (empty for cluster-wide objects) and name."""

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


@dataclass(frozen=True)
class Entry(Generic[R]):
    """What is kept of one object."""

    uid: str
    version: str
    owner: str | None
    record: R


class Indexer(Generic[R]):
    """The copy, and who is told of its changes.

    Args:
        resource: what.
        trim: what to keep of an object. It must not keep a reference to the whole. An object for which it raises is
            kept as it was before, or not at all.
        on_change: called synchronously for each change; it must be quick and must not raise.
        labels: label that those have which a watch brings; empty: all have.
    """

    def __init__(
        self,
        resource: Resource,
        *,
        trim: Callable[[Object], R],
        on_change: Callable[[Change[R]], None],
        labels: str = "",
    ) -> None:
        self.resource = resource
        self._trim = trim
        self._on_change = on_change
        self._labels = labels
        self._store: dict[Key, Entry[R]] = {}
        self._owned: dict[str, dict[Key, R]] = {}
        self._adopted: dict[Key, str] = {}
        """Of what no watch brings: key and uid."""

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
        found = self._read(item)
        known = self._store.get(found[0]) if found else None
        if found and known and known.uid == found[1].uid and newer(found[1].version, known.version):
            self._put(*found)

    def adopt(self, item: Object) -> None:
        """Take in an object that the server answered and no watch brings, since somebody took our label from it.

        One that has the label is left to the watch. Nobody tells what becomes of the other: ask, and come again or
        `disown` it.
        """
        if self._labels and self._labels in (item["metadata"].get("labels") or {}):
            return
        if (found := self._read(item)) is None:
            return
        key, entry = found
        known = self._store.get(key)
        if known and known.uid != entry.uid:
            self._drop(key)
        self._adopted[key] = entry.uid
        self._put(key, entry)

    def disown(self, key: Key) -> None:
        """What was adopted is gone."""
        if key in self._store and self._adopted.get(key) == self._store[key].uid:
            self._drop(key)

    def adopted(self, owner: str) -> list[Key]:
        """Keys of what was adopted and is controlled by this uid."""
        return [key for key in self._adopted if key in self._owned.get(owner, {})]

    def _replace(self, present: dict[Key, Entry[R]]) -> None:
        for key, entry in list(self._store.items()):
            there = key in present and present[key].uid == entry.uid
            if not there and self._adopted.get(key) != entry.uid:
                self._drop(key)
        for key, entry in present.items():
            known = self._store.get(key)
            if known is None or not newer(known.version, entry.version):
                self._put(key, entry)

    def _read(self, item: Object) -> tuple[Key, Entry[R]] | None:
        """What is kept of an object. None: nothing, for it cannot be read."""
        try:
            key, uid = _identity(item)
            version = _version_of(item)
            int(version), hash((key, uid))
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            logger.error("an object among %s has no identity: %r", self.resource.plural, error)
            return None
        known = self._store.get(key)
        if known and (known.uid, known.version) == (uid, version):
            return key, known
        try:
            return key, Entry(uid, version, controller_of(item), self._trim(item))
        except Exception:
            # No list of kinds of errors is whole here: an object is whatever a tenant wrote. It is in this one alone;
            # to end would hide all the others.
            logger.exception("%s %s cannot be read, and is left as it was", self.resource.kind, "/".join(key))
            return (key, replace(known, version=version)) if known and known.uid == uid else None

    def _put(self, key: Key, entry: Entry[R]) -> None:
        before = self._store.get(key)
        if before and (before.uid, before.version) == (entry.uid, entry.version):
            return
        if before and before.owner and before.owner != entry.owner:
            self._leave_owner(before.owner, key)
        self._store[key] = entry
        if entry.owner:
            self._owned.setdefault(entry.owner, {})[key] = entry.record
        old = before.record if before else None
        self._on_change(Change("MODIFIED" if before else "ADDED", key, entry.uid, entry.owner, old, entry.record))

    def _drop(self, key: Key) -> None:
        entry = self._store.pop(key)
        self._adopted.pop(key, None)
        if entry.owner:
            self._leave_owner(entry.owner, key)
        self._on_change(Change("DELETED", key, entry.uid, entry.owner, entry.record, None))

    def _leave_owner(self, owner: str, key: Key) -> None:
        siblings = self._owned.get(owner, {})
        siblings.pop(key, None)
        if not siblings:
            self._owned.pop(owner, None)


def controller_of(item: Object) -> str | None:
    """Uid of the controller in the owner references."""
    references: list[dict[str, Any]] = item["metadata"].get("ownerReferences") or []
    return next((str(reference["uid"]) for reference in references if reference.get("controller")), None)


def _identity(item: Object) -> tuple[Key, str]:
    metadata = item["metadata"]
    return (metadata.get("namespace") or "", metadata["name"]), metadata["uid"]


def _version_of(item: Object) -> str:
    return str(item["metadata"]["resourceVersion"])


def newer(left: str, right: str) -> bool:
    """Whether one resourceVersion is later. Kubernetes documents them as comparable integers."""
    return int(left) > int(right)
