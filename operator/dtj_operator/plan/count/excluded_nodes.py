"""`spec.failurePolicy.nodeLoss.excludeFor`: a node that cost this job a worker is avoided by its next pods.

Avoided, not forbidden: where there is no room elsewhere, a job on a node that may fail again is better than a job that
waits an hour beside it. Nothing is cordoned; other jobs decide for themselves.
"""

from __future__ import annotations

from dtj_api.names import Reason
from dtj_api.scalars import Timestamp
from dtj_api.status import ExcludedNode
from dtj_operator.plan.draft import Draft

MOST = 50
"""Nodes that are avoided at once; those that were added last stay."""


def exclude(draft: Draft, node: str, why: str) -> None:
    """Avoid a node from now on, for as long as the spec says."""
    seconds = draft.spec.failure_policy.node_loss.exclude_for
    if not node or not seconds:
        return
    known = node in avoided(draft)
    others = tuple(each for each in draft.status.excluded_nodes if each.name != node and each.until > draft.now)
    added = ExcludedNode(name=node, until=Timestamp(draft.now + seconds), why=why[:1024])
    draft.set(excluded_nodes=(*others, added)[-MOST:])
    if not known:
        draft.tell("Warning", Reason.NODE_EXCLUDED, f"new pods avoid node {node} for {seconds}: {why}")


def avoided(draft: Draft) -> tuple[str, ...]:
    """Names of the nodes that new pods avoid."""
    return tuple(sorted(each.name for each in draft.status.excluded_nodes if each.until > draft.now))
