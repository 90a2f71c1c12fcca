"""The objects beside the pods: volume claim, key, headless service, network policy. Made once, made again when gone.

Pods wait for the claim and the key, so those are made before them. Service and policy are made after them: what they
are for begins when the members meet, and nobody is sent to meet before they are there.
"""

from __future__ import annotations

from dtj_api import names

from .actions import CreateClaim, CreateKey, CreatePolicy, CreateService, DeletePolicy
from .draft import Draft


def keep_children(draft: Draft) -> None:
    """Create what is missing, delete what is not wanted any more."""
    job, there = draft.view.name, draft.view.children
    checkpoint = draft.spec.checkpoint
    if checkpoint is not None and checkpoint.volume.template is not None and not there.claim:
        draft.act(CreateClaim(names.claim_name(job)))
    if not there.key:
        draft.act(CreateKey(names.key_name(job)))
    if there.policy and draft.spec.network.policy == "Open":
        draft.act(DeletePolicy(names.policy_name(job), there.policy_uid))
    if not draft.workers:
        return
    if not there.service:
        draft.act(CreateService(names.service_name(job)))
    if not _guarded(draft):
        draft.act(CreatePolicy(names.policy_name(job)))


def ready_to_meet(draft: Draft) -> bool:
    """Whether the members' names and their protection are there: the store asks nobody who he is."""
    return draft.view.children.service and _guarded(draft)


def _guarded(draft: Draft) -> bool:
    return draft.spec.network.policy != "Isolated" or draft.view.children.policy
