"""The keyed work queue between the watches and the reconciles.

Semantics of client-go's: a key waits at most once; a key that is being worked on is never handed to a second worker
and comes back when it was added meanwhile; failures come back later and later, with jitter, until `forget`. kopf's
`on.event` neither retries nor limits, which is why this exists.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, Protocol, TypeVar

from dtj_operator.lanes import Lanes

K = TypeVar("K", bound=Hashable)

BASE_DELAY = 0.05
MAX_DELAY = 300.0


class QueueObserver(Protocol):
    """Told what the queue does, for the metrics. Durations in seconds."""

    def added(self, depth: int) -> None:
        """A key entered the queue."""

    def taken(self, depth: int, waited: float) -> None:
        """A worker took a key."""

    def done(self, worked: float) -> None:
        """A worker is through with a key."""

    def retried(self) -> None:
        """A key was put back after a failure."""


class Shutdown(Exception):
    """The queue was shut down and is empty: the worker ends."""


class WorkQueue(Generic[K]):
    """One queue, many workers, one event loop. Not thread-safe.

    Args:
        workers: that take keys, of which slow ones hold a part at most; None: no bound.
        party: whose a key is, for the bound on slow keys of one party.
        base_delay: seconds after the first failure.
        max_delay: seconds at most.
        clock: seconds.
        observer: told what it does.
        jitter: a number between two.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        party: Callable[[K], Hashable] = lambda key: "",
        base_delay: float = BASE_DELAY,
        max_delay: float = MAX_DELAY,
        clock: Callable[[], float] = time.monotonic,
        observer: QueueObserver | None = None,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._base = base_delay
        self._max = max_delay
        self._clock = clock
        self._observer = observer
        self._jitter = jitter
        self._ready = Lanes(workers, party)
        self._dirty: set[K] = set()
        self._processing: dict[K, float] = {}
        self._added_at: dict[K, float] = {}
        self._failures: dict[K, int] = {}
        self._later: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}
        self._order = itertools.count()
        self._changed = asyncio.Event()
        self._closed = False

    def __len__(self) -> int:
        """Keys that wait for a worker now."""
        return len(self._ready)

    @property
    def processing(self) -> frozenset[K]:
        """Keys that workers hold."""
        return frozenset(self._processing)

    def add(self, key: K) -> None:
        """Mark a key dirty: it is worked on soon, once, however often it is added until then."""
        if self._closed or key in self._dirty:
            return
        self._dirty.add(key)
        self._added_at[key] = self._clock()
        if key not in self._processing:
            self._ready.add(key)
            self._changed.set()
        if self._observer:
            self._observer.added(len(self._ready))

    def add_after(self, key: K, seconds: float) -> None:
        """Add a key later. Of several times for one key the earliest counts."""
        if self._closed:
            return
        if seconds <= 0:
            self.add(key)
            return
        due = self._clock() + seconds
        if self._due.get(key, due + 1) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._later, (due, next(self._order), key))
        self._changed.set()

    def add_failed(self, key: K) -> float:
        """Add a key after a failure, with exponential back-off; the answer is the delay in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        full = min(self._max, self._base * 2.0 ** min(failures, 60))
        delay = self._jitter(full / 2, full)
        if self._observer:
            self._observer.retried()
        self.add_after(key, delay)
        return delay

    def forget(self, key: K) -> None:
        """The key was worked on well: its back-off starts anew next time."""
        self._failures.pop(key, None)

    def failures(self, key: K) -> int:
        """Failures of a key since it last went well."""
        return self._failures.get(key, 0)

    async def get(self) -> K:
        """The next key; call `done` with it afterwards.

        Raises:
            Shutdown: the queue was shut down.
        """
        while True:
            self._promote()
            if self._closed:
                raise Shutdown
            if (key := self._ready.take()) is not None:
                return self._taken(key)
            self._changed.clear()
            try:
                async with asyncio.timeout(self._until_next()):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def done(self, key: K) -> None:
        """The worker is through with a key; if it was added meanwhile, it is ready again."""
        worked = self._clock() - self._processing.pop(key)
        self._ready.done(key, worked)
        if self._observer:
            self._observer.done(worked)
        if key in self._dirty and not self._closed:
            self._ready.add(key)
        self._changed.set()

    def keep(self, keys: Iterable[K]) -> None:
        """No others are there any more: what was learnt of how quick they are is forgotten."""
        self._ready.keep(keys)

    def shutdown(self) -> None:
        """Hand out nothing more. Workers finish what they hold; what waits is dropped (the next process lists anew)."""
        self._closed = True
        self._ready.clear()
        self._later.clear()
        self._due.clear()
        self._changed.set()

    def _taken(self, key: K) -> K:
        self._dirty.discard(key)
        now = self._clock()
        self._processing[key] = now
        waited = now - self._added_at.pop(key, now)
        if self._observer:
            self._observer.taken(len(self._ready), waited)
        if self._ready:
            self._changed.set()
        return key

    def _promote(self) -> None:
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            due, _, key = heapq.heappop(self._later)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)

    def _until_next(self) -> float | None:
        return max(0.0, self._later[0][0] - self._clock()) if self._later else None
