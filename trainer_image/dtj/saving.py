"""When to save: one answer for all ranks, whatever the reason and wherever it arose."""

from __future__ import annotations

import os
import sys
import time
import zlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from dtj.agreement import agreement
from dtj.cadence import history
from dtj.flight import Flight
from dtj.group import process_group, rank
from dtj.link import link
from dtj.pace import pace
from dtj.places import number, seconds
from dtj.reporting import phase, work
from dtj.stages import stages
from dtj.troubles import save_failed
from dtj_api.names import Env

SLOW = 0.2
"""Seconds between two calls of `should_save` from which on none is answered late: a pod may be about to leave."""
RETRY = 5.0
"""Seconds between two tries of a save that is asked for."""
CONTINUE = "Continue"
"""`checkpoint.onFailure`, as the launcher's environment has it."""


class SaveError(OSError):
    """A checkpoint was not published, on any rank; the earlier ones stand. The text says which rank and why.

    Args:
        text: of the message.
        code: errno where one is known.
    """

    def __init__(self, text: str, code: int | None = None) -> None:
        super().__init__(text)
        self.errno = code


@dataclass
class Requests:
    """What has been asked for, and since when."""

    ids: list[str] = field(default_factory=list)
    """Asked of this rank, and not yet saved."""
    answered: deque[int] = field(default_factory=lambda: deque(maxlen=64))
    """Digests of what the last saves have answered: a launcher may ask for it a moment before it hears of that."""
    agreed: set[int] = field(default_factory=set)
    """Digests of what was asked of any rank in the last agreements: another pod's launcher may ask for the same."""
    last_step: int = 0
    """Of the job, in the last checkpoint."""
    last_time: float = field(default_factory=time.monotonic)
    due_since: float | None = None
    """Since when `should_save` has been saying so."""
    retry_at: float = 0.0
    """When what is asked for may be tried again, after a save that failed."""
    asked_at: float | None = None
    """When `should_save` was last called."""
    asked_step: int | None = None
    """The step that had been reported then."""
    stride: int | None = None
    """The most steps from one call to the next; None: not known yet."""
    flight: Flight | None = None
    """The save that goes on in the background; on all ranks or on none."""

    def take(self, ids: Iterable[str]) -> None:
        """Take note of what the launcher asks for; the same id twice is one save."""
        self.ids += [id for id in ids if id not in self.ids and _digest(id) not in self.answered]

    def begun(self, step: int) -> None:
        """The next interval counts from here."""
        self.last_step, self.last_time, self.due_since = step, time.monotonic(), None

    def answer(self) -> tuple[list[str], list[int]]:
        """What a save that was made now answers."""
        answered = self.ids, sorted(self.agreed)
        self.answered += {*map(_digest, self.ids), *self.agreed}
        self.ids, self.agreed = [], set()
        return answered

    def agree(self, answer: list[int] | None) -> None:
        """Take note of what all ranks have been asked for."""
        if answer is not None and answer[_DIGEST]:
            self.agreed.add(answer[_DIGEST])


def _digest(id: str) -> int:
    return zlib.crc32(id.encode())


requests = Requests()
_DUE, _DIGEST, _FLIES = range(3)
"""What ranks agree on: whether to save, the digest of what was asked for, whether a save goes on in the background."""


def should_save() -> bool:
    """Whether to save a checkpoint now: an interval has passed, the pod is about to leave, or the operator asks.

    A collective when torch.distributed is initialised (one small all-reduce on the CPUs): call it on every rank, after
    each step; all ranks get the same answer. It stays True until a checkpoint has been published or, in the background,
    begun. With several ranks and steps of less than 0.2 s the answer is that of the call before, so that nobody waits;
    an interval in steps is kept to exactly all the same. An interval in seconds waits for the end of what is saved in
    the background; one in steps is kept to, whatever it costs.

    Raises:
        SaveError: on every rank, when the save in the background has failed and `checkpoint.onFailure` is not Continue.
    """
    if requests.asked_at is None:
        link.send({"type": "ready"})
    requests.take(link.requests())
    flight = requests.flight
    due = (bool(requests.ids) and time.monotonic() >= requests.retry_at) or _interval_passed()
    digest = max(map(_digest, requests.ids), default=0)
    with pace.waiting():
        flies = int(flight is not None and not flight.over)
        answer = agreement.of([int(due), digest, flies], waits=_answer_may_not_be_late())
    if answer is None:
        return False
    requests.agree(answer)
    if not answer[_FLIES]:
        try:
            _land()
        except SaveError as error:
            go_on_without(error)
    if answer[_DUE] and requests.due_since is None:
        requests.due_since = time.monotonic()
    return bool(answer[_DUE])


def wait_for_save() -> None:
    """Return when the save in the background, if there is one, has been published; call it on every rank.

    Call it before the script ends: what is not published then may be lost.

    Raises:
        SaveError: on every rank, when it has failed, whatever `checkpoint.onFailure` says: no later save may follow.
    """
    if requests.flight is not None:
        with phase("checkpoint"):
            requests.flight.wait()
        _land()


def go_on_without(error: SaveError) -> None:
    """Go on, where `checkpoint.onFailure` is Continue, after a save that failed while training goes on.

    Raises:
        SaveError: it is not, or there is no launcher that would know.
    """
    if os.environ.get(Env.SAVE_ON_FAILURE) != CONTINUE:
        raise error
    requests.retry_at = time.monotonic() + RETRY
    say(f"{error}; training goes on without it")


def say(text: str) -> None:
    """Say it in the log of rank 0, where it is the same for all."""
    if rank() == 0:
        print(f"dtj: {text}", file=sys.stderr, flush=True)


def tell_saved(step: int, took: float, stall: float, answered: tuple[list[str], list[int]] = ([], [])) -> None:
    """A checkpoint is out: say so, and remember what it cost.

    Args:
        step: of the checkpoint.
        took: seconds until it was published.
        stall: seconds of these that training stood still.
        answered: by this save. One that was asked for is never made in the background.
    """
    ids, digests = answered
    history.saved(stall)
    link.send({"type": "saved", "step": step, "seconds": took, "stall": stall, "ids": ids, "digests": digests})
    if number(Env.SAVE_EVERY_AUTO, 0) and rank() == 0:
        link.send({"type": "cadence", "save_interval": history.interval()})


def carried(step: int, *, best: bool = False) -> dict[str, Any]:
    """What a checkpoint of a step of the job tells whoever goes on from it, as of now: a save may take long."""
    state = {"step": step, "totals": work.totals(), "manifest": True, "history": history.carried()}
    more = {"best": best, "stages": stages.carried()}
    return state | {name: value for name, value in more.items() if value}


def _land() -> None:
    """Take note of what became of the save in the background, which is over on all ranks."""
    flight, requests.flight = requests.flight, None
    if flight is None:
        return
    flight.wait()
    if isinstance(flight.error, SaveError):
        save_failed(flight.step, flight.error)
    if flight.error is not None:
        raise flight.error
    tell_saved(flight.step, flight.seconds, flight.stall)


def _answer_may_not_be_late() -> bool:
    """Whether the next call has to be answered at once: it may come to the end of an interval, or steps are slow."""
    now, before = time.monotonic(), requests.asked_at
    if requests.asked_step is not None and work.step > requests.asked_step:
        requests.stride = max(requests.stride or 0, work.step - requests.asked_step)
    requests.asked_at, requests.asked_step = now, work.step
    every = number(Env.SAVE_EVERY_STEPS, 0)
    # Whoever reports nothing leaves that to those who do.
    ends = every and work.reports and (work.step + (requests.stride or every)) // every > requests.last_step // every
    return bool(ends) or before is None or now - before >= SLOW


def _interval_passed() -> bool:
    every = number(Env.SAVE_EVERY_STEPS, 0)
    # At its multiples, wherever the job went on from: `keepEvery` counts on them.
    if every and work.step // every > requests.last_step // every:
        return True
    if requests.flight is not None:
        return False
    pause = seconds(Env.SAVE_EVERY_SECONDS)
    if number(Env.SAVE_EVERY_AUTO, 0):
        pause = min(pause or history.interval(), history.interval())
    # Clocks of ranks differ by a little: rank 0's decides.
    dist = process_group()
    leads = dist is None or dist.get_rank() == 0
    return bool(pause) and leads and time.monotonic() - requests.last_time >= pause
