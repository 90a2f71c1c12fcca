"""Whether training stands still: the time that a step may take is learned from those that were made.

Only steps are watched. The first ones of a round compile and warm up, and what a rank declares as another phase (a
save, an evaluation, an export) may take as long as it likes; a script that declares none might evaluate between two
steps unseen, so it is given much longer.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

FACTOR = 5.0
"""A step may take so many times the longest of the recent ones."""
LEAST = 60.0
"""Seconds that a step may take at least, where phases are declared: file systems and networks pause for shorter."""
LEAST_UNDECLARED = 600.0
"""The same for a script that declares no phase."""
RECENT = 64
"""Steps that are remembered."""
FIRST = 8
"""Steps of each round that are waited for before the next one is watched."""
_STEPPING = ("", "train")


@dataclass(frozen=True)
class Timeout:
    """How long a step may take."""

    seconds: float | None = None
    """None: learned."""
    watch: bool = True
    """False: as long as it likes."""


@dataclass(frozen=True)
class Stall:
    """Training stands still."""

    seconds: float
    """Since the last step."""
    text: str
    """That in words, with the limit."""


class StepWatch:
    """The steps of the ranks of one pod. Not thread-safe: its owner holds a lock. Times are seconds of one clock."""

    def __init__(self, timeout: Timeout) -> None:
        self._timeout = timeout
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._declares = False
        self.begin_round()

    def begin_round(self) -> None:
        """New ranks run. How long steps take is known still; what phase they were in is past."""
        self._phases: dict[int, str] = {}
        self._step: float | None = None
        self._since: float | None = None
        self._made = 0
        self._over = False
        self._spoiled = False

    def take(self, local_rank: int, said: dict[str, Any], now: float) -> None:
        """Take what a rank said."""
        kind = said.get("type")
        if kind == "done":
            self._over = True
        elif kind == "phase":
            self._phases[local_rank] = str(said.get("phase"))
            self._declares |= self._phases[local_rank] not in ("", "checkpoint", "restore")
            # The step that this falls into takes longer than a step does.
            self.excuse(now)
        elif kind == "report":
            self._report(said.get("step"), said.get("total_steps"), now)

    def excuse(self, now: float) -> None:
        """A rank of another pod is or was in a phase that is no step: ours may have waited for it."""
        self._spoiled = True
        self._since = now if self._since is not None else None

    def busy(self) -> bool:
        """Whether a rank is in a phase that is no step, or has nothing left but what follows the last one."""
        return self._over or any(phase not in _STEPPING for phase in self._phases.values())

    def limit(self) -> float | None:
        """Seconds that the present step may take; None: it is not watched."""
        if not self._timeout.watch or self._since is None or self.busy():
            return None
        if self._timeout.seconds is not None:
            return self._timeout.seconds
        if self._made < FIRST or not self._recent:
            return None
        return max(FACTOR * max(self._recent), LEAST if self._declares else LEAST_UNDECLARED)

    def stalled(self, now: float) -> Stall | None:
        """In what way training stands still, or None."""
        limit = self.limit()
        if limit is None or self._since is None or now - self._since < limit:
            return None
        learned = "" if self._timeout.seconds is not None else f", learned from steps of {max(self._recent):.3g} s"
        step = "" if self._step is None else f" after step {self._step:.0f}"
        seconds = now - self._since
        return Stall(seconds, f"no step for {seconds:.1f} s{step}; the limit is {limit:.3g} s{learned}")

    def _report(self, step: Any, total: Any, now: float) -> None:
        if not isinstance(step, int | float) or (self._step is not None and step <= self._step):
            return
        if self._since is not None and self._made >= FIRST and not self._spoiled:
            self._recent.append(now - self._since)
        self._made += 1
        self._step, self._since, self._spoiled = step, now, False
        # What follows the last step is no step.
        self._over = isinstance(total, int | float) and step >= total
