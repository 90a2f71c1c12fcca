"""How a lost pod is noticed without the operator: each member beats, and watches the next one."""

from __future__ import annotations

import time

from dtj_trainer.launch.meeting.round import Round, Terms
from dtj_trainer.launch.store.link import StoreLink


class Heartbeats:
    """Each member raises a counter and watches that of the next one: no clocks are compared.

    This is only the fallback for a lost pod while the operator is away, which otherwise says so at once.
    """

    def __init__(self, terms: Terms) -> None:
        self._every = terms.heartbeat
        self._patience = terms.heartbeat * terms.heartbeat_misses
        self._me = self._neighbour = ""
        self._next = self._changed_at = 0.0
        self._seen = -1

    def begin(self, link: StoreLink, round: Round) -> None:
        """A round has formed: watch the next member of it."""
        members = round.members
        self._me = members[round.place].node
        self._neighbour = members[(round.place + 1) % len(members)].node
        self._next = self._changed_at = time.monotonic()
        self._seen = -1
        link.add(f"beat/{self._me}", 1)

    def neighbour_is_dead(self, link: StoreLink) -> bool:
        """Beat, if it is time to; whether the neighbour has not for too long."""
        now = time.monotonic()
        if now < self._next:
            return False
        if now > self._next + self._patience / 2:
            # It is we who were not running (a paused machine): the neighbour is owed its full time again.
            self._changed_at = now
        self._next = now + self._every
        link.add(f"beat/{self._me}", 1)
        count = link.add(f"beat/{self._neighbour}", 0)
        if count != self._seen:
            self._seen, self._changed_at = count, now
        return now - self._changed_at > self._patience
