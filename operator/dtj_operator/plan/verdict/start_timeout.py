"""`spec.schedule.startTimeout`: how long those who are there wait for the others, and a job that never began fails.

A start waits for all workers, and then goes on with fewer where minReplicas allows it. One that has trained knows that
they can be had, and waits a little only.
"""

from __future__ import annotations

from dtj_api.names import Phase, Reason
from dtj_api.scalars import Duration
from dtj_api.verdict import Verdict
from dtj_operator.plan.awaited import waits_for_store, waits_for_workers
from dtj_operator.plan.draft import Draft

SHRINK_PATIENCE = 30.0
"""Most seconds that an elastic job which has trained stands still for a lost worker before fewer go on."""


def start_timeout(draft: Draft) -> Verdict | None:
    """The job never ran in this stretch, and has not even minReplicas or nowhere to meet."""
    there = came_in_time(draft)
    if there is None or not starting(draft):
        return None
    up = f"{len(there)} workers are up after {patience(draft)}"
    least = draft.spec.workers.effective_min
    if len(there) < least:
        return Verdict(Reason.START_TIMEOUT, f"{up}, and at least {least} are needed{missed(draft)}")
    if not draft.roster.met and (store := waits_for_store(draft)) is not None:
        return Verdict(Reason.START_TIMEOUT, f"{up}, and have nowhere to meet: {store[1]}")
    return None


def came_in_time(draft: Draft) -> tuple[int, ...] | None:
    """Who is there, of those who meet next, once nobody waits for the others any more; None: they are still waited for.

    One that stands ready is as good as a member: it may have come in place of one that never will.
    """
    timeout = patience(draft)
    if timeout is None or draft.status.phase in (Phase.RUNNING, Phase.RESIZING) or draft.status.finished_members:
        return None
    begun = draft.status.resumed_at if starting(draft) else draft.status.incarnation_at
    until = (begun or draft.now) + timeout
    if draft.now < until:
        draft.wake(until)
        return None
    if any(draft.roster.worker(index).unheard for index in draft.status.members):
        # Nobody knows yet: it came a moment ago, or this operator did.
        return None
    return tuple(index for index in draft.roster.next_members() if draft.roster.worker(index).answers)


def patience(draft: Draft) -> Duration | None:
    """How long those that are there wait for the others; None: without end."""
    timeout = draft.spec.schedule.start_timeout
    if starting(draft) or draft.spec.workers.effective_min == draft.spec.workers.replicas:
        return timeout
    return Duration(min(SHRINK_PATIENCE, timeout or SHRINK_PATIENCE))


def starting(draft: Draft) -> bool:
    """Nobody has trained yet in this stretch."""
    return draft.status.phase in (Phase.PENDING, Phase.STARTING)


def missed(draft: Draft) -> str:
    """Whom the job waits for, and why that one does not come, to be added to a sentence."""
    waited = waits_for_workers(draft)
    return "" if waited is None else f"; {waited[1]}"
