"""`status.interruption`: training stands still, since when, and by what. The recovery clock runs from here."""

from __future__ import annotations

from dtj_api.names import Cause
from dtj_api.scalars import Timestamp
from dtj_api.status import Interruption
from dtj_operator.plan.draft import Draft

CLOCK_ERROR = 300.0
"""Seconds: a clock that is further off says nothing of use, so the operator's own word is taken."""


def interrupt(draft: Draft, cause: Cause, at: float, node: str = "") -> None:
    """Training stands still from `at` on, unless it did already."""
    if draft.status.interruption is not None:
        return
    # A loss that is older than the last recovery was known late: the clock cannot run twice over the same time.
    last = draft.status.recoveries[-1] if draft.status.recoveries else None
    # A hang began long before it is found. For all else, what is that old is a clock that is off.
    doubted = draft.status.resumed_at if cause is Cause.HANG else draft.now - CLOCK_ERROR
    earliest = max(doubted or 0.0, last.at + last.seconds if last else 0.0)
    draft.set(
        interruption=Interruption(
            at=Timestamp(min(draft.now, max(at, earliest))),
            cause=cause.value,
            node=node,
            detected_at=Timestamp(draft.now),
            step=draft.status.progress.step,
        )
    )


def note_failed_pod(draft: Draft) -> None:
    """The present interruption began with a pod that failed by itself; after which step is known when all are back."""
    began = draft.status.interruption
    if began is not None and began.cause in (Cause.POD_FAILED, Cause.OUT_OF_MEMORY):
        draft.set(interruption=began.model_copy(update={"pod_failed": True}))


def told_to_meet(draft: Draft) -> None:
    """All that the members waited for is there."""
    if draft.status.interruption is not None:
        draft.set(interruption=draft.status.interruption.model_copy(update={"met_at": Timestamp(draft.now)}))
