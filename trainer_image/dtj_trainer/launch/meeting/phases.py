"""Which pods of a round are in a phase that is no step, told through the store: one rank may evaluate for all.

round/<r>/phases      raised by CHANGE + 1 where a pod enters such a phase, by CHANGE - 1 where it leaves one
"""

from __future__ import annotations

from dataclasses import dataclass

from dtj_trainer.launch.meeting.round import Round
from dtj_trainer.launch.store.link import StoreLink

CHANGE = 1_000_000
"""More than there are pods: below it the key counts those that are in a phase now, above it the changes so far."""
LOOK = 0.5
"""Least seconds between two looks."""


@dataclass(frozen=True)
class Seen:
    """What the other pods of the round do."""

    excuses: bool = False
    """One of them is in a phase, or has been since the last look."""
    some_in_none: bool = False
    """One of them, or we, are in none, and its ranks have not all exited 0: to a phase of all they would have to come.
    Where one in a phase has exited, one in none may be missed."""


class Phases:
    """One pod's part. Not thread-safe.

    Args:
        every: seconds between two looks.
    """

    def __init__(self, every: float) -> None:
        self._every = max(LOOK, every)
        self._key = self._done = ""
        self._busy = False
        self._seen = 0
        self._next = 0.0
        self._pods = 0
        self._some_in_none = False

    def begin(self, round: Round) -> None:
        """A round has formed: nobody is in a phase yet."""
        self._key, self._done = f"round/{round.number}/phases", f"round/{round.number}/done"
        self._busy, self._seen, self._next = False, 0, 0.0
        self._pods, self._some_in_none = len(round.members), False

    def look(self, link: StoreLink, busy: bool, now: float) -> Seen:
        """Tell whether a rank of ours is in a phase, where that has changed, and look at the others from time to time.

        Args:
            link: to the store of the round.
            busy: one of our ranks is in a phase now.
            now: seconds of any one clock.

        Raises:
            StoreLostError: the store is gone or hangs.
        """
        change = 0 if busy == self._busy else CHANGE + 1 if busy else CHANGE - 1
        if not change and now < self._next:
            return Seen(some_in_none=self._some_in_none)
        self._busy, self._next = busy, now + self._every
        value = link.add(self._key, change)
        changed = value != self._seen + change
        self._seen = value
        self._some_in_none = value % CHANGE < self._pods
        if self._some_in_none and busy:
            self._some_in_none = value % CHANGE + link.add(self._done, 0) < self._pods
        return Seen(changed or value % CHANGE > busy, self._some_in_none)
