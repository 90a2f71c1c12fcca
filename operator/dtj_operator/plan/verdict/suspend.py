"""`spec.suspend`: the pods go, the checkpoint stays, the deadline's clock stops.

The pods of the stretch that ends are told from those of the next by the incarnation in their label, so nothing has to
be remembered about each of them, and none of their ends is counted.
"""

from __future__ import annotations

from collections.abc import Sequence

from dtj_api import names
from dtj_api.names import Component, Phase, Reason
from dtj_api.scalars import Timestamp
from dtj_api.status import NewcomerStatus, StoreStatus
from dtj_operator.observe.view import PodView
from dtj_operator.observe.worker import held_up
from dtj_operator.plan.count.progress import note_last_save
from dtj_operator.plan.count.rounds import write_off
from dtj_operator.plan.draft import Draft
from dtj_operator.plan.standstill import stand_still

from .active_deadline import active_seconds


def suspend(draft: Draft) -> None:
    """Keep the job without pods."""
    if draft.status.resumed_at is not None:
        draft.set(
            active_seconds=round(active_seconds(draft), 3),
            resumed_at=None,
            oldest_incarnation=draft.status.incarnation + 1,
            members=(),
            min_members=0,
            finished_members=(),
            save=None,
            interruption=None,
            store=StoreStatus(),
            pods=(),
            counted_pods=(),
            create_after=None,
            in_vain=0,
            in_vain_at=None,
            newcomers=NewcomerStatus(),
            template_hash="",
        )
        draft.tell("Normal", Reason.SUSPENDED, "suspended: the pods save and leave, checkpoints are kept")
    note_last_save(draft)
    leave(draft, draft.view.pods)
    left = len(draft.view.pods)
    draft.set(phase=Phase.SUSPENDED)
    text = f"spec.suspend is true; {left} pods are leaving" if left else "spec.suspend is true; no pod is left"
    for held in list(draft.seen.held.values())[:3]:
        text += f"; {held_up(held)}"
    if draft.status.given_up is not None:
        text += f"; the job fails when it resumes: {draft.status.given_up.message}"
    draft.condition(names.Condition.SUSPENDED, True, Reason.SUSPENDED, text)
    stand_still(draft, Reason.SUSPENDED, text)


def leave(draft: Draft, pods: Sequence[PodView]) -> None:
    """Delete the pods of an earlier stretch: workers first, for they leave through the store."""
    # One that finalizers alone keep has left.
    workers = [pod for pod in pods if pod.component != Component.STORE and not pod.held_by]
    for pod in workers or pods:
        draft.delete(pod, "the job was suspended")


def resume(draft: Draft) -> None:
    """Begin a stretch that is not suspended: a new incarnation of all wanted workers, with a new start timeout."""
    if draft.status.resumed_at is not None:
        return
    first = draft.status.start_time is None
    now = Timestamp(draft.now)
    draft.begin_incarnation(draft.roster.wanted[: draft.roster.size])
    write_off(draft)
    draft.set(
        resumed_at=now,
        start_time=now if first else draft.status.start_time,
        oldest_incarnation=draft.status.incarnation,
        phase=Phase.PENDING,
    )
    if draft.status.is_true(names.Condition.SUSPENDED):
        draft.condition(names.Condition.SUSPENDED, False, Reason.RESUMED, "spec.suspend is false")
        draft.tell("Normal", Reason.RESUMED, f"resumed as incarnation {draft.status.incarnation}")
