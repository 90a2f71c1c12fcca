"""`spec.lifecycle`: how a job ends, what is left of it, and when it goes (cleanPods, ttlAfterFinished).

Every process ends with its job. Launchers leave by themselves once the store tells that all are through, but the store
may be gone by then, and one that stood ready was never called. So those who stay are told to stop or deleted; with
cleanPods None, where nobody deletes them, they are told until they go.
"""

from __future__ import annotations

from dtj_api import names
from dtj_api.names import Component, Condition, Phase, Reason
from dtj_api.scalars import Timestamp
from dtj_api.status import WorkerCounts
from dtj_api.template import grace_seconds
from dtj_api.verdict import Verdict
from dtj_api.wire import Stop
from dtj_operator.observe.ends import ended
from dtj_operator.observe.view import PodView
from dtj_operator.plan.actions import DeleteJob, SendStop
from dtj_operator.plan.count.checkpoint_failing import note_saves
from dtj_operator.plan.draft import Draft
from dtj_operator.plan.standstill import stand_still

from .active_deadline import active_seconds

LINGER = 30.0
"""Seconds that pods have after the end to leave by themselves before they are deleted."""
_SAVES_FIRST = frozenset({Reason.DEADLINE_EXCEEDED})
"""The training itself was healthy: what it did since the last checkpoint is worth a save."""


def succeed(draft: Draft) -> None:
    """The job is done."""
    _end(draft, Phase.SUCCEEDED, Condition.SUCCEEDED, Reason.COMPLETED, "all ranks of all workers exited 0", "Normal")


def fail(draft: Draft, why: Verdict) -> None:
    """The job is given up; its workers are told to stop."""
    _end(draft, Phase.FAILED, Condition.FAILED, *why, "Warning")
    _stop(draft)


def _end(draft: Draft, phase: Phase, kind: Condition, reason: Reason, message: str, event: str) -> None:
    draft.set(
        phase=phase,
        active_seconds=round(active_seconds(draft), 3),
        resumed_at=None,
        completion_time=Timestamp(draft.now),
        save=None,
        interruption=None,
        given_up=None,
    )
    draft.condition(kind, True, reason, message)
    stand_still(draft, reason, message)
    draft.tell(event, reason, message)


def after_the_end(draft: Draft) -> None:
    """Delete what `cleanPods` does not keep, and in the end the job."""
    finished = draft.status.completion_time or draft.now
    if _saves(draft):
        note_saves(draft)
    workers = [pod for pod in draft.view.pods if pod.component == Component.WORKER]
    leaving = [pod for pod in workers if not ended(pod) and not pod.held_by]
    patience, kept = finished + LINGER, draft.spec.lifecycle.clean_pods
    late = draft.now >= patience
    for pod in workers:
        if (why := _why_it_goes(pod, kept, late=late)) is not None:
            draft.delete(pod, why)
        if not late and kept != "None" and pod.phase == "Running" and ended(pod):
            draft.wake(patience)
    if leaving:
        draft.wake(draft.now + LINGER if late else patience)
        if (late and kept == "None") or (not late and draft.status.phase == Phase.FAILED):
            _stop(draft)
    else:
        for pod in draft.view.pods:
            if pod.component == Component.STORE:
                draft.delete(pod, "the job has finished")
    draft.set(workers=WorkerCounts(active=len(leaving), failed=draft.status.workers.failed))
    _time_to_live(draft, finished)


def _why_it_goes(pod: PodView, kept: str, *, late: bool) -> str | None:
    """Why a worker's pod is deleted after the end, or None: it is kept, or has some time left to leave by itself."""
    if pod.phase == "Pending" and not ended(pod):
        return "the job has finished before the pod ran"
    if kept == "All" and ended(pod):
        return "the job has finished and lifecycle.cleanPods is All"
    if kept == "None" or not late:
        return None
    if not ended(pod):
        return f"the job has finished and lifecycle.cleanPods is {kept}"
    return "its ranks are through, and another container of it still runs" if pod.phase == "Running" else None


def _time_to_live(draft: Draft, finished: float) -> None:
    ttl = draft.spec.lifecycle.ttl_after_finished
    if ttl is None:
        return
    if draft.now >= finished + ttl:
        draft.act(DeleteJob(draft.view.uid))
    else:
        draft.wake(finished + ttl)


def _stop(draft: Draft) -> None:
    save = _saves(draft)
    for pod in sorted(draft.view.pods, key=lambda each: each.name):
        if pod.component == Component.WORKER and draft.seen.row(pod).hears:
            draft.act(SendStop(pod.name, pod.uid, pod.ip, Stop(_incarnation_of(draft, pod), save)))


def _saves(draft: Draft) -> bool:
    """Whether those who stop should save first: said anew each time, for the first message may be lost."""
    failed = draft.status.condition(Condition.FAILED)
    until = (draft.status.completion_time or draft.now) + grace_seconds(draft.spec.workers.template)
    return failed is not None and failed.reason in _SAVES_FIRST and draft.now < until


def _incarnation_of(draft: Draft, pod: PodView) -> int:
    """The incarnation that the pod's launcher is in, which takes no message for another one."""
    said = draft.view.reports.get(pod.uid)
    if said is not None:
        return said.report.incarnation
    return draft.status.incarnation if draft.roster.met and draft.roster.is_member(pod.index) else 0


def selector(uid: str) -> str:
    """Label selector of the job's worker pods, for the scale subresource."""
    return f"{names.Label.JOB_UID}={uid},{names.Label.COMPONENT}={Component.WORKER}"
