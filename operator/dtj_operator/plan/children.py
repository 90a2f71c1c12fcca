"""The objects beside the pods: volume claim, key, headless service, network policy. Made once, made again when gone."""

from __future__ import annotations

from dtj_api import names

from .actions import CreateClaim, CreateKey, CreatePolicy, CreateService
from .draft import Draft


def keep_children(draft: Draft) -> None:
    """Create what is missing."""
    job, there = draft.view.name, draft.view.children
    checkpoint = draft.spec.checkpoint
    if checkpoint is not None and checkpoint.volume.template is not None and not there.claim:
        draft.act(CreateClaim(names.claim_name(job)))
    if not there.key:
        draft.act(CreateKey(names.key_name(job)))
    if not there.service:
        draft.act(CreateService(names.service_name(job)))
    if draft.spec.network.policy == "Isolated" and not there.policy:
        draft.act(CreatePolicy(names.policy_name(job)))
