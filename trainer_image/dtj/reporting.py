"""What a rank tells of its training. Nothing here blocks, and trouble with the launcher is never the script's."""

from __future__ import annotations

import contextlib
import math
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from dtj.group import patience_of_the_script, process_group
from dtj.link import link
from dtj.pace import pace
from dtj.stages import stages

MEMORY_EVERY = 2.0
"""Seconds between two looks at the memory in use."""


@dataclass
class Work:
    """What this job has trained on so far, as this rank counts it."""

    step: int = 0
    """The last step of the job that was reported."""
    reports: bool = False
    """Whether this process has reported one."""
    done: dict[str, float] = field(default_factory=dict)
    """Tokens and samples in this process."""
    restored: dict[str, float] = field(default_factory=dict)
    """Tokens and samples that the checkpoint carried."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def totals(self) -> dict[str, float]:
        """Tokens and samples of the job: those of the checkpoint and those since."""
        return {name: self.restored.get(name, 0.0) + self.done.get(name, 0.0) for name in {*self.restored, *self.done}}


work = Work()
_last_report: tuple[int, float] | None = None
_last_memory = 0.0


def report(
    *,
    step: int,
    loss: float | None = None,
    epoch: float | None = None,
    total_steps: int | None = None,
    tokens: float | None = None,
    samples: float | None = None,
    lr: float | None = None,
    grad_norm: float | None = None,
    data_wait_seconds: float | None = None,
    step_seconds: float | None = None,
) -> None:
    """Say that a step is done. Call it on every rank or on rank 0 alone, after each step or after some.

    Never blocks, and never raises for trouble with the launcher; without a launcher it does nothing.

    Args:
        step: optimizer steps done since the training began; see `stage` where a script has several.
        loss: of this step; the job's loss is that of rank 0.
        epoch: epochs done, with the fraction of the current one.
        total_steps: steps that the training will take, if known.
        tokens: of this step, over all ranks; what is not finite is not counted.
        samples: the same.
        lr: learning rate.
        grad_norm: norm of the gradients before clipping.
        data_wait_seconds: that this step waited for its data.
        step_seconds: of this step; by default the time since the last report, per step.
    """
    global _last_report
    now = time.monotonic()
    with work.lock:
        step = work.step = stages.reported(int(step))
        work.reports = True
        for name, value in (("tokens", tokens), ("samples", samples)):
            # The sum would be none for ever after one that is none.
            if value is not None and math.isfinite(value):
                work.done[name] = work.done.get(name, 0.0) + float(value)
        if step_seconds is None and _last_report and step > _last_report[0]:
            step_seconds = (now - _last_report[1]) / (step - _last_report[0])
        _last_report = (step, now)
        counts = {f"{name}_done": value for name, value in work.done.items()}
        counts |= {f"{name}_total": value for name, value in work.totals().items()}
    said = {
        "step": step,
        "loss": loss,
        "epoch": epoch,
        "total_steps": None if total_steps is None else stages.of_job(total_steps),
        "lr": lr,
        "grad_norm": grad_norm,
        "data_wait_seconds": data_wait_seconds,
        "step_seconds": step_seconds,
        "memory": _memory(now),
    }
    numbers = {name: float(value) for name, value in said.items() if value is not None}
    link.send({"type": "report", **_finite(numbers), **counts})


@contextlib.contextmanager
def phase(name: str) -> Iterator[None]:
    """Say what the rank is doing while the block runs: restore, train, evaluate, checkpoint or export.

    Phases nest: after the block, the one around it holds again. A phase may take a day; `checkpoint`, where some ranks
    are in it and others in none, no longer than the script's own process group waits, and half an hour at least.
    """
    global _last_report
    _phases.append(name)
    if name != "train":
        pace.skip()
    said: dict[str, Any] = {"type": "phase", "phase": name}
    if name == "checkpoint" and (dist := process_group()) is not None:
        said["patience"] = patience_of_the_script(dist).total_seconds()
    link.send(said)
    try:
        yield
    finally:
        _phases.pop()
        # The next report's step has not taken the time of this block.
        _last_report = None
        link.send({"type": "phase", "phase": _phases[-1] if _phases else ""})


_phases: list[str] = []


def done() -> None:
    """Say that the training is complete: what follows (a test, an export) is no hang.

    Called on any rank; not needed where `report` was given `total_steps`, or the phase is declared.
    """
    link.send({"type": "done"})


def _finite(numbers: dict[str, float]) -> dict[str, Any]:
    """JSON has no NaN: a loss that is none is still told, by name."""
    return {name: value if math.isfinite(value) else str(value) for name, value in numbers.items()}


def _memory(now: float) -> float | None:
    """Bytes in use on the GPU if the rank has one, else resident; None between two looks."""
    global _last_memory
    if now - _last_memory < MEMORY_EVERY:
        return None
    _last_memory = now
    torch = sys.modules.get("torch")
    # Not whether there is a GPU: that asks the driver, after which no child of this process may use one.
    if torch is not None and torch.cuda.is_initialized():
        return float(torch.cuda.max_memory_allocated())
    try:
        with open("/proc/self/statm") as file:
            return float(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None
