"""Rules for pods of either kind: where they may run, as whom, and how soon they give up a node."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from .parts import Manifest

OWN_IMAGE = "dtj-trainer"
"""Name of the trainer's image. It runs as user 1000, so it can be held to the restricted profile."""
OWN_USER = 1000
_AWAY = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def is_own_image(image: str) -> bool:
    """Whether an image is the trainer's, whatever registry and tag it comes with."""
    return re.sub(r"[:@].*$", "", image.rsplit("/", 1)[-1]) == OWN_IMAGE


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


def tolerations(given: list[Any], seconds: float) -> list[Any]:
    """The given ones, and short ones for nodes that are away, unless something is said about those.

    Args:
        given: the template's.
        seconds: how long a pod stays bound to a node that is not ready or unreachable; Kubernetes' own default is 300.
    """
    said = {each.get("key") for each in given if each.get("effect") in (None, "", "NoExecute")}
    short = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": math.ceil(seconds)}
        for key in _AWAY
        if key not in said and None not in said
    ]
    return [*given, *short]
