"""What the job is waiting for, in the words of whoever makes it wait: the scheduler, the kubelet, the launchers."""

from __future__ import annotations

from dtj_api import names
from dtj_api.names import LauncherState, Reason

from .draft import Draft
from .rounds import uncounted
from .unreached import without_store

_IMAGE = frozenset({"ImagePullBackOff", "ErrImagePull", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"})


def what_for(draft: Draft) -> tuple[Reason, str]:
    """The first thing that is missing, in the order in which a job starts."""
    return _name(draft) or _refused(draft) or _pods(draft) or _store(draft) or _meeting(draft)


def _name(draft: Draft) -> tuple[Reason, str] | None:
    taken = taken_names(draft)
    if not taken:
        return None
    return Reason.NAME_TAKEN, f"{', '.join(taken[:3])} exists and is not this job's; delete it or rename the job"


def taken_names(draft: Draft) -> list[str]:
    """Names that the job needs now and that somebody else's objects have."""
    return sorted(_needed(draft) & set(draft.view.foreign))


def _refused(draft: Draft) -> tuple[Reason, str] | None:
    refused = sorted(_needed(draft) & set(draft.view.refused))
    if not refused:
        return None
    more = f" (and {len(refused) - 1} more)" if len(refused) > 1 else ""
    return Reason.CREATE_REFUSED, f"the API server refuses {refused[0]}{more}: {draft.view.refused[refused[0]]}"


def _needed(draft: Draft) -> set[str]:
    job = draft.view.name
    return {
        f"Service/{names.service_name(job)}",
        f"Secret/{names.key_name(job)}",
        f"NetworkPolicy/{names.policy_name(job)}",
        f"Pod/{names.store_name(job)}",
        *(f"Pod/{names.worker_name(job, index)}" for index in draft.wanted),
    }


def _pods(draft: Draft) -> tuple[Reason, str] | None:
    # A spare that is not there yet keeps nobody waiting.
    needed = draft.wanted if draft.missing else draft.status.members
    found = [(index, draft.workers.get(index)) for index in needed if index not in draft.status.finished_members]
    missing = [index for index, pod in found if pod is None or not draft.alive(pod)]
    starting = [pod for _, pod in found if pod is not None and draft.alive(pod) and not pod.ip]
    for pod in starting:
        if pod.waiting_reason in _IMAGE:
            return Reason.IMAGE_PULL, f"pod {pod.name}: {pod.waiting_reason}: {pod.waiting_message}"
    for pod in starting:
        if pod.unschedulable:
            return Reason.UNSCHEDULABLE, f"pod {pod.name}: {pod.unschedulable}"
    for pod in starting:
        if pod.waiting_reason:
            return Reason.WAITING_FOR_PODS, f"pod {pod.name}: {pod.waiting_reason}: {pod.waiting_message}"
    if missing:
        return Reason.WAITING_FOR_PODS, f"{len(missing)} of {len(needed)} worker pods are to be made"
    if starting:
        return Reason.WAITING_FOR_PODS, f"{len(starting)} of {len(needed)} worker pods have no address yet"
    return None


def _store(draft: Draft) -> tuple[Reason, str] | None:
    store = draft.store
    if store is not None and draft.alive(store) and store.ip and (store.ready or draft.met):
        return None
    if store is not None and store.unschedulable:
        return Reason.UNSCHEDULABLE, f"pod {store.name}: {store.unschedulable}"
    if store is not None and store.waiting_reason in _IMAGE:
        return Reason.IMAGE_PULL, f"pod {store.name}: {store.waiting_reason}: {store.waiting_message}"
    return Reason.WAITING_FOR_STORE, f"pod {names.store_name(draft.view.name)} is not ready yet"


def _meeting(draft: Draft) -> tuple[Reason, str]:
    reports = draft.reports()
    failed = next(((index, report) for index, report in reports.items() if report.state == LauncherState.FAILED), None)
    if failed is not None:
        return Reason.RANK_FAILED, f"pod {names.worker_name(draft.view.name, failed[0])}: {failed[1].error}"
    for index, report in without_store(draft).items():
        return Reason.STORE_LOST, f"pod {names.worker_name(draft.view.name, index)}: {report.error}"
    members = len(draft.status.members)
    formed = sum(report.state in (LauncherState.TRAINING, LauncherState.DONE) for report in reports.values())
    if formed < members or uncounted(draft):
        return Reason.MEETING, (
            f"{formed} of {members} workers are in a round of incarnation {draft.status.incarnation}"
        )
    return Reason.FIRST_STEP_PENDING, "the round has formed; the ranks have not reported a step yet"
