"""Whether a pod is lost with its node: two witnesses, and a brake.

A node that is not ready has a kubelet that the API server does not hear of. That is one witness, and it may be a load
balancer, an expired certificate or a partition: the pods there train on, and to delete them by force would begin a
second training beside the first. The other witness is the pod's own launcher. Its silence counts only where this
operator hears others, for it may be the one that is cut off. And where most nodes go at once, or very many pods would,
it is not the nodes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from dtj_api.names import Component, Reason
from dtj_api.scalars import Duration, Timestamp
from dtj_operator.observe.view import JobView, NodeView, PodView

SILENT = 10.0
"""Seconds without an answer after which a launcher is the second witness."""
HEARD = 60.0
"""Seconds within which somebody must have answered, for silence to mean anything."""
FRESH = 60.0
"""Seconds within which the API server must have told something of nodes, if only that there is nothing to tell."""
MOST_NODES = 55
"""From this percentage of nodes on that are not ready nobody is given up."""
MOST_PODS = 100
"""Fewer than these are given up with their nodes within `WINDOW` seconds, over all jobs."""
WINDOW = 60.0
LOOK_AGAIN = 5.0
"""Seconds after which what may change without a word is looked at again."""


class Finding(StrEnum):
    """What is found of one pod and its node."""

    HERE = "Here"
    """The node is ready, or nothing is known of it."""
    TOLERATED = "Tolerated"
    """It has not been away for long enough."""
    ANSWERS = "Answers"
    """The launcher answers, or has not been silent for long enough: it is left training."""
    UNHEARD = "Unheard"
    """Nobody else answers either: its silence proves nothing."""
    STALE = "Stale"
    """The API server has told nothing of nodes for so long that what is known may be over."""
    BRAKED = "Braked"
    """Too many nodes are away, or too many pods were given up a moment ago."""
    LOST = "Lost"


@dataclass(frozen=True)
class NodeLoss:
    """One pod and its node."""

    finding: Finding
    since: float | None = None
    """Since when the node is away."""
    until: float | None = None
    """When it may be another finding though nobody says anything."""
    reason: Reason = Reason.WAITING_FOR_PODS
    why: str = ""
    """Where the pod is left alone although its node is away for long: why, as a sentence."""

    @property
    def away(self) -> bool:
        """The node's kubelet is not heard of, so what is asked of it may not be done."""
        return self.finding is not Finding.HERE

    @property
    def doubted(self) -> bool:
        """By one witness it is lost; the other, or the brake, speaks against it."""
        return self.finding in (Finding.UNHEARD, Finding.STALE, Finding.BRAKED)


HERE = NodeLoss(Finding.HERE)


def node_losses(view: JobView, tolerate: Duration) -> dict[str, NodeLoss]:
    """What is found of each pod of a job whose node is away, by uid.

    Args:
        tolerate: `failurePolicy.nodeLoss.tolerate`.
    """
    nodes = {node.name: node for node in view.nodes if not node.ready}
    found: dict[str, NodeLoss] = {}
    if not nodes:
        return found
    left = MOST_PODS - 1 - view.cluster.given_up
    for pod in view.pods:
        node = nodes.get(pod.node)
        if node is None:
            continue
        found[pod.uid] = finding = _judge(view, pod, node, tolerate, left)
        left -= finding.finding is Finding.LOST
    return found


def _judge(view: JobView, pod: PodView, node: NodeView, tolerate: Duration, left: int) -> NodeLoss:
    now, cluster = view.now, view.cluster
    transition, seen = node.not_ready_since, node.seen_at
    # Not by the API server's clock alone: ours may be ahead of it.
    since = max(at for at in (transition, seen, 0.0) if at is not None)
    began = transition if transition is not None else since
    if not node.out_of_service and now - since < tolerate:
        return NodeLoss(Finding.TOLERATED, began, since + tolerate)
    if not node.out_of_service and node.exists and (heard := _heard(view, pod, node, since, began)) is not None:
        return heard
    if not node.out_of_service and (cluster.told_at is None or now - cluster.told_at > FRESH):
        why = f"node {node.name} was not ready when the API server last told of nodes, which is more than a minute ago"
        return NodeLoss(Finding.STALE, began, now + LOOK_AGAIN, Reason.NODES_UNREACHABLE, why)
    if cluster.nodes > 2 and 100 * cluster.away >= MOST_NODES * cluster.nodes:
        why = (
            f"{cluster.away} of {cluster.nodes} nodes are not ready, {node.name} among them: pods there are left alone "
            f"until fewer than {MOST_NODES} % are"
        )
        return NodeLoss(Finding.BRAKED, began, now + LOOK_AGAIN, Reason.NODES_UNREACHABLE, why)
    if left <= 0:
        why = (
            f"fewer than {MOST_PODS} pods are given up with their nodes within a minute, and that is used up: those on "
            f"node {node.name} wait until it is over"
        )
        return NodeLoss(Finding.BRAKED, began, now + LOOK_AGAIN, Reason.NODES_UNREACHABLE, why)
    return NodeLoss(Finding.LOST, began)


def _heard(view: JobView, pod: PodView, node: NodeView, since: float, began: float) -> NodeLoss | None:
    """Why the second witness does not say that the pod is lost; None: it does."""
    now = view.now
    if pod.component == Component.STORE:
        # It answers its members alone. Once they have met they say so when it does not; before, nobody misses it.
        return NodeLoss(Finding.ANSWERS, began) if view.status.store.address else None
    # Of one whose container never ran there is nobody to ask, and nothing to lose.
    silent = view.unanswered.get(pod.uid) if pod.running_since is not None else since
    if silent is None or now - silent < SILENT:
        return NodeLoss(Finding.ANSWERS, began, (now if silent is None else silent) + SILENT)
    own = view.reports.get(pod.uid)
    heard = max(at for at in (own.at if own is not None else None, node.heard_elsewhere, 0.0) if at is not None)
    if now - heard > HEARD:
        why = (
            f"node {node.name} has not been ready since {Timestamp(began)}, and no launcher on any node has answered "
            f"for {HEARD:.0f} s: it may be the operator that is cut off, and pod {pod.name} is left alone"
        )
        return NodeLoss(Finding.UNHEARD, began, now + LOOK_AGAIN, Reason.UNREACHABLE, why)
    return None
