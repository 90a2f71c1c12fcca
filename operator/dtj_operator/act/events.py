"""Kubernetes events about jobs, each once.

A level-triggered plan may say the same thing many times; etcd need not hear it. The last thousand are remembered, and
a repetition within ten minutes is dropped. An event that cannot be posted is logged: it tells, it decides nothing.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime

from dtj_api import names
from dtj_operator.kube import errors
from dtj_operator.kube.client import KubeClient, Object
from dtj_operator.kube.resources import EVENTS
from dtj_operator.observe.view import JobView
from dtj_operator.plan.actions import Event

logger = logging.getLogger(__name__)

REPEAT_SECONDS = 600.0
REMEMBERED = 1000
NOTE_LENGTH = 1024
"""The API server refuses longer notes."""


class EventPoster:
    """Posts events in the name of one operator instance."""

    def __init__(self, client: KubeClient, instance: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._instance = instance
        self._clock = clock
        self._told: OrderedDict[tuple[str, Event], float] = OrderedDict()

    async def post(self, view: JobView, event: Event) -> None:
        """Post one event about a job, unless the same was posted lately."""
        told, now = (view.uid, event), self._clock()
        if now - self._told.get(told, now - REPEAT_SECONDS) < REPEAT_SECONDS:
            return
        try:
            await self._client.create(EVENTS, view.namespace, self._manifest(view, event))
        except errors.AlreadyExists:
            pass
        except errors.KubeError as error:
            logger.warning("event %s of %s/%s not posted: %s", event.reason, view.namespace, view.name, error)
            return
        self._told[told] = now
        self._told.move_to_end(told)
        while len(self._told) > REMEMBERED:
            self._told.popitem(last=False)

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
