"""When each part of a restart was over on this pod, for the operator's recovery clock."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dtj_api.wire import Clock

TRAINED = 60.0
"""Seconds after which a round counts as training where no step is reported."""
_BEFORE_STEPS = frozenset({"phase", "restored", "damaged"})
"""What ranks may say through `dtj` before they have made a step. All else comes with steps or after them."""


class RoundClock:
    """The clock of the present round. Not thread-safe: its owner holds a lock."""

    def __init__(self) -> None:
        self._left_at: float | None = None
        self._step_before: int | None = None
        self.step: int | None = None
        """The last step that was reported in the present round."""
        self._moved = False
        """A rank has said in the present round what only comes with steps."""
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
        self._moved = False
        self._restoring = set()
        self.clock = Clock(left_at=self._left_at, formed_at=now, step_before=self._step_before)

    def started(self, now: float) -> None:
        """The ranks have been forked."""
        self.clock = replace(self.clock, started_at=now)

    def take(self, local_rank: int, said: dict[str, Any], now: float) -> None:
        """Take what a rank said."""
        kind, step = said.get("type"), said.get("step")
        self._moved = self._moved or kind not in _BEFORE_STEPS
        if kind == "pace":
            # By a hook of ours, and no word of the script's.
            return
        if self.clock.spoke_at is None:
            self.clock = replace(self.clock, spoke_at=now)
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

    def before_steps(self, reports: bool, now: float) -> bool:
        """Whether no step of the present round has been made.

        A script that tells of no steps may have made some, also one that restores through `dtj`: it is believed for as
        long as a round counts as no training.

        Args:
            reports: one of these ranks has reported steps in an earlier round, so it would have.
            now: by the clock that the others are told by.
        """
        if self._moved:
            return False
        began = self.clock.started_at
        return reports or (began is not None and now - began < TRAINED)

    def _report(self, step: int, now: float) -> None:
        self.step = step if self.step is None else max(step, self.step)
        if self.clock.first_step_at is None:
            restored = self.clock.restored_step
            self.clock = replace(
                self.clock, first_step_at=now, restored_step=max(0, step - 1) if restored is None else restored
            )
