"""One resource in the namespaces that are served, read as one: a watch for each, since a role holds for one of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from dtj_operator.kube.client import Object
from dtj_operator.observe.indexer import Key
from dtj_operator.observe.reflector import Reflector

R = TypeVar("R")


class Scopes(Generic[R]):
    """The objects of one resource.

    Args:
        make: makes the watch of one namespace; None: of all.
        namespaces: those that are served; none: all.
    """

    def __init__(self, make: Callable[[str | None], Reflector[R]], namespaces: Sequence[str]) -> None:
        scopes: Sequence[str | None] = namespaces or (None,)
        self._by_namespace = {each: make(each) for each in scopes}
        self.reflectors = tuple(self._by_namespace.values())
        """Each wants its `run` to be run."""
        self.resource = self.reflectors[0].resource

    def get(self, namespace: str, name: str) -> R | None:
        """One record."""
        found = self._of(namespace)
        return found.get(namespace, name) if found is not None else None

    def all_keys(self) -> list[Key]:
        """Keys of all objects."""
        return [key for each in self.reflectors for key in each.all_keys()]

    def values(self) -> Iterator[R]:
        """All records."""
        return (record for each in self.reflectors for record in each.values())

    def owned_by(self, uid: str) -> list[R]:
        """Records whose controller has this uid, in no particular order."""
        return [record for each in self.reflectors for record in each.owned_by(uid)]

    def __len__(self) -> int:
        """Objects in all copies."""
        return sum(len(each) for each in self.reflectors)

    @property
    def last_event(self) -> float:
        """When something last arrived in the scope that is silent for longest, on the monotonic clock."""
        return min(each.last_event for each in self.reflectors)

    def learn(self, item: Object) -> None:
        """Take over an object that the server answered to our own write, see `Reflector.learn`."""
        if (found := self._of(item["metadata"].get("namespace") or "")) is not None:
            found.learn(item)

    def hear(self, item: Object) -> None:
        """Take over an object that another watch brought, see `Reflector.hear`."""
        if (found := self._of(item["metadata"].get("namespace") or "")) is not None:
            found.hear(item)

    def adopt(self, item: Object) -> None:
        """Take in an object that no watch will bring, see `Reflector.adopt`."""
        if (found := self._of(item["metadata"].get("namespace") or "")) is not None:
            found.adopt(item)

    def _of(self, namespace: str) -> Reflector[R] | None:
        return self._by_namespace.get(None if None in self._by_namespace else namespace)
