"""How often to save where the job finds that out by itself: what a save costs against how often training is cut off.

Saves that are too rare lose work at each interruption, saves that are too frequent cost time all along. For a cost C
and a time M between interruptions the loss is least at an interval of sqrt(2 C M) (Young 1974; Daly 2006 refines it
where C is near M, which the bounds keep away from).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

LEAST, MOST = 30.0, 3600.0
"""Seconds: bounds of the interval."""
SHARE = 0.05
"""Most of the time that saves may take."""
PRIOR = 86400.0
"""Seconds that a job is taken to have run before its first start: one that has not been interrupted yet will be."""
_NEW = 0.3
"""Weight of the last save's cost."""


def interval(cost: float, seconds: float, interruptions: int) -> float:
    """Seconds between two saves.

    Args:
        cost: seconds that training stands still for a save.
        seconds: that the job has trained.
        interruptions: in that time.
    """
    between = (PRIOR + seconds) / (1 + interruptions)
    return min(MOST, max(LEAST, cost / SHARE, math.sqrt(2 * cost * between)))


@dataclass
class History:
    """What the job remembers for it, from checkpoint to checkpoint."""

    seconds: float = 0.0
    """Trained before this process."""
    interruptions: int = 0
    """Starts after the first one; a resize or a suspension is one too."""
    cost: float | None = None
    """Seconds of a save, smoothed; None: none was made yet."""
    since: float = field(default_factory=lambda: time.monotonic())

    def restore(self, carried: Any, starts: int = 0) -> None:
        """Go on from what a checkpoint carried.

        Args:
            carried: by the checkpoint; None: there is none.
            starts: of the job, with this one, as the volume tells; 0: it does not. Several may go on from one
                checkpoint.
        """
        self.since = time.monotonic()
        self.interruptions = max(0, starts - 1)
        if isinstance(carried, dict):
            self.seconds = float(carried.get("seconds", 0.0))
            self.interruptions = max(self.interruptions, int(carried.get("interruptions", 0)) + 1)
            self.cost = float(carried["cost"]) if carried.get("cost") is not None else None

    def saved(self, took: float) -> None:
        """A save took so long."""
        self.cost = took if self.cost is None else (1 - _NEW) * self.cost + _NEW * took

    def carried(self) -> dict[str, Any]:
        """What goes into a checkpoint."""
        return {"seconds": self._trained(), "interruptions": self.interruptions, "cost": self.cost}

    def interval(self) -> float:
        """Seconds between two saves, as far as is known now."""
        return LEAST if self.cost is None else interval(self.cost, self._trained(), self.interruptions)

    def _trained(self) -> float:
        return self.seconds + time.monotonic() - self.since


history = History()
