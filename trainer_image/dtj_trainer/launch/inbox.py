"""What the main thread is told, in its order, also while it waits for something else."""

from __future__ import annotations

import contextlib
import queue
from collections import deque
from collections.abc import Callable

from dtj_api.wire import Release, Stop
from dtj_trainer.launch.events import Event, Terminate, ZygoteLost

LOOK = 0.05
"""Seconds between two looks whether a wait is over."""


class Inbox:
    """The events of the main thread, and for it alone.

    Args:
        events: what others put.
    """

    def __init__(self, events: queue.SimpleQueue[Event]) -> None:
        self._events = events
        self._put_off: deque[Event] = deque()

    def take(self) -> Event:
        """The next event; waits for it."""
        return self._put_off.popleft() if self._put_off else self._events.get()

    def wait(self, over: Callable[[], bool]) -> None:
        """Wait, and hear meanwhile: what comes is put off, and may be what ends the wait.

        Args:
            over: whether the wait is; asked again after each event, and in any case many times a second.
        """
        while not over():
            with contextlib.suppress(queue.Empty):
                self._put_off.append(self._events.get(timeout=LOOK))

    def called_away(self) -> bool:
        """Whether what has been put off ends this launcher."""
        return any(isinstance(each, Terminate | Stop | ZygoteLost) for each in self._put_off)

    @property
    def is_hurried(self) -> bool:
        """Whether it says that nobody wants what our ranks would save."""
        return any(isinstance(each, Stop) and not each.save for each in self._put_off)

    def is_released(self, incarnation: int, round: int) -> bool:
        """Whether it says that the round of our ranks has lost a peer: they come to no save any more."""
        releases = (each for each in self._put_off if isinstance(each, Release))
        return any((each.incarnation, each.round) == (incarnation, round) for each in releases)
