"""The own time of the ranks of this pod, as they told it in the present round (see `dtj.pace`)."""

from __future__ import annotations

import statistics
from collections import deque

from dtj_api.wire import Pace

KEPT = 60
"""Messages of a rank that count: of at least a second each."""
FEWEST = 5
LEAST = 20.0
"""Messages, and seconds since the first one, before a rank's pace is told: one slow step makes no slow rank."""


class Paces:
    """Of all local ranks. Not thread-safe: its owner holds a lock. Times are seconds of one clock."""

    def __init__(self) -> None:
        self.begin_round()

    def begin_round(self) -> None:
        """New ranks run, maybe on other nodes."""
        self._told: dict[int, deque[float]] = {}
        self._since: dict[int, float] = {}

    def take(self, local_rank: int, seconds: float, now: float) -> None:
        """Take what a rank said."""
        self._since.setdefault(local_rank, now)
        self._told.setdefault(local_rank, deque(maxlen=KEPT)).append(seconds)

    def known(self, global_ranks: dict[int, int], now: float) -> tuple[Pace, ...]:
        """The medians of the ranks that have told enough.

        Args:
            global_ranks: local rank to global rank.
            now: on the clock of `take`.
        """
        enough = {
            local: told
            for local, told in self._told.items()
            if len(told) >= FEWEST and now - self._since[local] >= LEAST and local in global_ranks
        }
        return tuple(
            Pace(global_ranks[local], float(f"{statistics.median(told):.3g}")) for local, told in sorted(enough.items())
        )
