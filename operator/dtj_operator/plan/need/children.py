"""The objects beside the pods: volume claim, key, headless service, network policy. Made once, made again when gone.

Pods wait for the claim and the key, so those are made before them. Service and policy are made after them: what they
are for begins when the members meet, and nobody is sent to meet before they are there.
"""

from __future__ import annotations

from dtj_api import names
from dtj_api.names import Reason
from dtj_operator.observe.view import SLOW_START
from dtj_operator.plan.actions import CreateClaim, CreateKey, CreatePolicy, CreateService, DeletePolicy, DeleteService
from dtj_operator.plan.draft import Draft


def keep_children(draft: Draft) -> None:
    """Create what is missing, delete what is not wanted any more."""
    job, there = draft.view.name, draft.view.children
    checkpoint = draft.spec.checkpoint
    unread = draft.view.unread
    template = checkpoint is not None and checkpoint.volume.template is not None
    if template and not there.claim and f"PersistentVolumeClaim/{names.claim_name(job)}" not in unread:
        draft.act(CreateClaim(names.claim_name(job)))
    if not there.key and f"Secret/{names.key_name(job)}" not in unread:
        draft.act(CreateKey(names.key_name(job)))
        if draft.view.pods and draft.view.status.template_hash:
            text = f"Secret {names.key_name(job)} is missing, without which no pod starts: it is made anew"
            draft.tell("Warning", Reason.CANNOT_START, text)
    if any(pod.waits_since is not None for pod in draft.view.pods):
        # They may wait for the key, of which no watch tells.
        draft.wake(draft.now + SLOW_START)
    if there.service and there.service_altered and not there.service_held_by:
        draft.act(DeleteService(names.service_name(job), there.service_uid, "it is not as it was made"))
    deletable = there.policy and not there.policy_held_by
    if deletable and draft.spec.network.policy == "Open":
        draft.act(DeletePolicy(names.policy_name(job), there.policy_uid, "network.policy is Open"))
    elif deletable and there.policy_altered:
        draft.act(DeletePolicy(names.policy_name(job), there.policy_uid, "it is not as it was made"))
    if not draft.roster.pods:
        return
    if not there.service:
        draft.act(CreateService(names.service_name(job)))
    if not _guarded(draft) and not there.policy_held_by:
        draft.act(CreatePolicy(names.policy_name(job)))


def needed_names(draft: Draft) -> set[str]:
    """Of all objects, pods included, that the job needs now."""
    job = draft.view.name
    return {
        f"Service/{names.service_name(job)}",
        f"Secret/{names.key_name(job)}",
        f"NetworkPolicy/{names.policy_name(job)}",
        f"Pod/{names.store_name(job)}",
        *(f"Pod/{names.worker_name(job, index)}" for index in draft.roster.wanted),
    }


def taken_names(draft: Draft) -> list[str]:
    """Names that the job needs now and that somebody else's objects have."""
    foreign = set(draft.view.foreign)
    return sorted(foreign & needed_names(draft)) if foreign else []


def ready_to_meet(draft: Draft) -> bool:
    """Whether the members' names and their protection are there: the store asks nobody who he is."""
    there = draft.view.children
    return there.service and not there.service_altered and _guarded(draft)


def held_child(draft: Draft) -> str | None:
    """Of what the meeting waits for, what finalizers alone keep from being made anew, as a sentence."""
    there, job = draft.view.children, draft.view.name
    if there.service_altered and there.service_held_by:
        what, by = f"Service {names.service_name(job)}", there.service_held_by
    elif there.policy_held_by and not _guarded(draft):
        what, by = f"NetworkPolicy {names.policy_name(job)}", there.policy_held_by
    else:
        return None
    return (
        f"finalizer {by} keeps {what}, which is deleted: it is made anew when whoever put that into "
        "metadata.finalizers takes it out, and nobody meets before"
    )


def _guarded(draft: Draft) -> bool:
    there = draft.view.children
    return draft.spec.network.policy != "Isolated" or (there.policy and not there.policy_altered)
