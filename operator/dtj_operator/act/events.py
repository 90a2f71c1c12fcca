"""Kubernetes events about jobs, each once.

A level-triggered plan may say the same thing many times; etcd need not hear it. The last thousand are remembered, and
a repetition within ten minutes is dropped. An event that cannot be posted is logged: it tells, it decides nothing. So
no reconcile waits for one either: they are posted by tasks of their own, those of one namespace one after the other, of
each of its jobs in turn. So where each call hangs, as by a webhook, nobody waits but who is there.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

from dtj_api import names
from dtj_operator.kube import errors
from dtj_operator.kube.client import KubeClient, Object
from dtj_operator.kube.limits import TokenBucket
from dtj_operator.kube.resources import EVENTS
from dtj_operator.observe.view import JobView
from dtj_operator.plan.actions import Event

logger = logging.getLogger(__name__)

REPEAT_SECONDS = 600.0
REMEMBERED = 1000
NOTE_BYTES = 1024
"""The API server refuses longer notes."""
RATE, BURST = 20.0, 50
"""Events a second, and how many may come at once: many jobs that start together have better use for the server."""
_CUT = "…"
WAITING = 10_000
"""Events that may wait to be posted; more are logged and dropped."""


class _Told(NamedTuple):
    """An event about a job, by which a repetition is known."""

    uid: str
    event: Event


class _Line:
    """What waits of one namespace. Its jobs take turns; what one of them tells stays in order."""

    def __init__(self) -> None:
        self._jobs: OrderedDict[str, deque[tuple[_Told, Object]]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def of(self, job: str) -> int:
        """How many of one job wait."""
        return len(self._jobs.get(job, ()))

    def append(self, told: _Told, manifest: Object) -> None:
        """One more waits."""
        self._jobs.setdefault(told.uid, deque()).append((told, manifest))
        self._length += 1

    def first(self) -> tuple[_Told, Object]:
        """What is posted next. It waits until it is passed: posting may be cut short."""
        return next(iter(self._jobs.values()))[0]

    def passed(self) -> None:
        """The first one is through, and another job has its turn."""
        job, events = self._jobs.popitem(last=False)
        events.popleft()
        if events:
            self._jobs[job] = events
        self._length -= 1


class EventPoster:
    """Posts events in the name of one operator instance."""

    def __init__(self, client: KubeClient, instance: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._instance = instance
        self._clock = clock
        self._told: OrderedDict[_Told, float] = OrderedDict()
        self._brake = TokenBucket(RATE, BURST)
        # Not the view: it is some megabytes for a large job, and thousands of events may wait.
        self._waiting: dict[str, _Line] = {}
        """By namespace; the first of each may be on its way."""
        self._room = WAITING
        self._posting: set[str] = set()
        self._news, self._through = asyncio.Event(), asyncio.Event()

    def tell(self, view: JobView, event: Event) -> None:
        """Have one event about a job posted, unless the same was lately."""
        event = replace(event, message=within(event.message, NOTE_BYTES))
        told, now = _Told(view.uid, event), self._clock()
        if now - self._told.get(told, now - REPEAT_SECONDS) < REPEAT_SECONDS:
            return
        line = self._waiting.get(view.namespace, _Line())
        # So one namespace fills half of the room at most, two a third each, and there is some for all others. One job
        # alone fills a third, and leaves some to the others of its namespace.
        if len(line) + line.of(view.uid) >= self._room:
            logger.warning("event %s of %s/%s dropped: too many wait", event.reason, view.namespace, view.name)
            return
        self._told[told] = now
        self._told.move_to_end(told)
        while len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        line.append(told, self._manifest(view, event))
        self._waiting[view.namespace] = line
        self._room -= 1
        self._news.set()

    async def run(self) -> None:
        """Post what was told, of each job in its order, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                for namespace in self._waiting.keys() - self._posting:
                    self._posting.add(namespace)
                    tasks.create_task(self._post_all(namespace), name=f"events of {namespace}")
                await self._news.wait()
                self._news.clear()

    async def flush(self, seconds: float) -> None:
        """Wait until all that was told is posted, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                while self._waiting:
                    self._through.clear()
                    await self._through.wait()
        except TimeoutError:
            logger.warning("%d events are left unposted", sum(map(len, self._waiting.values())))

    async def _post_all(self, namespace: str) -> None:
        """Post what waits of a namespace, until nothing does."""
        try:
            line = self._waiting[namespace]
            while line:
                await self._post(*line.first())
                line.passed()
                self._room += 1
            del self._waiting[namespace]
            self._through.set()
        finally:
            self._posting.discard(namespace)

    async def _post(self, told: _Told, manifest: Object) -> None:
        reason, about = told.event.reason, manifest["regarding"]
        try:
            await self._brake.take()
            await self._client.create(EVENTS, about["namespace"], manifest)
        except errors.AlreadyExists:
            logger.debug("event %s was posted by a call that seemed to fail", manifest["metadata"]["name"])
        except errors.NamespaceGoing:
            logger.debug("nobody is left in %s to be told of %s", about["namespace"], reason)
        except errors.KubeError as error:
            # Not told after all: the next plan that says so may try again.
            self._told.pop(told, None)
            logger.warning("event %s of %s/%s not posted: %s", reason, about["namespace"], about["name"], error)
        except Exception:
            # A defect that one event brings out must not keep all later ones from being posted.
            self._told.pop(told, None)
            logger.exception("event %s of %s/%s not posted", reason, about["namespace"], about["name"])

    def _manifest(self, view: JobView, event: Event) -> Object:
        at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        digest = hashlib.sha256(f"{view.uid} {event} {at}".encode()).hexdigest()[:16]
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": f"{view.name}.{digest}", "namespace": view.namespace},
            "eventTime": at,
            "reportingController": names.OPERATOR,
            "reportingInstance": self._instance[:128],
            "action": "Reconcile",
            "type": event.type,
            "reason": event.reason,
            "note": event.message,
            "regarding": {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "namespace": view.namespace,
                "name": view.name,
                "uid": view.uid,
                "resourceVersion": view.resource_version,
            },
        }


def within(text: str, most: int) -> str:
    """The text, or as much of its beginning as takes so many bytes, with an ellipsis: cut between two characters.

    The API server counts bytes, and most characters that are not English take two to four.
    """
    data = text.encode(errors="replace")
    if len(data) <= most:
        return data.decode()
    return data[: most - len(_CUT.encode())].decode(errors="ignore") + _CUT
