"""Connections at once: a bound for all, one for each party, and whoever waits longest and may is next.

A party that wants thousands, or whose connections hang, then holds up others only as far as its own bound goes; and
nobody who waits is passed by, as by lots or by turns he may be.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
from collections import Counter, deque
from collections.abc import AsyncIterator


class Connections:
    """So many at once.

    Args:
        in_all: connections.
        each: of these, for one party.
    """

    def __init__(self, in_all: int, each: int) -> None:
        self._free = in_all
        self._each = each
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[tuple[int, asyncio.Future[None]]]] = {}
        self._next: list[tuple[int, str]] = []
        """A heap: of each party that has room, the number of its oldest request. Some are out of date."""
        self._numbers = itertools.count()

    @property
    def idle(self) -> bool:
        """Nobody has one or waits for one."""
        return not self._held and not self._waiting

    @contextlib.asynccontextmanager
    async def connection(self, who: str) -> AsyncIterator[None]:
        """Hold one for somebody, when it is his turn."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        line = self._waiting.setdefault(who, deque())
        line.append((next(self._numbers), turn))
        if len(line) == 1:
            self._offer(who)
        self._serve()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back(who)
            else:
                self._clear(who)
            raise
        try:
            yield
        finally:
            self._give_back(who)

    def _clear(self, who: str) -> deque[tuple[int, asyncio.Future[None]]]:
        """The party's line, without those at its head who wait no more."""
        line = self._waiting.get(who, deque())
        dropped = False
        while line and line[0][1].done():
            line.popleft()
            dropped = True
        if not line:
            self._waiting.pop(who, None)
        elif dropped and self._held[who] < self._each:
            heapq.heappush(self._next, (line[0][0], who))
        return line

    def _offer(self, who: str) -> None:
        line = self._clear(who)
        if line and self._held[who] < self._each:
            heapq.heappush(self._next, (line[0][0], who))

    def _serve(self) -> None:
        while self._free and self._next:
            number, who = heapq.heappop(self._next)
            line = self._clear(who)
            if not line or line[0][0] != number or self._held[who] >= self._each:
                continue
            _, turn = line.popleft()
            turn.set_result(None)
            self._free -= 1
            self._held[who] += 1
            self._offer(who)

    def _give_back(self, who: str) -> None:
        had_no_room = self._held[who] == self._each
        self._free += 1
        self._held[who] -= 1
        if not self._held[who]:
            del self._held[who]
        if had_no_room:
            self._offer(who)
        self._serve()
