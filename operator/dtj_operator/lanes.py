"""Jobs that wait for a worker, in two lanes, so that those which take long hold up none that do not.

A look at a job may take half a minute through no fault of the operator: a webhook of its namespace hangs, or the API
server chews on its manifest. So whoever was not quick last time, or was never looked at, is in the slow lane. That one
has a part of the workers only, and one namespace a part of that. What was quick may hang too from now on: so in both
lanes namespaces take turns, and no namespace ever has all workers.
"""

from __future__ import annotations

from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

QUICK = 0.5
"""Seconds: a look that took no longer was quick."""


class Lanes(Generic[K]):
    """Keys that wait, and which of them is next.

    Args:
        workers: that take keys. Of these the slow lane has three quarters, as one party has in both lanes together, and
            one party in the slow one a half. None: no bounds.
        party: whose a key is.
    """

    def __init__(self, workers: int | None, party: Callable[[K], Hashable]) -> None:
        self._in_all = None if workers is None else max(1, workers - max(1, workers // 4))
        self._each = None if workers is None else max(1, workers // 2)
        self._party = party
        self._known_quick: set[K] = set()
        self._quick: OrderedDict[Hashable, deque[K]] = OrderedDict()
        self._slow: OrderedDict[Hashable, deque[K]] = OrderedDict()
        self._held: Counter[Hashable] = Counter()
        """Workers that hold keys, by party."""
        self._held_slow: Counter[Hashable] = Counter()
        """Those of them that hold keys of the slow lane."""
        self._from_slow: set[K] = set()
        self._quick_next = True

    def __len__(self) -> int:
        """Keys that wait."""
        return sum(len(line) for lane in (self._quick, self._slow) for line in lane.values())

    def add(self, key: K) -> None:
        """A key waits from now on."""
        lane = self._quick if key in self._known_quick else self._slow
        lane.setdefault(self._party(key), deque()).append(key)

    def take(self) -> K | None:
        """The next key; None: nobody waits, or nobody who may be next now. The lanes take turns."""
        lanes = (self._take_quick, self._take_slow) if self._quick_next else (self._take_slow, self._take_quick)
        for lane in lanes:
            if (key := lane()) is not None:
                self._quick_next = key in self._from_slow
                return key
        return None

    def done(self, key: K, seconds: float) -> None:
        """A worker held a key for so long."""
        party = Counter((self._party(key),))
        self._held -= party
        if key in self._from_slow:
            self._from_slow.discard(key)
            self._held_slow -= party
        if seconds <= QUICK:
            self._known_quick.add(key)
        else:
            self._known_quick.discard(key)

    def keep(self, keys: Iterable[K]) -> None:
        """No others are there any more: what was learnt of them is forgotten."""
        self._known_quick.intersection_update(keys)

    def clear(self) -> None:
        """Nobody waits any more."""
        self._quick.clear()
        self._slow.clear()

    def _take_quick(self) -> K | None:
        return self._first(self._quick, lambda party: True)

    def _take_slow(self) -> K | None:
        if self._in_all is not None and len(self._from_slow) >= self._in_all:
            return None
        key = self._first(self._slow, lambda party: self._each is None or self._held_slow[party] < self._each)
        if key is not None:
            self._from_slow.add(key)
            self._held_slow[self._party(key)] += 1
        return key

    def _first(self, lane: OrderedDict[Hashable, deque[K]], may: Callable[[Hashable], bool]) -> K | None:
        """Take the next key of a lane, of the first party that may have another worker."""
        most = self._in_all
        party = next((each for each in lane if may(each) and (most is None or self._held[each] < most)), None)
        if party is None:
            return None
        line = lane[party]
        key = line.popleft()
        lane.move_to_end(party)
        if not line:
            del lane[party]
        self._held[party] += 1
        return key
