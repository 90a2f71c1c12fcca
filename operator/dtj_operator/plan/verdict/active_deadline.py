"""`spec.lifecycle.activeDeadline`: the time that the job may take, on a clock that stops while it is suspended."""

from __future__ import annotations

from dtj_api.names import Reason
from dtj_api.verdict import Verdict
from dtj_operator.plan.draft import Draft


def overdue(draft: Draft) -> Verdict | None:
    """The job's time is over."""
    deadline = draft.spec.lifecycle.active_deadline
    if deadline is None:
        return None
    left = deadline - active_seconds(draft)
    if left > 0:
        draft.wake(draft.now + left)
        return None
    text = f"the job has been active for {deadline}, which is all that lifecycle.activeDeadline allows"
    return Verdict(Reason.DEADLINE_EXCEEDED, text)


def active_seconds(draft: Draft) -> float:
    """Time on the deadline's clock."""
    status = draft.status
    stretch = 0.0 if status.resumed_at is None else max(0.0, draft.now - status.resumed_at)
    return status.active_seconds + stretch
