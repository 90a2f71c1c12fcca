"""Objects out of the API server's answers, each within bounds.

An object may be as large and as deep as the API server lets its author make it: a megabyte of empty objects becomes
thirty in Python, and a thousand levels end the parser. So a part that is longer or deeper than `bounds` allows is never
built. In its place stands `{UNREAD: why}`, and what is needed to answer for the object, its metadata, is read all the
same. Of the metadata only what somebody looks at is kept.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

from dtj_api import bounds
from dtj_api.nesting import depth
from dtj_operator.kube.resources import JOBS, PODS, Resource
from dtj_operator.kube.scan import Part, elements, members

logger = logging.getLogger(__name__)

Object = dict[str, Any]

_LINE = 1024
_METADATA = frozenset(
    {
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "finalizers",
        "labels",
        "ownerReferences",
    }
)

_EVEN_SO = {
    (JOBS.plural, "managedBy"): _LINE,
    (PODS.plural, "nodeName"): _LINE,
    (PODS.plural, "initContainers"): bounds.OTHER_SPEC_BYTES,
}
"""What is read of a `spec` that is not, and how much of it: who is responsible, and where and how far a pod is."""


class Items:
    """The objects of a page, each read when it is come to: so one at a time is in memory."""

    def __init__(self, resource: Resource, text: bytes, at: int) -> None:
        self._resource = resource
        self._text = text
        self._parts = list(elements(text, at)) if text[at : at + 1] == b"[" else []

    def __iter__(self) -> Iterator[Object]:
        for part in self._parts:
            try:
                yield read_object(self._resource, self._text[part.start : part.end])
            except ValueError as error:
                logger.warning("one of %s cannot be read, and is left out: %s", self._resource.plural, error)

    def __len__(self) -> int:
        return len(self._parts)


def read_page(resource: Resource, text: bytes) -> Object:
    """A page of a list: its metadata, and `Items`.

    Raises:
        ValueError: it is no list.
    """
    page: Object = {"items": ()}
    for name, part in members(text):
        if name == "items":
            page["items"] = Items(resource, text, part.start)
        elif name == "metadata":
            page["metadata"] = _object(_read(text, part, name, bounds.PART_BYTES))
    if "resourceVersion" not in page.get("metadata", {}):
        raise ValueError("a list without a resourceVersion")
    return page


def read_event(resource: Resource, text: bytes) -> Object:
    """One event of a watch.

    Raises:
        ValueError: it is none.
    """
    if _is_small(text):
        event = _object(json.loads(text))
        return {"type": str(event.get("type")), "object": _object(event.get("object"))}
    parts = dict(members(text))
    if not {"type", "object"} <= parts.keys():
        raise ValueError("an event without type or object")
    kind, about = parts["type"], parts["object"]
    return {
        "type": str(_read(text, kind, "type", _LINE)),
        "object": read_object(resource, text[about.start : about.end]),
    }


def read_object(resource: Resource, text: bytes) -> Object:
    """One object.

    Raises:
        ValueError: it is none.
    """
    if _is_small(text):
        return _object(json.loads(text))
    return {name: _part_of(resource, text, name, part) for name, part in members(text)}


def _object(found: Any) -> Object:
    if not isinstance(found, dict):
        raise ValueError(f"found {type(found).__name__}, expected an object")
    return found


def _is_small(text: bytes) -> bool:
    return len(text) <= bounds.SPEC_BYTES and depth(text) <= bounds.DEPTH


def _part_of(resource: Resource, text: bytes, name: str, part: Part) -> Any:
    if name == "metadata":
        kept = (each for each in members(text, part.start) if each[0] in _METADATA)
        return {of: _read(text, where, f"metadata.{of}", bounds.PART_BYTES) for of, where in kept}
    if name != "spec":
        return _read(text, part, name, bounds.PART_BYTES)
    spec = _read(text, part, name, bounds.SPEC_BYTES if resource is JOBS else bounds.OTHER_SPEC_BYTES)
    if isinstance(spec, dict) and bounds.UNREAD in spec:
        for of, where in members(text, part.start):
            if (most := _EVEN_SO.get((resource.plural, of))) is not None:
                found = _read(text, where, f"spec.{of}", most)
                if resource is JOBS or not (isinstance(found, dict) and bounds.UNREAD in found):
                    spec[of] = found
    return spec


def _read(text: bytes, part: Part, what: str, most: int) -> Any:
    size = part.end - part.start
    if size > most:
        return {bounds.UNREAD: bounds.too_long(what, size, most)}
    raw = text[part.start : part.end]
    if (levels := depth(raw)) > bounds.DEPTH:
        return {bounds.UNREAD: bounds.too_deep(what, levels)}
    try:
        return json.loads(raw)
    except ValueError as error:
        return {bounds.UNREAD: f"{what}: cannot be read: {error}"}
