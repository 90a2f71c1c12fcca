"""Which release acts on a job: the one whose name is in `status.operator`, for as long as it goes on writing there.

Two releases may serve the same namespace, by mistake or while one replaces the other, and their Leases know nothing of
each other. So a claim is written with the status, whose resourceVersion lets one of them win, before anything is done;
it is renewed while the job is not done; and nobody else acts before it has been silent for `SILENCE`. What is left of a
job that is done is to be deleted, which two may do.
"""

from __future__ import annotations

from dtj_api.names import Reason
from dtj_operator.observe.view import SILENCE, JobView

from .actions import DryRunWorker, Event
from .draft import Draft
from .value import Plan

RENEW = SILENCE / 5
"""Seconds after which a status is written again though nothing has changed."""


def claim_at(draft: Draft) -> float | None:
    """When the status has to be written for the claim alone: in the past, if acting must wait for it. None: never."""
    release = draft.view.operator.release
    if draft.view.status.operator != release and any(not isinstance(each, DryRunWorker) for each in draft.actions):
        return 0.0
    return None if draft.status.done else renewal_at(draft.view)


def renewal_at(view: JobView) -> float | None:
    """When the claim to a job that is not done, and for which nothing is to be done, has to be written. None: never."""
    stored = view.status
    if stored.operator not in ("", view.operator.release):
        return 0.0
    return None if stored.updated_at is None else stored.updated_at + RENEW


def say_other(view: JobView) -> Plan:
    """Nothing is done and nothing written about somebody else's job; where that is no intention, it is told."""
    if not view.operator.is_others(view.status, view.status_age) or view.status.done:
        return Plan(view.status)
    text = (
        f"the operator of release {view.operator.release} keeps its hands off: that of release {view.status.operator} "
        "acts on this job; give one of them other namespaces (watchNamespaces) or another managedBy"
    )
    again = round(max(1.0, SILENCE - view.status_age), 3)
    return Plan(view.status, events=(Event("Warning", Reason.OTHER_OPERATOR.value, text),), requeue_after=again)
