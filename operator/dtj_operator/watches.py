"""The operator's own watches: run together, listed anew when asked to, and how old what they brought is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from dtj_operator.observe.reflector import Reflector

STALE_SECONDS = 180.0
"""A healthy watch tells how far it is about once a minute, and one that is silent for 75 s is begun anew."""


class PartEnded(Exception):
    """A part of the operator that runs for ever has ended."""


class Watches:
    """Runs some reflectors.

    Args:
        reflectors: which.
        clock: monotonic seconds, as the reflectors have it.
    """

    def __init__(self, reflectors: Sequence[Reflector[Any]], clock: Callable[[], float] = time.monotonic) -> None:
        self._reflectors = tuple(reflectors)
        self._clock = clock
        self._tasks: dict[asyncio.Task[None], str] = {}
        self._broken: asyncio.Future[None] | None = None

    async def run(self) -> None:
        """Watch until cancelled.

        Raises:
            PartEnded: one of them ended by itself.
        """
        self._broken = asyncio.get_running_loop().create_future()
        self._start()
        try:
            await self._broken
        finally:
            await self._stop()

    async def renew(self) -> None:
        """List everything anew, and wait for that: what is known then is no older than this call."""
        await self._stop()
        for each in self._reflectors:
            each.expire()
        self._start()
        for each in self._reflectors:
            await each.synced.wait()

    def missing(self) -> list[str]:
        """The resources whose list is not complete."""
        return sorted({each.resource.plural for each in self._reflectors if not each.synced.is_set()})

    def ages(self) -> dict[str, float]:
        """Seconds since the watches of each resource have brought something, by the oldest of them."""
        now, ages = self._clock(), dict[str, float]()
        for each in self._reflectors:
            age = round(now - each.last_event, 1)
            ages[each.resource.plural] = max(age, ages.get(each.resource.plural, age))
        return ages

    def stale(self, *plurals: str) -> str:
        """Which of some watches, else of all, has brought nothing for too long, in words; empty: none."""
        ages = self.ages()
        old = {plural: ages[plural] for plural in plurals or ages if ages[plural] > STALE_SECONDS}
        return ", ".join(f"the watch of {plural} has brought nothing for {age:.0f} s" for plural, age in old.items())

    def _start(self) -> None:
        for each in self._reflectors:
            task = asyncio.create_task(each.run(), name=f"watch of {each.resource.plural}")
            self._tasks[task] = task.get_name()
            task.add_done_callback(self._ended)

    async def _stop(self) -> None:
        tasks = list(self._tasks)
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        name = self._tasks.pop(task, None)
        if name is None or self._broken is None or self._broken.done():
            return
        error = None if task.cancelled() else task.exception()
        why = PartEnded(f"{name} ended: {error or 'without an error'}")
        why.__cause__ = error
        self._broken.set_exception(why)
