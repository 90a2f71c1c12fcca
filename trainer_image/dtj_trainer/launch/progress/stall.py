"""Whether training stands still: the time that a step may take is learned from those that were made.

The first steps of a round compile and warm up, and are not watched. What a rank declares as another phase (a save, an
evaluation, an export) has deadlines of its own (see `phase_watch`); a script that declares none might evaluate between
two steps unseen, so it is given much longer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dtj_trainer.launch.progress.phase_watch import SAVE, PhaseWatch, Stall

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


@dataclass(frozen=True)
class Timeout:
    """How long a step may take."""

    seconds: float | None = None
    """None: learned."""
    watch: bool = True
    """False: as long as it likes."""


class StepWatch:
    """The steps of the ranks of one pod. Not thread-safe: its owner holds a lock. Times are seconds of one clock."""

    def __init__(self, timeout: Timeout) -> None:
        self._timeout = timeout
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._declares = False
        self._phases = PhaseWatch()
        self.begin_round({})

    def begin_round(self, ranks: Mapping[int, int]) -> None:
        """New ranks run, local rank to global rank. How long steps take is known still; their phases are past."""
        self._phases.begin_round(ranks)
        self._step: float | None = None
        self._since: float | None = None
        self._made = 0
        self._over = False
        self._spoiled = False
        self._warned = False
        self.moved_at = float("-inf")
        """When a rank last told of a step or of a phase."""
        self.longest = 0.0
        """Seconds that a step of this round has taken, at most, where no phase was in between."""

    def take(self, local_rank: int, said: dict[str, Any], now: float) -> None:
        """Take what a rank said."""
        kind = said.get("type")
        if kind in ("phase", "report"):
            self.moved_at = now
        if kind == "done":
            self._over = True
        elif kind == "phase":
            self._phases.take(local_rank, said, now)
            self._declares |= said.get("phase") not in ("", SAVE, "restore")
            # The step that this falls into takes longer than a step does.
            self.excuse(now)
        elif kind == "report":
            self._report(local_rank, said.get("step"), said.get("total_steps"), now)

    def ended(self, local_rank: int, now: float) -> None:
        """A rank has ended."""
        self._phases.ended(local_rank, now)

    def others(self, some_in_none: bool, now: float) -> None:
        """Whether there are pods in the round of which no rank is in a phase that is no step."""
        self._phases.others(some_in_none, now)

    def excuse(self, now: float) -> None:
        """A rank of another pod is or was in a phase that is no step: ours may have waited for it."""
        self._spoiled = True
        self._since = now if self._since is not None else None

    def busy(self) -> bool:
        """Whether a rank is in a phase that is no step, or has nothing left but what follows the last one."""
        return self._over or self._phases.busy()

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
        if limit is None or self._since is None:
            return self._phases.overdue(self._timeout.seconds or 0.0, now) if self._timeout.watch else None
        if now - self._since < limit:
            return None
        learned = "" if self._timeout.seconds is not None else f", learned from steps of {max(self._recent):.3g} s"
        step = "" if self._step is None else f" after step {self._step:.0f}"
        seconds = now - self._since
        return Stall(seconds, f"no step for {seconds:.1f} s{step}; the limit is {limit:.3g} s{learned}")

    def warning(self, now: float) -> str:
        """What to say, once, of a step that has taken half of what it may, or of a save of some ranks alone; empty:
        nothing."""
        if self._timeout.watch and (text := self._phases.warning(self._timeout.seconds or 0.0, now)):
            return text
        limit = self.limit()
        if limit is None or self._since is None or self._warned or now - self._since < limit / 2:
            return ""
        self._warned = True
        return (
            f"no step for {now - self._since:.0f} s; after {limit:.3g} s the ranks count as hung and are restarted. "
            'What is no step is declared by `with dtj.phase("evaluate")`; failurePolicy.hang sets another limit'
        )

    def _report(self, local_rank: int, step: Any, total: Any, now: float) -> None:
        if not isinstance(step, int | float) or step == self._step:
            return
        self._phases.stepped(local_rank, now)
        if self._step is not None and step < self._step:
            # Another training begins in the same process: how long its steps take is to be learned anew.
            self._recent.clear()
            self._made, self._spoiled = 0, True
        if self._since is not None and not self._spoiled:
            self.longest = max(self.longest, now - self._since)
            if self._made >= FIRST:
                self._recent.append(now - self._since)
        self._made += 1
        self._step, self._since, self._spoiled, self._warned = step, now, False, False
        # What follows the last step is no step.
        self._over = isinstance(total, int | float) and step >= total
