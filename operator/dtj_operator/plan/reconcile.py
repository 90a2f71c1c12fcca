"""The operator in one function: what is, is compared with what should be, and the difference is a plan.

Read `_steer` from top to bottom: that is what the operator does, in this order. Each step is one policy in one file.
"""

from __future__ import annotations

from dtj_api.names import Phase
from dtj_api.scalars import Timestamp
from dtj_api.status import JobStatus, WorkerCounts
from dtj_operator.observe.view import JobView

from .count.backoff import bound_holds
from .count.checkpoint_failing import note_saves
from .count.finished import all_finished, note_finished
from .count.lost_pods import count_losses
from .count.progress import EVERY, note_figures
from .count.rounds import count_rounds
from .draft import Draft
from .holder import RENEW, claim_at, say_other
from .need.admission import admit
from .need.children import keep_children, taken_names
from .need.elastic import go_on_with_fewer, resize
from .need.join_timeout import meet_again
from .need.key_refused import replace_refusing
from .need.meeting import meet
from .need.outdated_launchers import replace_outdated
from .need.parallel import in_force
from .need.pods import keep_pods
from .say.conditions import say_where_it_stands
from .say.damaged_checkpoints import note_damaged
from .say.phase import decide_phase, note_trained
from .say.recoveries import note_recovered
from .say.straggler import note_straggler
from .unreadable import say_no_status, say_unreadable
from .value import Plan
from .verdict.last_word import verdict
from .verdict.lifecycle import after_the_end, fail, selector, succeed
from .verdict.suspend import resume, suspend

TAKEN_RETRY = 10.0
"""Seconds after which a name that somebody else holds, or that may not be looked at, is asked for again."""


def plan(view: JobView) -> Plan:
    """What should be done about a job. Total: every view has a plan."""
    if view.deleting:
        return Plan(view.status)
    if view.operator.hands_off(view.managed_by, view.status, view.status_age):
        return say_other(view)
    if view.status_error:
        return say_no_status(view)
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
    # count: what happened, whatever is decided then.
    bound_holds(draft)
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
    # verdict: who has the last word, Suspended > Deadline > Failed > Restart.
    if draft.spec.suspend:
        suspend(draft)
        return
    resume(draft)
    if (why := verdict(draft)) is not None:
        fail(draft, why)
        return
    # need: what a job that goes on lacks.
    go_on_with_fewer(draft)
    if not admit(draft):
        return
    meet_again(draft)
    replace_refusing(draft)
    replace_outdated(draft)
    resize(draft)
    if draft.view.unread or taken_names(draft):
        draft.wake(draft.now + TAKEN_RETRY)
    if not taken_names(draft):
        keep_children(draft)
        keep_pods(draft)
    meet(draft)
    # say: where that leaves it.
    decide_phase(draft)
    note_trained(draft)
    note_recovered(draft)
    say_where_it_stands(draft)
    note_straggler(draft)
    note_damaged(draft)


def _as_plan(draft: Draft) -> Plan:
    stored, status, now = draft.view.status, draft.status, draft.now
    changed = status != stored and not draft.quiet
    urgent = changed and _without_figures(status) != _without_figures(stored)
    due = (stored.updated_at or 0.0) + max(EVERY, draft.spec.metrics.interval)
    if (claim := claim_at(draft)) is not None and now >= claim:
        # Progress waits for its share of the writes; a claim that would run out does not.
        changed, urgent, due = True, urgent or now >= claim + RENEW, min(due, claim)
    write = urgent or (changed and now >= due)
    if write:
        status = status.model_copy(update={"operator": draft.view.operator.release, "updated_at": Timestamp(now)})
    else:
        for at in (due if changed else None, claim):
            if at is not None:
                draft.wake(at)
    wake = draft.wake_at
    return Plan(
        status=status,
        write=write,
        urgent=urgent,
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
