"""The operator in one function: what is, is compared with what should be, and the difference is a plan.

Read `_steer` from top to bottom: that is what the operator does, in this order. Each step is one policy in one file.
"""

from __future__ import annotations

from dtj_api.names import OPERATOR, Phase, Reason
from dtj_api.scalars import Timestamp
from dtj_api.status import JobStatus, WorkerCounts
from dtj_operator.observe.view import JobView

from .actions import Create
from .admission import admit
from .children import keep_children
from .conditions import say_where_it_stands
from .damage import note_damaged
from .deadline import overdue
from .draft import Draft
from .elastic import resize, shrink_at_timeout
from .failure_policy import verdict
from .lifecycle import after_the_end, fail, selector, succeed
from .losses import count_losses
from .meeting import meet
from .misfit import in_force
from .phase import decide_phase
from .progress import EVERY, note_figures
from .recovery import note_recovered
from .refusing import replace_refusing
from .rendezvous import meet_again
from .rounds import count_rounds
from .saves import note_saves
from .straggler import note_straggler
from .success import all_finished, note_finished
from .suspend import resume, suspend
from .unreadable import say_unreadable
from .value import Plan
from .waiting import taken_names
from .workers import keep_pods

TAKEN_RETRY = 10.0
"""Seconds after which a name that somebody else holds is looked at again."""


def plan(view: JobView) -> Plan:
    """What should be done about a job. Total: every view has a plan."""
    if view.deleting or view.managed_by not in ("", OPERATOR):
        return Plan(view.status)
    if view.spec is None:
        return say_unreadable(view)
    draft = Draft(view, in_force(view.spec, view.status))
    _steer(draft)
    draft.set(observed_generation=view.generation, selector=selector(view.uid))
    return _as_plan(draft)


def _steer(draft: Draft) -> None:
    if draft.status.done:
        after_the_end(draft)
        return
    # What happened is counted first, whatever is decided then.
    note_figures(draft)
    note_finished(draft)
    if draft.status.resumed_at is not None:
        count_rounds(draft)
    note_saves(draft)
    if all_finished(draft):
        succeed(draft)
        return
    if draft.status.resumed_at is not None:
        count_losses(draft)
    # Then who has the last word: Suspended > Deadline > Failed > Restart.
    if draft.spec.suspend:
        suspend(draft)
        return
    resume(draft)
    if (late := overdue(draft)) is not None:
        fail(draft, Reason.DEADLINE_EXCEEDED, late)
        return
    if (given_up := verdict(draft)) is not None:
        fail(draft, *given_up)
        return
    if (missing := shrink_at_timeout(draft)) is not None:
        fail(draft, Reason.START_TIMEOUT, missing)
        return
    # What the job needs.
    if not admit(draft):
        return
    meet_again(draft)
    replace_refusing(draft)
    resize(draft)
    if taken_names(draft):
        draft.wake(draft.now + TAKEN_RETRY)
    else:
        keep_children(draft)
        keep_pods(draft)
    meet(draft)
    # What is said of it.
    decide_phase(draft)
    note_recovered(draft)
    say_where_it_stands(draft)
    note_straggler(draft)
    note_damaged(draft)


def _as_plan(draft: Draft) -> Plan:
    stored, status, now = draft.view.status, draft.status, draft.now
    changed = status != stored and not draft.quiet
    urgent = changed and _without_figures(status) != _without_figures(stored)
    due = (stored.updated_at or 0.0) + max(EVERY, draft.spec.metrics.interval)
    write = urgent or (changed and now >= due)
    if write:
        status = status.model_copy(update={"updated_at": Timestamp(now)})
    elif changed:
        draft.wake(due)
    wake = draft.wake_at
    return Plan(
        status=status,
        write=write,
        urgent=urgent,
        eager=write and stored.start_time is None and all(isinstance(each, Create) for each in draft.actions),
        actions=draft.actions,
        events=tuple(draft.events),
        requeue_after=None if wake is None else round(max(0.05, wake - now), 3),
    )


def _without_figures(status: JobStatus) -> JobStatus:
    empty = JobStatus()
    conditions = tuple(each.model_copy(update={"message": ""}) for each in status.conditions)
    return status.model_copy(
        update={
            "progress": empty.progress,
            # Of a pod that leaves this is the last word: there may be nobody to ask again in a few seconds.
            "straggler": None,
            "checkpoint": status.checkpoint
            if status.phase == Phase.SUSPENDED
            else empty.checkpoint.model_copy(
                update={"damaged": status.checkpoint.damaged, "failed_at": status.checkpoint.failed_at}
            ),
            "workers": WorkerCounts(desired=status.workers.desired),
            "pods": () if status.phase in (Phase.PENDING, Phase.STARTING) and not status.store.address else status.pods,
            "conditions": conditions,
        }
    )
