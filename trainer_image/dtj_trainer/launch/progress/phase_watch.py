"""For how long phases that are no steps excuse that none is made: each has its own deadline, and is named after it.

A save is for every rank. Where some make one and others do not come to it, those that do wait in the library's
collectives, and the others perhaps in the script's: neither ends before the patience of the script's process group.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

DEADLINE = 86400.0
"""Seconds without a word from the rank that any phase may take: for so long ranks wait for a volume."""
APART = 1800.0
"""Seconds that a save which some ranks do not come to may take, where the rank does not tell its group's patience."""
MARGIN = 60.0
"""Seconds on top, for the script's own error to come first: it says more."""
TELL_AFTER = 60.0
"""Seconds after which such a save is told in the log."""
SAVE = "checkpoint"
STEPPING = ("", "train")
"""Phases in which steps are made; empty: the script names none."""
_MOST = 5
"""Ranks that a text names."""


@dataclass(frozen=True)
class Stall:
    """Training stands still."""

    seconds: float
    """Since the last step or, in a phase, since it began."""
    text: str
    """That in words, with the limit."""


@dataclass(frozen=True)
class _Phase:
    name: str
    since: float
    """When it began, or the rank last made a step in it."""
    patience: float

    @property
    def steps(self) -> bool:
        return self.name in STEPPING


class PhaseWatch:
    """The phases of the ranks of one pod. Not thread-safe: its owner holds a lock. Times are seconds of one clock."""

    def __init__(self) -> None:
        self.begin_round({})

    def begin_round(self, ranks: Mapping[int, int]) -> None:
        """New ranks run, local rank to global rank; none is in a phase."""
        self._names = dict(ranks)
        self._phases = {local: _Phase("", 0.0, APART) for local in ranks}
        self._others = False
        self._apart_since: float | None = None
        self._told = False

    def take(self, local_rank: int, said: dict[str, Any], now: float) -> None:
        """A rank has declared a phase."""
        told, patience = said.get("patience"), APART
        if isinstance(told, int | float) and math.isfinite(told):
            patience = min(DEADLINE, max(APART, float(told)))
        self._phases[local_rank] = _Phase(str(said.get("phase")), now, patience)
        self._settle(now)

    def stepped(self, local_rank: int, now: float) -> None:
        """A rank has made a step: whoever steps waits for nobody, and one that does so in a phase goes on in it."""
        phase = self._phases.get(local_rank)
        if phase is not None:
            self._phases[local_rank] = replace(phase, since=now)
        if self._apart_since is not None:
            self._apart_since = now

    def ended(self, local_rank: int, now: float) -> None:
        """A rank has ended: it is in no phase, and comes to none."""
        self._phases.pop(local_rank, None)
        self._settle(now)

    def others(self, some_in_none: bool, now: float) -> None:
        """Whether there are pods in the round of which no rank is in a phase that is no step."""
        self._others = some_in_none
        self._settle(now)

    def busy(self) -> bool:
        """Whether a rank is in a phase that is no step."""
        return not all(phase.steps for phase in self._phases.values())

    def overdue(self, least: float, now: float) -> Stall | None:
        """What has taken longer than any such phase may, or None.

        Args:
            least: seconds that it may take in any case.
            now: on the clock of the rest.
        """
        limit = max(least, self._patience())
        if self._apart_since is not None and now - self._apart_since >= limit:
            seconds = now - self._apart_since
            return Stall(seconds, f"{self._apart(seconds)}; the limit is {limit:.0f} s")
        limit = max(least, DEADLINE)
        late = {local: p for local, p in self._phases.items() if not p.steps and now - p.since >= limit}
        if not late:
            return None
        first = min(late.values(), key=lambda phase: phase.since)
        seconds = now - first.since
        return Stall(
            seconds, f"{self._ranks(late)} in phase {first.name} for {seconds:.0f} s; the limit is {limit:.0f} s"
        )

    def warning(self, least: float, now: float) -> str:
        """What to say, once, of a save that some do not come to; empty: nothing."""
        since = min((p.since for p in self._saving().values()), default=now)
        if self._apart_since is None or self._told or now - max(since, self._apart_since) < TELL_AFTER:
            return ""
        self._told = True
        return (
            f"{self._apart(now - self._apart_since)}: a save is for every rank to make; after "
            f"{max(least, self._patience()):.0f} s without a step the ranks count as hung and are restarted"
        )

    def _settle(self, now: float) -> None:
        here = any(phase.steps for phase in self._phases.values())
        if not self._saving() or not (here or self._others):
            self._apart_since, self._told = None, False
        elif self._apart_since is None:
            self._apart_since = now

    def _saving(self) -> dict[int, _Phase]:
        return {local: phase for local, phase in self._phases.items() if phase.name == SAVE}

    def _patience(self) -> float:
        return max((phase.patience for phase in self._saving().values()), default=APART) + MARGIN

    def _apart(self, seconds: float) -> str:
        saving = self._ranks(self._saving())
        return f"{saving} in phase {SAVE} for {seconds:.0f} s, and others of the job are in none"

    def _ranks(self, found: Mapping[int, _Phase]) -> str:
        names = sorted(self._names.get(local, local) for local in found)
        shown = ", ".join(map(str, names[:_MOST])) + (", ..." if len(names) > _MOST else "")
        return f"rank {shown} has been" if len(names) == 1 else f"ranks {shown} have been"
