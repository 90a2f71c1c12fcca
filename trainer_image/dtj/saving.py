"""When to save: one answer for all ranks, whatever the reason and wherever it arose."""

from __future__ import annotations

import time
import zlib
from dataclasses import dataclass, field

from dtj.cadence import history
from dtj.group import agree, process_group
from dtj.link import link
from dtj.pace import pace
from dtj.places import number, seconds
from dtj.reporting import work
from dtj_api.names import Env


@dataclass
class Requests:
    """What has been asked for, and since when."""

    ids: list[str] = field(default_factory=list)
    """Asked of this rank, and not yet saved."""
    agreed: set[int] = field(default_factory=set)
    """Digests of what was asked of any rank in the last agreements: another pod's launcher may ask for the same."""
    last_step: int = 0
    last_time: float = field(default_factory=time.monotonic)
    asked_before: bool = False

    def published(self, step: int) -> tuple[list[str], list[int]]:
        """A save of this step is out: what it answered."""
        answered = self.ids, sorted(self.agreed)
        self.ids, self.agreed = [], set()
        self.last_step, self.last_time = step, time.monotonic()
        return answered


requests = Requests()


def should_save() -> bool:
    """Whether to save a checkpoint now: an interval has passed, the pod is about to leave, or the operator asks.

    A collective when torch.distributed is initialised (one small all-reduce): call it on every rank, after each step;
    all ranks get the same answer. It stays True until a `checkpoint_dir` has been published.
    """
    if not requests.asked_before:
        requests.asked_before = True
        link.send({"type": "ready"})
    requests.ids += [id for id in link.requests() if id not in requests.ids]
    due = bool(requests.ids) or _interval_passed()
    digest = max((zlib.crc32(id.encode()) for id in requests.ids), default=0)
    with pace.waiting():
        save, agreed = agree([int(due), digest])
    if agreed:
        requests.agreed.add(agreed)
    return bool(save)


def _interval_passed() -> bool:
    every = number(Env.SAVE_EVERY_STEPS, 0)
    if every and work.step - requests.last_step >= every:
        return True
    pause = seconds(Env.SAVE_EVERY_SECONDS)
    if number(Env.SAVE_EVERY_AUTO, 0):
        pause = min(pause or history.interval(), history.interval())
    # Clocks of ranks differ by a little: rank 0's decides.
    dist = process_group()
    leads = dist is None or dist.get_rank() == 0
    return bool(pause) and leads and time.monotonic() - requests.last_time >= pause
