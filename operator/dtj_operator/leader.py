"""Leader election on a Lease: one operator acts, the others stand by with warm caches.

kopf's peering detects conflicts, it does not elect (two equals pause each other for ever), and the election of the
official package lets a leader run on after an error. Here: 15/10/2 seconds as client-go has it, every call under a
deadline, a monotonic watchdog that ends the process when the lease could not be renewed in time, and each write
guarded by resourceVersion. Other candidates' clocks are never believed: a lease counts as expired when *we* have not
seen it change for its whole duration.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from dtj_operator.kube import errors
from dtj_operator.kube.client import KubeClient, Object
from dtj_operator.kube.resources import LEASES

logger = logging.getLogger(__name__)

LEASE_SECONDS = 15.0
RENEW_SECONDS = 10.0
RETRY_SECONDS = 2.0


class LeadershipLost(Exception):
    """The lease went to somebody else or could not be renewed in time: the process must end at once."""


class LeaderElector:
    """One candidate.

    Args:
        client: where the Lease is.
        namespace: its namespace.
        name: its name.
        identity: who we are; must differ between processes.
        lease_seconds: how long a lease holds that nobody renews.
        renew_seconds: a leader gives up when it could not renew for this long; must be below `lease_seconds`.
        retry_seconds: pause between tries.
        clock: monotonic seconds; wall-clock jumps have no effect.
    """

    def __init__(
        self,
        client: KubeClient,
        *,
        namespace: str,
        name: str,
        identity: str,
        lease_seconds: float = LEASE_SECONDS,
        renew_seconds: float = RENEW_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not retry_seconds < renew_seconds < lease_seconds:
            raise ValueError(
                f"leader election: retry {retry_seconds} < renew {renew_seconds} < lease {lease_seconds} must hold"
            )
        self._client = client
        self._namespace = namespace
        self._name = name
        self.identity = identity
        self._lease_seconds = lease_seconds
        self._renew_seconds = renew_seconds
        self._retry_seconds = retry_seconds
        self._clock = clock
        self._seen: tuple[str, float] = ("", clock())
        self._renewed_at = 0.0
        self._lease: Object | None = None
        self.leading = False

    async def acquire(self) -> None:
        """Wait until the lease is ours."""
        while True:
            started = self._clock()
            try:
                async with asyncio.timeout(self._renew_seconds):
                    if await self._try_acquire():
                        self._renewed_at, self.leading = started, True
                        logger.info("leading as %s", self.identity)
                        return
            except (errors.KubeError, TimeoutError) as error:
                logger.warning("lease %s/%s: %s", self._namespace, self._name, error or "no answer in time")
            await asyncio.sleep(self._retry_seconds * random.uniform(0.8, 1.2))

    async def hold(self) -> None:
        """Renew the lease until cancelled.

        Raises:
            LeadershipLost: renewed by nobody in time, or taken by somebody else.
        """
        while True:
            await asyncio.sleep(self._retry_seconds)
            left = self._renewed_at + self._renew_seconds - self._clock()
            if left <= 0:
                self._lose(f"not renewed for {self._renew_seconds:g} s")
            started = self._clock()
            try:
                async with asyncio.timeout(left):
                    await self._renew()
                self._renewed_at = started
            except (errors.Conflict, errors.NotFound):
                if not await self._still_ours(left):
                    self._lose("taken by another")
            except (errors.KubeError, TimeoutError) as error:
                logger.warning("lease %s/%s: not renewed: %s", self._namespace, self._name, error or "no answer")

    async def release(self) -> None:
        """Give the lease back, so that the next one need not wait for it to expire. Failing to is harmless."""
        if not self.leading or self._lease is None:
            return
        self.leading = False
        try:
            async with asyncio.timeout(self._retry_seconds):
                body = self._body(self._lease, holder="", seconds=1)
                await self._client.replace(LEASES, self._namespace, self._name, body)
        except (errors.KubeError, TimeoutError) as error:
            logger.warning("lease %s/%s: not released: %s", self._namespace, self._name, error or "no answer")

    def overdue(self) -> bool:
        """Whether a leader has failed to renew in time: true also when the loop or the whole process was paused."""
        return self.leading and self._clock() > self._renewed_at + self._renew_seconds

    async def _try_acquire(self) -> bool:
        try:
            lease = await self._client.get(LEASES, self._namespace, self._name)
        except errors.NotFound:
            try:
                self._lease = await self._client.create(LEASES, self._namespace, self._body(None, self.identity))
            except errors.AlreadyExists:
                return False
            return True
        holder = lease.get("spec", {}).get("holderIdentity") or ""
        if holder and holder != self.identity and not self._expired(lease):
            return False
        try:
            body = self._body(lease, self.identity)
            self._lease = await self._client.replace(LEASES, self._namespace, self._name, body)
        except errors.Conflict:
            return False
        return True

    def _expired(self, lease: Object) -> bool:
        version = str(lease["metadata"]["resourceVersion"])
        if version != self._seen[0]:
            self._seen = (version, self._clock())
        seconds = float(lease["spec"].get("leaseDurationSeconds") or self._lease_seconds)
        return self._clock() - self._seen[1] > seconds

    async def _renew(self) -> None:
        assert self._lease is not None
        body = self._body(self._lease, self.identity)
        self._lease = await self._client.replace(LEASES, self._namespace, self._name, body)

    async def _still_ours(self, left: float) -> bool:
        """After a conflict: our own renewal may have landed unanswered, which also changes the version."""
        try:
            async with asyncio.timeout(left):
                lease = await self._client.get(LEASES, self._namespace, self._name)
        except errors.NotFound:
            return False
        except (errors.KubeError, TimeoutError):
            return True
        if lease.get("spec", {}).get("holderIdentity") != self.identity:
            return False
        self._lease = lease
        return True

    def _lose(self, why: str) -> None:
        self.leading = False
        raise LeadershipLost(f"lease {self._namespace}/{self._name}: {why}")

    def _body(self, lease: Object | None, holder: str, seconds: float | None = None) -> Object:
        old: dict[str, Any] = dict((lease or {}).get("spec") or {})
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        changes = bool(holder) and old.get("holderIdentity") != holder
        spec = {
            **old,
            "holderIdentity": holder,
            "leaseDurationSeconds": int(max(1, seconds or self._lease_seconds)),
            "renewTime": now,
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (1 if changes and lease else 0),
        }
        if changes:
            spec["acquireTime"] = now
        metadata: dict[str, Any] = {"name": self._name, "namespace": self._namespace}
        if lease:
            metadata["resourceVersion"] = lease["metadata"]["resourceVersion"]
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
