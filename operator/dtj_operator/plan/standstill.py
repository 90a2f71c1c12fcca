"""What is said of a job that does not train, and does not begin to by itself."""

from __future__ import annotations

from dtj_api.names import Condition, Reason

from .draft import Draft


def stand_still(draft: Draft, reason: Reason, message: str) -> None:
    """Say why; of its ranks nothing is claimed any more."""
    draft.condition(Condition.PROGRESSING, False, reason, message)
    draft.condition(Condition.READY, False, reason, message)
    draft.set(straggler=None)
    draft.clear(Condition.STRAGGLER, reason, message)
