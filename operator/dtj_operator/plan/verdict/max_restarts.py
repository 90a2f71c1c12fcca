"""`spec.failurePolicy.maxRestarts`: when the job has failed often enough, or in a way that no restart mends."""

from __future__ import annotations

from dtj_api.names import Reason
from dtj_api.verdict import Verdict, over_budget
from dtj_operator.plan.count.restarts import RECENT
from dtj_operator.plan.draft import Draft


def given_up(draft: Draft) -> Verdict | None:
    """What was seen after which no restart helps, in this reconcile or before the job was suspended."""
    known = draft.status.given_up
    if known is None:
        return None
    # A newer version may have written a reason of its own.
    return Verdict(Reason(known.reason) if known.reason in tuple(Reason) else Reason.FAILURE_RULE, known.message)


def budget_spent(draft: Draft) -> Verdict | None:
    """More restarts than `maxRestarts` allows within `window`."""
    policy = draft.spec.failure_policy
    last = draft.status.restarts
    failures = sum(at > draft.now - policy.window for at in last.recent)
    if policy.max_restarts >= RECENT:
        # Not all that were in the window are known; all that ever were are counted.
        failures = last.counted if failures >= RECENT else failures
    return over_budget(policy, failures, f"{last.last_cause}: {last.last_message}")
