"""What we have done and not yet seen: a job is not planned again before its own creates and deletes arrive.

A watch lags behind the writes of its own process. Planning from the copy in between would count a pod that is being
deleted, or create one twice (harmless under deterministic names, yet wrong in the counts). The trap within: the watch
may be faster than the answer to a create, and a late event of the name's previous holder must not pass for the new
pod; so a name is expected before the call and its uid is compared after it. An expectation that is not met in time is
dropped: a relist sets right what the watch did not bring.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from dtj_operator.kube.resources import Resource

TIMEOUT = 30.0


@dataclass
class _Create:
    until: float
    uid: str = ""
    """Empty until the create is answered."""
    seen: set[str] = field(default_factory=set)
    """Uids that the watch brought under this name before the answer."""


@dataclass
class _Expected:
    creates: dict[tuple[Resource, str], _Create] = field(default_factory=dict)
    deletes: dict[str, float] = field(default_factory=dict)


class Expectations:
    """Expected changes of children, by the uid of the job that controls them."""

    def __init__(self, timeout: float = TIMEOUT, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout = timeout
        self._clock = clock
        self._jobs: dict[str, _Expected] = {}

    def expect_create(self, job: str, resource: Resource, name: str) -> None:
        """Say so *before* the call."""
        self._jobs.setdefault(job, _Expected()).creates[resource, name] = _Create(self._clock() + self._timeout)

    def created(self, job: str, resource: Resource, name: str, uid: str) -> None:
        """The create was answered: the object has this uid."""
        expected = self._jobs.get(job)
        create = expected.creates.get((resource, name)) if expected else None
        if expected is None or create is None:
            return
        create.uid = uid
        if uid in create.seen:
            del expected.creates[resource, name]
            self._tidy(job)

    def not_created(self, job: str, resource: Resource, name: str) -> None:
        """The create certainly did not happen."""
        if job in self._jobs:
            self._jobs[job].creates.pop((resource, name), None)
            self._tidy(job)

    def expect_delete(self, job: str, uid: str) -> None:
        """Say so *before* the call."""
        self._jobs.setdefault(job, _Expected()).deletes[uid] = self._clock() + self._timeout

    def not_deleted(self, job: str, uid: str) -> None:
        """The delete did not happen, or there was nothing to delete."""
        if job in self._jobs:
            self._jobs[job].deletes.pop(uid, None)
            self._tidy(job)

    def saw(self, job: str, resource: Resource, name: str, uid: str, *, going: bool) -> None:
        """The watch brought a child. `going`: it is deleted or being deleted."""
        expected = self._jobs.get(job)
        if expected is None:
            return
        create = expected.creates.get((resource, name))
        if create and create.uid == uid:
            del expected.creates[resource, name]
        elif create and not create.uid:
            create.seen.add(uid)
        if going:
            expected.deletes.pop(uid, None)
        self._tidy(job)

    def wait(self, job: str) -> float:
        """Seconds until the last open expectation of a job is dropped; 0 when none is open."""
        expected = self._jobs.get(job)
        if expected is None:
            return 0.0
        now = self._clock()
        expected.creates = {key: each for key, each in expected.creates.items() if each.until > now}
        expected.deletes = {uid: until for uid, until in expected.deletes.items() if until > now}
        self._tidy(job)
        open_ones = [create.until for create in expected.creates.values()] + list(expected.deletes.values())
        return max((until - now for until in open_ones), default=0.0)

    def clear(self) -> None:
        """All lists were made after our last write."""
        self._jobs.clear()

    def forget(self, job: str) -> None:
        """The job is gone."""
        self._jobs.pop(job, None)

    def _tidy(self, job: str) -> None:
        expected = self._jobs[job]
        if not expected.creates and not expected.deletes:
            del self._jobs[job]
