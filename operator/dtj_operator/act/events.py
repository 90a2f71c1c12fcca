"""Kubernetes events about jobs, each once.

A level-triggered plan may say the same thing many times; etcd need not hear it. The last thousand are remembered, and
a repetition within ten minutes is dropped. An event that cannot be posted is logged: it tells, it decides nothing. So
no reconcile waits for one either: they are posted one after the other by a task of their own.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime

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
NOTE_LENGTH = 1024
"""The API server refuses longer notes."""
RATE, BURST = 20.0, 50
"""Events a second, and how many may come at once: many jobs that start together have better use for the server."""
WAITING = 10_000
"""Events that may wait to be posted; more than that are logged and dropped."""


class EventPoster:
    """Posts events in the name of one operator instance."""

    def __init__(self, client: KubeClient, instance: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._instance = instance
        self._clock = clock
        self._told: OrderedDict[tuple[str, Event], float] = OrderedDict()
        self._brake = TokenBucket(RATE, BURST)
        self._waiting: asyncio.Queue[tuple[JobView, Event, Object]] = asyncio.Queue()

    def tell(self, view: JobView, event: Event) -> None:
        """Have one event about a job posted, unless the same was lately."""
        told, now = (view.uid, event), self._clock()
        if now - self._told.get(told, now - REPEAT_SECONDS) < REPEAT_SECONDS:
            return
        if self._waiting.qsize() >= WAITING:
            logger.warning("event %s of %s/%s dropped: too many wait", event.reason, view.namespace, view.name)
            return
        self._told[told] = now
        self._told.move_to_end(told)
        while len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        self._waiting.put_nowait((view, event, self._manifest(view, event)))

    async def run(self) -> None:
        """Post what was told, in its order, until cancelled."""
        while True:
            view, event, manifest = await self._waiting.get()
            try:
                await self._brake.take()
                await self._client.create(EVENTS, view.namespace, manifest)
            except errors.AlreadyExists:
                logger.debug("event %s was posted by a call that seemed to fail", manifest["metadata"]["name"])
            except errors.NamespaceGoing:
                logger.debug("nobody is left in %s to be told of %s", view.namespace, event.reason)
            except errors.KubeError as error:
                # Not told after all: the next plan that says so may try again.
                self._told.pop((view.uid, event), None)
                logger.warning("event %s of %s/%s not posted: %s", event.reason, view.namespace, view.name, error)
            finally:
                self._waiting.task_done()

    async def flush(self, seconds: float) -> None:
        """Wait until all that was told is posted, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._waiting.join()
        except TimeoutError:
            logger.warning("%d events are left unposted", self._waiting.qsize())

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
            "note": event.message[:NOTE_LENGTH],
            "regarding": {
                "apiVersion": names.API_VERSION,
                "kind": names.KIND,
                "namespace": view.namespace,
                "name": view.name,
                "uid": view.uid,
                "resourceVersion": view.resource_version,
            },
        }
