"""Which pods are on which nodes, and what this operator itself saw of those: since when each is away, who answers
elsewhere, how many pods were given up. The verdict over that is `node_loss`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from dtj_operator.observe.indexer import Change
from dtj_operator.observe.node_loss import HEARD, WINDOW
from dtj_operator.observe.reports import Reports
from dtj_operator.observe.scopes import Scopes
from dtj_operator.observe.view import Cluster, NodeView, PodView


class Placement:
    """The nodes of all jobs' pods.

    Args:
        nodes: those that are watched.
        reports: what the launchers answered.
        now: seconds since the epoch.
    """

    def __init__(self, nodes: Scopes[NodeView], reports: Reports, now: Callable[[], float]) -> None:
        self._nodes = nodes
        self._reports = reports
        self._now = now
        self._on_node: dict[str, set[str]] = {}
        self._missing: dict[str, float] = {}
        self._away: dict[str, float] = {}
        """Nodes that are not ready, and when that was first seen here."""
        self._given_up: dict[str, float] = {}
        """Pods that were given up with their nodes in the last minute, and when."""

    def came(self, node: str, pod: str) -> None:
        """A pod is on a node."""
        self._on_node.setdefault(node, set()).add(pod)

    def left(self, node: str, pod: str) -> None:
        """A pod is there no more. With the last one goes what was noticed of a node without an object."""
        others = self._on_node.get(node, set())
        others.discard(pod)
        if not others:
            self._on_node.pop(node, None)
            self._missing.pop(node, None)

    def changed(self, change: Change[NodeView]) -> Iterable[str]:
        """A node came, changed or went; the pods that this concerns."""
        name = change.key[1]
        if change.new is not None:
            self._missing.pop(name, None)
        if change.new is not None and not change.new.ready:
            self._away.setdefault(name, self._now())
        else:
            self._away.pop(name, None)
        return self._on_node.get(name, ())

    def of(self, pods: Sequence[PodView]) -> tuple[NodeView, ...]:
        """The nodes that some pods are on, by name."""
        return tuple(self._node(name) for name in sorted({pod.node for pod in pods if pod.node}))

    def _node(self, name: str) -> NodeView:
        """A node as watched; one without an object is not ready since that was noticed."""
        known = self._nodes.get("", name)
        if known is not None and known.ready:
            return known
        if known is None:
            at = self._missing.setdefault(name, self._now())
            known = NodeView(name, ready=False, not_ready_since=at, exists=False)
        else:
            at = self._away.setdefault(name, self._now())
        return replace(known, seen_at=at, heard_elsewhere=self._heard_elsewhere(name))

    def _heard_elsewhere(self, node: str) -> float | None:
        """When some launcher on another node answered, if that was in the last minute: the first that is found."""
        for other, pods in self._on_node.items():
            if other != node:
                for reported in self._reports.of(list(pods)).values():
                    if self._now() - reported.at <= HEARD:
                        return reported.at
        return None

    def cluster(self, pods: set[str]) -> Cluster:
        """What is known of all nodes, for a job with these pods."""
        earliest = self._now() - WINDOW
        self._given_up = {uid: at for uid, at in self._given_up.items() if at > earliest}
        return Cluster(
            nodes=len(self._nodes),
            away=len(self._away),
            told_at=self._now() - (time.monotonic() - self._nodes.last_event),
            given_up=len(self._given_up.keys() - pods),
        )

    def note_given_up(self, pods: Iterable[str]) -> None:
        """These pods are given up with their nodes: there is a bound to how many that may be within a minute."""
        for uid in pods:
            self._given_up.setdefault(uid, self._now())
