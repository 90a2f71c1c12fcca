"""One line that tells how the training goes: redrawn on a terminal, printed now and then elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status

from dtj_api.wire import Progress, Report
from dtj_trainer.launch.progress.phase_watch import STEPPING

PAUSE = 5.0
"""Seconds between two lines where the output is not a terminal."""


class ProgressLine:
    """Takes the launchers' reports and shows the training's state. Use it as a context."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status: Status | None = console.status("starting") if console.is_terminal else None
        self._printed = ("", 0.0)
        self.failure = ""
        """The first failure of the last round that has failed: what came after it may be its consequence."""

    def __enter__(self) -> Self:
        if self._status:
            self._status.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._status:
            self._status.stop()

    def update(self, reports: list[Report]) -> None:
        """Show the newest state."""
        failures = [failure for report in reports for failure in report.failures]
        if failures:
            told = min(failures, key=lambda each: (-each.incarnation, -each.round, each.at))
            said = told.message or f"ended with exit code {told.exit_code}"
            self.failure = f"rank {told.rank}: {said}"
        text = line(reports)
        if self._status:
            self._status.update(text)
            return
        last, at = self._printed
        now = time.monotonic()
        if text != last and now - at >= PAUSE:
            self._console.print(text, highlight=False, soft_wrap=True)
            self._printed = (text, now)


def line(reports: list[Report]) -> str:
    """The state in one line: that of the launcher with rank 0, or what all wait for."""
    first = next((report for report in reports if report.group_rank == 0), None)
    if first is None or first.progress.step is None:
        states = sorted({report.state for report in reports})
        return f"{', '.join(states) or 'starting'} ({len(reports)} workers)"
    progress = first.progress
    parts = [f"step {progress.step}" + (f"/{progress.total_steps}" if progress.total_steps else "")]
    if progress.epoch is not None:
        parts.append(f"epoch {progress.epoch:.2f}")
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.4f}")
    if progress.tokens_per_second:
        parts.append(f"{progress.tokens_per_second:,.0f} tokens/s")
    if (left := eta(progress)) is not None:
        parts.append(f"eta {left // 60:.0f}:{left % 60:02.0f}")
    if progress.phase not in STEPPING:
        parts.append(progress.phase)
    return ", ".join([*parts, f"{first.world_size} ranks"])


def eta(progress: Progress) -> float | None:
    """Seconds to the last step at the rate of samples so far; None when it cannot be told."""
    if not progress.step or not progress.total_steps or not progress.samples_per_second or not progress.samples:
        return None
    per_step = progress.samples / progress.step
    return (progress.total_steps - progress.step) * per_step / progress.samples_per_second
