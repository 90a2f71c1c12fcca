"""Rules for pods of either kind: where they may run, as whom, and that the operator alone gives up a node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .parts import Manifest

OWN_USER = 1000
"""The user of both our images, so that they can be held to the restricted profile."""
_AWAY = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def restrict(pod: Manifest, container: Manifest) -> None:
    """Fill in the restricted profile where nothing was said. What was said stays."""
    for_pod = pod.setdefault("securityContext", {})
    for key, value in {
        "runAsNonRoot": True,
        "runAsUser": OWN_USER,
        "runAsGroup": OWN_USER,
        "fsGroup": OWN_USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }.items():
        for_pod.setdefault(key, value)
    for_container = container.setdefault("securityContext", {})
    for_container.setdefault("allowPrivilegeEscalation", False)
    for_container.setdefault("capabilities", {"drop": ["ALL"]})


def avoid_nodes(affinity: Manifest | None, nodes: Sequence[str]) -> Manifest | None:
    """The affinity, and a strong preference for nodes other than these."""
    if not nodes:
        return affinity
    other = {"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": [name]} for name in nodes]}
    out = dict(affinity or {})
    by_node = dict(out.get("nodeAffinity") or {})
    wishes = by_node.get("preferredDuringSchedulingIgnoredDuringExecution") or []
    by_node["preferredDuringSchedulingIgnoredDuringExecution"] = [*wishes, {"weight": 100, "preference": other}]
    return {**out, "nodeAffinity": by_node}


def tolerations(given: list[Any]) -> list[Any]:
    """The given ones, and endless ones for nodes that are away, unless something is said about those.

    Kubernetes deletes a pod by one witness, the node's kubelet, after 300 s where nothing is said. Its launcher may
    answer and train on: the operator asks both, and deletes what is lost by force.

    Args:
        given: the template's.
    """
    said = [each.get("key") for each in given if each.get("effect") in (None, "", "NoExecute")]
    endless = [
        {"key": key, "operator": "Exists", "effect": "NoExecute"}
        for key in _AWAY
        if key not in said and None not in said
    ]
    return [*given, *endless]
