"""What the ranks of this pod report, kept for the report to the operator and for the metrics page.

Counters on the page count work that this pod has really done and never go back, also when a restart repeats steps;
`Progress.tokens` and `.samples` are the job's totals along its checkpoints, which do go back with a restart.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from dataclasses import dataclass, field, fields, replace
from typing import Any

from dtj_api.metrics import TrainMetric
from dtj_api.wire import Clock, Pace, Progress
from dtj_trainer.launch.progress.paces import Paces
from dtj_trainer.launch.progress.phase_watch import Stall
from dtj_trainer.launch.progress.round_clock import RoundClock
from dtj_trainer.launch.progress.stall import StepWatch, Timeout

RATE_WINDOW = 30.0
"""Seconds over which tokens/s and samples/s are taken."""
BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


@dataclass
class Histogram:
    """A Prometheus histogram over `BUCKETS`, which are seconds."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    sum: float = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[next((i for i, bound in enumerate(BUCKETS) if value <= bound), len(BUCKETS))] += 1
        self.sum += value


@dataclass
class RankSeries:
    """The series of one local rank; survives the rank's restarts."""

    gauges: dict[TrainMetric, float] = field(default_factory=dict)
    counters: dict[TrainMetric, float] = field(default_factory=dict)
    histograms: dict[TrainMetric, Histogram] = field(default_factory=dict)


GAUGES = {
    "step": TrainMetric.STEP,
    "epoch": TrainMetric.EPOCH,
    "loss": TrainMetric.LOSS,
    "lr": TrainMetric.LEARNING_RATE,
    "grad_norm": TrainMetric.GRAD_NORM,
    "memory": TrainMetric.MEMORY_BYTES,
    "checkpoint_step": TrainMetric.CHECKPOINT_STEP,
    "checkpoint_seconds": TrainMetric.CHECKPOINT_SECONDS,
    "checkpoint_stall_seconds": TrainMetric.CHECKPOINT_STALL_SECONDS,
    "memory_step": TrainMetric.MEMORY_STEP,
}
HISTOGRAMS = {"step_seconds": TrainMetric.STEP_SECONDS, "data_wait_seconds": TrainMetric.DATA_WAIT_SECONDS}
WORK = {
    "tokens": (TrainMetric.TOKENS, TrainMetric.TOKENS_PER_SECOND),
    "samples": (TrainMetric.SAMPLES, TrainMetric.SAMPLES_PER_SECOND),
}
_SHOWN = {"loss", "lr", "grad_norm", "epoch"}
_PROGRESS = {f.name for f in fields(Progress)} - {"tokens", "samples", "updated_at", "phase"}


class Training:
    """All local ranks. Thread-safe.

    Args:
        step_timeout: when training counts as standing still.
    """

    def __init__(self, step_timeout: Timeout) -> None:
        self._watch = StepWatch(step_timeout)
        self._lock = threading.Lock()
        self._ranks: dict[int, RankSeries] = {}
        self._progress: dict[int, Progress] = {}
        self._global: dict[int, int] = {}
        self._done: dict[int, dict[str, float]] = {}
        self._points: dict[int, deque[tuple[float, float, float]]] = {}
        self._clock = RoundClock()
        self._paces = Paces()
        self._reporters: set[int] = set()
        """Global ranks that have reported steps, of this pod in any round."""

    @property
    def reports(self) -> bool:
        """Whether a rank of this pod has ever reported a step."""
        return bool(self._reporters)

    def begin_round(self, ranks: dict[int, int]) -> None:
        """New processes run: local rank to global rank. The phase and the step of the old ones are past."""
        with self._lock:
            self._clock.formed(time.time())
            self._watch.begin_round(ranks)
            self._paces.begin_round()
            self._global = ranks
            self._done = {}
            self._points = {}
            self._progress = {local: replace(p, phase="", step=None) for local, p in self._progress.items()}

    def started(self) -> None:
        """The processes of the round have been forked."""
        with self._lock:
            self._clock.started(time.time())

    def left(self) -> None:
        """The processes of the round are gone."""
        with self._lock:
            self._clock.left(time.time())

    def stalled(self) -> Stall | None:
        """In what way training stands still, or None."""
        with self._lock:
            return self._watch.stalled(time.monotonic())

    def warning(self) -> str:
        """What to say, once, of a step or of a save that takes long; empty: nothing."""
        with self._lock:
            return self._watch.warning(time.monotonic())

    def busy(self) -> bool:
        """Whether a rank is in a phase that is no step."""
        with self._lock:
            return self._watch.busy()

    def still_since(self) -> float:
        """When a rank last made a step or changed its phase, by the monotonic clock; now, where it is in a phase."""
        with self._lock:
            return time.monotonic() if self._watch.busy() else self._watch.moved_at

    def longest_step(self) -> float:
        """Seconds that a step of this round has taken, at most; 0 before there are two."""
        with self._lock:
            return self._watch.longest

    def ended(self, local_rank: int) -> None:
        """A process of the round has ended by itself."""
        with self._lock:
            self._watch.ended(local_rank, time.monotonic())

    def others(self, some_in_none: bool) -> None:
        """Whether there are pods in the round of which no rank is in a phase that is no step."""
        with self._lock:
            self._watch.others(some_in_none, time.monotonic())

    def excuse(self) -> None:
        """A rank of another pod is or was in a phase that is no step: ours may have waited for it."""
        with self._lock:
            self._watch.excuse(time.monotonic())

    def step(self) -> int | None:
        """The last step that was reported in the present round."""
        with self._lock:
            return self._clock.step

    def before_steps(self) -> bool:
        """Whether no rank of this pod has made a step in the present round, as far as can be told."""
        with self._lock:
            # Who was rank 0 and is no more may report nothing now.
            reports = not self._reporters.isdisjoint(self._global.values())
            return self._clock.before_steps(reports, time.time())

    def clock(self) -> Clock:
        """How the present round came to be."""
        with self._lock:
            return self._clock.clock

    def take(self, local_rank: int, said: dict[str, Any]) -> None:
        """Take what a rank said; fields of a wrong type are ignored."""
        numbers = {k: value for k, v in said.items() if (value := _number(v)) is not None}
        # A figure may be no number for a step, and is shown so; what counts must be one.
        lost = {k for k, value in numbers.items() if k not in _SHOWN and not math.isfinite(value)}
        said = {k: v for k, v in said.items() if k not in lost}
        numbers = {k: value for k, value in numbers.items() if k not in lost}
        now = time.time()
        with self._lock:
            self._clock.take(local_rank, said, now)
            if said.get("type") == "pace":
                self._take_pace(local_rank, numbers)
                return
            self._watch.take(local_rank, said, time.monotonic())
            if said.get("type") == "restored":
                # Its step was made long ago, and no progress of this round.
                return
            series = self._ranks.setdefault(local_rank, RankSeries())
            for name, metric in GAUGES.items():
                if name in numbers:
                    series.gauges[metric] = numbers[name]
            for name, metric in HISTOGRAMS.items():
                if name in numbers:
                    series.histograms.setdefault(metric, Histogram()).observe(numbers[name])
            if said.get("type") == "report":
                self._reporters.add(self._global.get(local_rank, local_rank))
                self._count_work(local_rank, series, numbers, now)
            self._progress[local_rank] = self._moved(local_rank, series, said, numbers, now)

    def paces(self) -> tuple[Pace, ...]:
        """What the ranks themselves take for a step."""
        with self._lock:
            return self._paces.known(self._global, time.monotonic())

    def progress(self) -> Progress:
        """Of the lowest local rank that reports."""
        with self._lock:
            return self._progress[min(self._progress)] if self._progress else Progress()

    def series(self) -> dict[int, RankSeries]:
        """A copy of all series, by global rank."""
        with self._lock:
            return {
                self._global.get(local, local): RankSeries(
                    dict(one.gauges),
                    dict(one.counters),
                    {name: Histogram(list(h.counts), h.sum) for name, h in one.histograms.items()},
                )
                for local, one in sorted(self._ranks.items())
            }

    def _take_pace(self, local_rank: int, numbers: dict[str, float]) -> None:
        seconds = numbers.get("seconds")
        if seconds is not None and math.isfinite(seconds):
            self._paces.take(local_rank, seconds, time.monotonic())
            series = self._ranks.setdefault(local_rank, RankSeries())
            series.gauges[TrainMetric.OWN_STEP_SECONDS] = seconds

    def _count_work(self, local_rank: int, series: RankSeries, numbers: dict[str, float], now: float) -> None:
        # The rank says what its process has done in all, so that a report lost on the way loses nothing.
        done = self._done.setdefault(local_rank, {})
        for name, (total, _) in WORK.items():
            if (value := numbers.get(f"{name}_done")) is not None:
                series.counters[total] = series.counters.get(total, 0.0) + max(0.0, value - done.get(name, 0.0))
                done[name] = value
        points = self._points.setdefault(local_rank, deque(maxlen=1000))
        points.append((now, done.get("tokens", 0.0), done.get("samples", 0.0)))
        while points and points[0][0] < now - RATE_WINDOW:
            points.popleft()
        if len(points) > 1 and (seconds := now - points[0][0]) > 0:
            for place, (name, (_, rate)) in enumerate(WORK.items(), start=1):
                if name in done:
                    series.gauges[rate] = (points[-1][place] - points[0][place]) / seconds

    def _moved(
        self, local_rank: int, series: RankSeries, said: dict[str, Any], numbers: dict[str, float], now: float
    ) -> Progress:
        # A loss that is no number shows on the metrics page; JSON and the status have no word for it.
        changed: dict[str, Any] = {
            k: numbers[k] if math.isfinite(numbers[k]) else None for k in _PROGRESS & numbers.keys()
        }
        for name in ("step", "total_steps", "checkpoint_step"):
            if changed.get(name) is not None:
                changed[name] = int(changed[name])
        if isinstance(said.get("phase"), str):
            changed["phase"] = said["phase"][:64]
        for name, (_, rate) in WORK.items():
            if f"{name}_total" in numbers:
                changed[name] = numbers[f"{name}_total"]
            if rate in series.gauges:
                changed[f"{name}_per_second"] = series.gauges[rate]
        if said.get("type") == "report":
            changed["updated_at"] = now
        return replace(self._progress.get(local_rank, Progress()), **changed)


def _number(value: Any) -> float | None:
    """A number, or one of those that JSON tells by name; None for anything else."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    return float(value) if value in ("nan", "inf", "-inf") else None
