"""Which pods of a round are in a phase that is no step, told through the store: one rank may evaluate for all.

round/<r>/phases      raised by CHANGE + 1 where a pod enters such a phase, by CHANGE - 1 where it leaves one
"""

from __future__ import annotations

from dtj_trainer.launch.round import Round
from dtj_trainer.launch.store_link import StoreLink

CHANGE = 1_000_000
"""More than there are pods: below it the key counts those that are in a phase now, above it the changes so far."""
LOOK = 0.5
"""Least seconds between two looks."""


class Phases:
    """One pod's part. Not thread-safe.

    Args:
        every: seconds between two looks.
    """

    def __init__(self, every: float) -> None:
        self._every = max(LOOK, every)
        self._key = ""
        self._busy = False
        self._seen = 0
        self._next = 0.0

    def begin(self, round: Round) -> None:
        """A round has formed: nobody is in a phase yet."""
        self._key = f"round/{round.number}/phases"
        self._busy, self._seen, self._next = False, 0, 0.0

    def look(self, link: StoreLink, busy: bool, now: float) -> bool:
        """Tell whether a rank of ours is in a phase, where that has changed, and look at the others from time to time.

        Args:
            link: to the store of the round.
            busy: one of our ranks is in a phase now.
            now: seconds of any one clock.

        Returns:
            Whether another pod is in a phase, or has been since the last look.

        Raises:
            StoreLostError: the store is gone or hangs.
        """
        change = 0 if busy == self._busy else CHANGE + 1 if busy else CHANGE - 1
        if not change and now < self._next:
            return False
        self._busy, self._next = busy, now + self._every
        value = link.add(self._key, change)
        changed = value != self._seen + change
        self._seen = value
        return changed or value % CHANGE > busy
