"""Whether a job that is meant to run fails: policies in the order in which they have the last word.

Each says why, as one value, and does nothing about it. What was counted before (`Draft.give_up`) is one of them.
"""

from __future__ import annotations

from collections.abc import Callable

from dtj_api.verdict import Verdict
from dtj_operator.plan.draft import Draft

from .active_deadline import overdue
from .max_restarts import budget_spent, given_up
from .start_timeout import start_timeout

_POLICIES: tuple[Callable[[Draft], Verdict | None], ...] = (overdue, given_up, budget_spent, start_timeout)


def verdict(draft: Draft) -> Verdict | None:
    """Why the job fails, or None."""
    for policy in _POLICIES:
        if (found := policy(draft)) is not None:
            return found
    return None
