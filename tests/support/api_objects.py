"""What an API server does to objects: selects them by labels, fills them in, and drops what it does not know."""

from __future__ import annotations

from typing import Any

from dtj_operator.kube.client import Object
from dtj_operator.kube.resources import ALL, Resource


def selected(item: Object, labels: str) -> bool:
    """`key=value` and `key` (it exists), joined by commas."""
    present = item["metadata"].get("labels") or {}
    wanted = [part.partition("=") for part in labels.split(",") if part]
    return all(present.get(key) == value if equals else key in present for key, equals, value in wanted)


def fill_in(service: dict[str, Any]) -> None:
    """What the server adds to the spec of a service."""
    for port in service.get("ports") or []:
        port.setdefault("protocol", "TCP")
    service.setdefault("type", "ClusterIP")
    more = {"clusterIPs": ["None"], "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "sessionAffinity": "None"}
    service.update({"internalTrafficPolicy": "Cluster", **more})


def prune(item: Any, path: list[str]) -> None:
    if isinstance(item, list):
        for each in item:
            prune(each, path)
    elif isinstance(item, dict) and len(path) == 1:
        item.pop(path[0], None)
    elif isinstance(item, dict):
        prune(item.get(path[0]), path[1:])


def as_selected(event: Object, before: Object | None, labels: str) -> Object | None:
    """An event as a watch with a label selector tells it.

    An object whose labels stop matching is told as deleted, as it was before, and one that begins to match as added.
    """
    is_selected, was_selected = selected(event["object"], labels), before is not None and selected(before, labels)
    if event["type"] == "DELETED":
        return event if was_selected else None
    if is_selected:
        return {**event, "type": "MODIFIED" if was_selected else "ADDED"}
    if not was_selected or before is None:
        return None
    version = event["object"]["metadata"]["resourceVersion"]
    return {"type": "DELETED", "object": {**before, "metadata": {**before["metadata"], "resourceVersion": version}}}


def resource_of(group: str, version: str, plural: str) -> Resource | None:
    """The resource that a URL names."""
    return next((each for each in ALL if (each.group, each.version, each.plural) == (group, version, plural)), None)
