"""How long to wait before the next round when rounds end too soon, so that a crash loop does not burn the machine.

Every pod sees the same rounds come and go, so all arrive at about the same pause. The operator owns the budget.
"""

from __future__ import annotations

SHORT_ROUND = 5.0
"""A round that lasted longer than this, in seconds, is no part of a crash loop."""


class Backoff:
    """No pause after the first short round, then doubling ones.

    Args:
        initial: the first pause, seconds.
        max: the longest one.
    """

    def __init__(self, initial: float, max: float) -> None:
        self._initial = initial
        self._max = max
        self._short = 0
        self._began = 0.0

    def begin(self, now: float) -> None:
        """The ranks of a round have been started."""
        self._began = now

    def next_pause(self, now: float) -> float:
        """The round is over: seconds to wait before the next one."""
        self._short = self._short + 1 if now - self._began < SHORT_ROUND else 0
        return min(self._max, self._initial * 2.0 ** min(self._short - 2, 32)) if self._short >= 2 else 0.0
