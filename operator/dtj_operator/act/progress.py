"""The share of API writes that figures may use: so many a second for all jobs together, first come, first served.

Progress is worth little when it is late and much when it starves nobody: a fleet of a thousand jobs must not spend the
API server on losses. Transitions never ask here.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Hashable

PER_SECOND = 10.0


class ProgressShare:
    """Hands out the moments at which jobs may write mere progress."""

    def __init__(self, per_second: float = PER_SECOND, clock: Callable[[], float] = time.monotonic) -> None:
        self._gap = 1.0 / per_second
        self._clock = clock
        self._next = clock()
        self._reserved: dict[Hashable, float] = {}
        self._given_back: list[float] = []

    def ask(self, key: Hashable) -> float:
        """Seconds to wait; 0: write now. Who has to wait keeps its place, however often it asks."""
        now = self._clock()
        slot = self._reserved.get(key)
        if slot is None:
            slot = self._earliest(now)
        if slot <= now:
            self._reserved.pop(key, None)
            return 0.0
        self._reserved[key] = slot
        return slot - now

    def forget(self, key: Hashable) -> None:
        """The job wrote anyway, or is gone: its place is the next one's."""
        slot = self._reserved.pop(key, None)
        if slot is not None:
            heapq.heappush(self._given_back, slot)

    def _earliest(self, now: float) -> float:
        while self._given_back:
            slot = heapq.heappop(self._given_back)
            if slot >= now:
                return slot
        slot = max(now, self._next)
        self._next = slot + self._gap
        return slot
