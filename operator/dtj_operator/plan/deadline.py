"""`spec.lifecycle.activeDeadline`: the time that the job may take, on a clock that stops while it is suspended."""

from __future__ import annotations

from .draft import Draft


def overdue(draft: Draft) -> str | None:
    """Why the job's time is over, or None."""
    deadline = draft.spec.lifecycle.active_deadline
    if deadline is None:
        return None
    left = deadline - draft.active_seconds
    if left > 0:
        draft.wake(draft.now + left)
        return None
    return f"the job has been active for {deadline}, which is all that lifecycle.activeDeadline allows"
