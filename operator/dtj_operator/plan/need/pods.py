"""`spec.workers.replicas`: one pod for each wanted index, never two, and none made anew while the old one is there.

Names are deterministic, so the API server itself refuses a second pod of an index; what is planned here is only ever
the first. A pod that lives is never deleted to make another one.
"""

from __future__ import annotations

from dtj_api import names
from dtj_api.names import Component, Reason
from dtj_api.wire import Stop
from dtj_operator.observe.ends import ended
from dtj_operator.observe.view import PodView
from dtj_operator.plan.actions import CreateStore, CreateWorker, SendStop
from dtj_operator.plan.count.excluded_nodes import avoided
from dtj_operator.plan.draft import Draft
from dtj_operator.plan.verdict.suspend import leave

PARTING = 10.0
"""Seconds that a worker has to stop by itself after a resize."""


def keep_pods(draft: Draft) -> None:
    """Delete the pods whose end is counted and those not wanted any more, create the missing ones."""
    leave(draft, [pod for pod in draft.view.pods if draft.roster.left_over(pod)])
    _delete_used(draft)
    if all(draft.roster.is_through(index) for index in draft.status.members):
        return
    occupied = {pod.name for pod in draft.view.pods}
    missing = [
        index
        for index in draft.roster.wanted
        if index not in draft.roster.pods
        and not draft.roster.is_through(index)
        and names.worker_name(draft.view.name, index) not in occupied
    ]
    store, avoid = names.store_name(draft.view.name), avoided(draft)
    until = draft.status.store.create_after
    if store not in occupied and until is not None and draft.now < until:
        draft.wake(until)
    elif store not in occupied:
        draft.act(CreateStore(store, draft.status.incarnation, avoid))
    held = {index: until for index in missing if (until := draft.made_after(index)) is not None and draft.now < until}
    for until in held.values():
        draft.wake(until)
    due = [index for index in missing if index not in held]
    for index in due:
        draft.act(CreateWorker(names.worker_name(draft.view.name, index), index, draft.status.incarnation, avoid))
    if not due:
        return
    which = f"worker {due[0]}" if len(due) == 1 else f"{len(due)} workers"
    draft.tell("Normal", Reason.CREATED, f"creating {which} in incarnation {draft.status.incarnation}")


def _delete_used(draft: Draft) -> None:
    for pod in draft.view.pods:
        if draft.roster.left_over(pod):
            continue
        if pod.component == Component.WORKER and not draft.roster.is_needed(pod.index):
            _part_with(draft, pod)
        elif draft.roster.is_used_up(pod.uid):
            runs = not draft.seen.over(pod)
            draft.delete(pod, _why_used(draft, pod), force=runs and pod.component == Component.STORE)
        elif pod.deletion_at is not None:
            draft.delete(pod, "somebody deleted it")


def _why_used(draft: Draft, pod: PodView) -> str:
    if end := draft.seen.end_of(pod):
        return f"its end is counted ({end.cause})"
    if ended(pod):
        return "it has ended and is needed again"
    if pod.uid in draft.replaced:
        return draft.replaced[pod.uid]
    if pod.component == Component.WORKER and draft.roster.is_wanted(pod.index):
        return "it is replaced"
    return "its members cannot reach it" if pod.component == Component.STORE else "it was scaled away"


def _part_with(draft: Draft, pod: PodView) -> None:
    """Send a worker away that is not wanted any more.

    The others saved with it and have left. At SIGTERM it would try to save once more, with peers that are not there,
    for most of its grace period; so it is told to stop first.
    """
    reported = draft.view.reports.get(pod.uid)
    until = (draft.status.incarnation_at or 0.0) + PARTING
    runs = not draft.seen.over(pod) and pod.deletion_at is None
    if reported is not None and reported.report.incarnation > 0 and runs and draft.now < until:
        message = Stop(reported.report.incarnation, save=False)
        draft.act(SendStop(pod.name, pod.uid, pod.ip, message))
        draft.wake(until)
        return
    draft.delete(pod, f"{len(draft.roster.wanted)} workers are wanted")
