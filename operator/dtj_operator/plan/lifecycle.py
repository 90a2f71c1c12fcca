"""`spec.lifecycle`: how a job ends, what is left of it, and when it goes (cleanPods, ttlAfterFinished)."""

from __future__ import annotations

from dtj_api import names
from dtj_api.names import Component, Condition, Phase, Reason
from dtj_api.scalars import Timestamp
from dtj_api.status import WorkerCounts
from dtj_api.wire import Stop
from dtj_operator.observe.view import PodView

from .actions import DeleteJob, SendStop
from .conditions import not_progressing
from .draft import Draft
from .ends import ended

LINGER = 30.0
"""Seconds that pods have after the end to leave by themselves before they are deleted."""
NUDGE = 2.0
"""Seconds after which a pod that was told to stop and still runs is told once more."""


def succeed(draft: Draft) -> None:
    """The job is done."""
    _end(draft, Phase.SUCCEEDED, Condition.SUCCEEDED, Reason.COMPLETED, "all ranks of all workers exited 0", "Normal")


def fail(draft: Draft, reason: Reason, message: str, *, save: bool) -> None:
    """The job is given up; its workers are told to stop.

    Args:
        save: whether they should save first: the training itself was healthy.
    """
    _end(draft, Phase.FAILED, Condition.FAILED, reason, message, "Warning")
    _stop(draft, save)


def _end(draft: Draft, phase: Phase, kind: Condition, reason: Reason, message: str, event: str) -> None:
    draft.set(
        phase=phase,
        active_seconds=round(draft.active_seconds, 3),
        resumed_at=None,
        completion_time=Timestamp(draft.now),
        save=None,
    )
    draft.condition(kind, True, reason, message)
    not_progressing(draft, reason, message)
    draft.tell(event, reason, message)
    draft.wake(draft.now + NUDGE)


def after_the_end(draft: Draft) -> None:
    """Delete what `cleanPods` does not keep, and in the end the job."""
    finished = draft.status.completion_time or draft.now
    kept = draft.spec.lifecycle.clean_pods
    leaving = [pod for pod in draft.view.pods if pod.component == Component.WORKER and not ended(pod)]
    patience = finished + LINGER
    for pod in leaving:
        if pod.phase == "Pending":
            draft.delete(pod, "the job has finished before the pod ran")
        elif draft.now >= patience and kept != "None":
            draft.delete(pod, f"the job has finished and lifecycle.cleanPods is {kept}")
    if leaving:
        draft.wake(patience if draft.now < patience else draft.now + LINGER)
        if draft.phase == Phase.FAILED and draft.now < patience:
            _stop(draft, save=False)
            draft.wake(draft.now + NUDGE)
    for pod in draft.view.pods:
        if pod.component == Component.STORE and not leaving:
            draft.delete(pod, "the job has finished")
        elif pod.component == Component.WORKER and ended(pod) and kept == "All":
            draft.delete(pod, "the job has finished and lifecycle.cleanPods is All")
    draft.set(workers=WorkerCounts(active=len(leaving), failed=draft.status.workers.failed))
    _time_to_live(draft, finished)


def _time_to_live(draft: Draft, finished: float) -> None:
    ttl = draft.spec.lifecycle.ttl_after_finished
    if ttl is None:
        return
    if draft.now >= finished + ttl:
        draft.act(DeleteJob(draft.view.uid))
    else:
        draft.wake(finished + ttl)


def _stop(draft: Draft, save: bool) -> None:
    for pod in sorted(draft.view.pods, key=lambda each: each.name):
        if _runs(pod):
            said = draft.view.reports.get(pod.uid)
            incarnation = draft.status.incarnation if said is None else said.report.incarnation
            draft.act(SendStop(pod.name, pod.uid, pod.ip, Stop(incarnation, save)))


def _runs(pod: PodView) -> bool:
    return pod.component == Component.WORKER and pod.phase == "Running" and bool(pod.ip) and not ended(pod)


def selector(uid: str) -> str:
    """Label selector of the job's worker pods, for the scale subresource."""
    return f"{names.Label.JOB_UID}={uid},{names.Label.COMPONENT}={Component.WORKER}"
