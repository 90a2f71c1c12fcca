"""Slots for calls, shared fairly: who wants many at once holds up nobody who wants one.

A namespace has slots of its own: where a webhook hangs, each call may hold one for half a minute.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable


class FairSlots:
    """So many calls at once; free slots go round among those who wait, and within one in the order of coming.

    Args:
        total: slots.
    """

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()

    @property
    def idle(self) -> bool:
        """Nobody has one or waits for one."""
        return self._free == self._total and not self._waiting

    @contextlib.asynccontextmanager
    async def slot(self, who: Hashable) -> AsyncIterator[None]:
        """Hold one slot for somebody."""
        if self._free and not self._waiting:
            self._free -= 1
        else:
            await self._wait(who)
        try:
            yield
        finally:
            self._give_back()

    async def _wait(self, who: Hashable) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(who, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back()
            else:
                self._leave(who, turn)
            raise

    def _leave(self, who: Hashable, turn: asyncio.Future[None]) -> None:
        line = self._waiting.get(who, deque())
        with contextlib.suppress(ValueError):
            line.remove(turn)
        if not line:
            self._waiting.pop(who, None)

    def _give_back(self) -> None:
        """Hand a slot to the next, or keep it."""
        while self._waiting:
            who, line = next(iter(self._waiting.items()))
            turn = line.popleft()
            del self._waiting[who]
            if line:
                self._waiting[who] = line
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


class Slots:
    """So many calls of one party at once, shared fairly within it; and so many of all, among which parties take turns.

    Args:
        each: slots of a party.
        total: slots of all.
    """

    def __init__(self, each: int, total: int) -> None:
        self._each = each
        self._all = FairSlots(total)
        self._of: dict[Hashable, FairSlots] = {}

    @contextlib.asynccontextmanager
    async def slot(self, party: Hashable, who: Hashable) -> AsyncIterator[None]:
        """Hold one slot for somebody of a party."""
        mine = self._of.setdefault(party, FairSlots(self._each))
        try:
            async with mine.slot(who), self._all.slot(party):
                yield
        finally:
            # Where several are cancelled at once the first to leave finds it idle, and the others too.
            if mine.idle and self._of.get(party) is mine:
                del self._of[party]
