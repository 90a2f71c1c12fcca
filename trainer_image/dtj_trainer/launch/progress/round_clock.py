"""When each part of a restart was over on this pod, for the operator's recovery clock."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dtj_api.wire import Clock


class RoundClock:
    """The clock of the present round. Not thread-safe: its owner holds a lock."""

    def __init__(self) -> None:
        self._left_at: float | None = None
        self._step_before: int | None = None
        self.step: int | None = None
        """The last step that was reported in the present round."""
        self._restoring: set[int] = set()
        self.clock = Clock()

    def left(self, now: float) -> None:
        """The ranks of the round are gone."""
        self._left_at = now

    def formed(self, now: float) -> None:
        """A new round has formed."""
        if self.step is not None:
            self._step_before = self.step
        self.step = None
        self._restoring = set()
        self.clock = Clock(left_at=self._left_at, formed_at=now, step_before=self._step_before)

    def started(self, now: float) -> None:
        """The ranks have been forked."""
        self.clock = replace(self.clock, started_at=now)

    def take(self, local_rank: int, said: dict[str, Any], now: float) -> None:
        """Take what a rank said."""
        if self.clock.spoke_at is None:
            self.clock = replace(self.clock, spoke_at=now)
        kind, step = said.get("type"), said.get("step")
        if kind == "phase":
            if said.get("phase") == "restore":
                self._restoring.add(local_rank)
            elif local_rank in self._restoring:
                self._restoring.discard(local_rank)
                self.clock = replace(self.clock, restored_at=now)
        elif kind == "restored" and type(step) is int:
            self.clock = replace(self.clock, restored_step=step)
        elif kind == "report" and isinstance(step, int | float):
            self._report(int(step), now)

    def _report(self, step: int, now: float) -> None:
        self.step = step if self.step is None else max(step, self.step)
        if self.clock.first_step_at is None:
            restored = self.clock.restored_step
            self.clock = replace(
                self.clock, first_step_at=now, restored_step=max(0, step - 1) if restored is None else restored
            )
