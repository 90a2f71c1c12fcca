"""What is kept of each object that the watches bring: the view's own values, read once on arrival.

They are immutable and comparable, so that a change which means nothing to a job (a heartbeat of a node, a managed
field) is seen to be none and wakes nobody.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dtj_api import bounds, names
from dtj_api.base import STORED, M, ManifestError, read
from dtj_api.scalars import Timestamp
from dtj_api.spec import JobSpec
from dtj_api.status import JobStatus
from dtj_api.stored_status import read_status
from dtj_operator.kube.client import Object
from dtj_operator.kube.resources import SERVICES, Resource
from dtj_operator.observe.view import STORE_INDEX, NodeView, PodView, Terminated

logger = logging.getLogger(__name__)

_OF_A_SERVICE: dict[str, Any] = {
    "selector": {},
    "clusterIP": "",
    "publishNotReadyAddresses": False,
    "ports": (),
    "type": "ClusterIP",
    "externalIPs": (),
    "externalName": "",
}
"""What decides whom a service finds and who finds it, with what it is where nobody says it."""

_WAITING_IS_NORMAL = frozenset({"ContainerCreating", "PodInitializing"})
_TEXT = 4096
"""Longest message that is kept: the termination log's own limit."""
_NAMES = 512
"""Longest list of finalizers that is kept."""


@dataclass(frozen=True)
class JobRecord:
    """One job as stored, its spec and status read."""

    namespace: str
    name: str
    uid: str
    generation: int
    resource_version: str
    created: float
    managed_by: str
    deleting: bool
    spec: JobSpec | None
    spec_error: str
    status: JobStatus
    status_error: str = ""
    """Why the status cannot be read; `status` is an empty one then."""


@dataclass(frozen=True)
class Presence:
    """An object of which it matters that it is there, and as we made it: a service, a network policy."""

    name: str
    uid: str
    digest: str = ""
    """Of its spec."""
    held_by: str = ""
    """Finalizers that alone keep the object, which is deleted; empty: none do."""


def job_record(item: Object) -> JobRecord:
    """Read a job. A spec or status that cannot be read is said in the record, not raised: it is one user's problem."""
    metadata = item["metadata"]
    raw_spec: Any = item.get("spec")
    spec, spec_error = None, ""
    try:
        spec = _read(lambda raw: read(JobSpec, raw, "spec", STORED), raw_spec, "spec")
    except ManifestError as error:
        spec_error = str(error)
    status, status_error = JobStatus(), ""
    try:
        status = _read(read_status, item.get("status") or {}, "status")
    except ManifestError as error:
        status_error = str(error)
    managed_by = raw_spec.get("managedBy") if isinstance(raw_spec, dict) else None
    return JobRecord(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=int(metadata.get("generation") or 0),
        resource_version=str(metadata["resourceVersion"]),
        created=_time(metadata.get("creationTimestamp")) or 0.0,
        managed_by=str(managed_by or names.OPERATOR),
        deleting="deletionTimestamp" in metadata,
        spec=spec,
        spec_error=spec_error,
        status=status,
        status_error=status_error,
    )


def _read(how: Callable[[Any], M], raw: Any, where: str) -> M:
    if isinstance(raw, dict) and bounds.UNREAD in raw:
        raise ManifestError(str(raw[bounds.UNREAD]))
    try:
        return how(raw)
    except ManifestError:
        raise
    except Exception as error:
        # Whatever a tenant wrote there, it is his job alone: one that raised would be kept as it was before.
        logger.exception("%s cannot be read", where)
        raise ManifestError(f"{where}: cannot be read: {type(error).__name__}: {error}") from error


def presence(resource: Resource, item: Object) -> Presence:
    """Keep name and uid, and what tells whether somebody edits it or keeps it."""
    metadata = item["metadata"]
    return Presence(metadata["name"], metadata["uid"], digest(resource, item), _held_by(metadata))


def digest(resource: Resource, item: Object) -> str:
    """Of an object's spec, whatever the order of its fields; of a service's without what the server adds by itself."""
    spec = item.get("spec") or {}
    if resource == SERVICES:
        spec = {**_OF_A_SERVICE, **{field: spec[field] for field in _OF_A_SERVICE if field in spec}}
        spec["ports"] = [{"protocol": "TCP", **port} for port in spec["ports"]]
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:16]


def node_view(item: Object) -> NodeView:
    """Keep what decides whether a node can be relied upon."""
    ready = _condition(item, "Ready") or {}
    is_ready = ready.get("status") == "True"
    return NodeView(
        name=item["metadata"]["name"],
        ready=is_ready,
        not_ready_since=None if is_ready else _time(ready.get("lastTransitionTime")),
        out_of_service=any(
            each.get("key") == names.OUT_OF_SERVICE_TAINT for each in (item.get("spec") or {}).get("taints") or []
        ),
    )


def pod_view(item: Object) -> PodView:
    """Keep what decides about a pod."""
    metadata, status = item["metadata"], item.get("status") or {}
    labels = metadata.get("labels") or {}
    component, index = _role(metadata["name"], labels)
    scheduled = _condition(item, "PodScheduled") or {}
    disrupted = _condition(item, "DisruptionTarget") or {}
    waiting = _waiting(status)
    main = _main(status, component)
    init = _init(item)
    created = _time(metadata.get("creationTimestamp")) or 0.0
    return PodView(
        name=metadata["name"],
        uid=metadata["uid"],
        component=component,
        index=index,
        incarnation=_int(labels.get(names.Label.INCARNATION), 0),
        phase=status.get("phase") or "Pending",
        created=created,
        ip=status.get("podIP") or "",
        node=(item.get("spec") or {}).get("nodeName") or "",
        ready=bool(main.get("ready")),
        running_since=_running_since(main, created),
        init=init.get("name") or "",
        init_ended=_terminated(init),
        unready_since=_unready_since(_condition(item, "Ready") or {}, main),
        unschedulable=_text(scheduled.get("message")) if scheduled.get("status") == "False" else "",
        waiting_reason=waiting.get("reason") or "",
        waiting_message=_text(waiting.get("message")),
        terminated=_terminated(main),
        reason=status.get("reason") or "",
        message=_text(status.get("message")),
        disruption=(disrupted.get("reason") or "") if disrupted.get("status") == "True" else "",
        deletion_at=_time(metadata.get("deletionTimestamp")),
        deleted_at=_deleted_at(metadata),
        held_by=_held_by(metadata),
    )


def _role(name: str, labels: dict[str, str]) -> tuple[str, int]:
    """Component and index from the labels; from the name when somebody took the labels away."""
    component = labels.get(names.Label.COMPONENT) or ""
    if component not in tuple(names.Component):
        component = names.Component.STORE if name == names.store_name(name[:-6]) else names.Component.WORKER
    if component == names.Component.STORE:
        return component, STORE_INDEX
    digits = re.search(r"-([0-9]+)$", name)
    by_name = _int(digits[1], STORE_INDEX) if digits else STORE_INDEX
    return component, _int(labels.get(names.Label.INDEX), by_name)


def _condition(item: Object, kind: str) -> Object | None:
    conditions: list[Object] = (item.get("status") or {}).get("conditions") or []
    return next((each for each in conditions if each.get("type") == kind), None)


def _waiting(status: Object) -> Object:
    for each in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        waiting: Object = (each.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") and waiting["reason"] not in _WAITING_IS_NORMAL:
            return waiting
    return {}


def _main(status: Object, component: str) -> Object:
    containers: list[Object] = status.get("containerStatuses") or []
    main = next((each for each in containers if each.get("name") == names.TRAINER_CONTAINER), None)
    if main is None and component == names.Component.STORE and containers:
        main = containers[0]
    return main or {}


def _init(item: Object) -> Object:
    """The first init container that is not through; one that stays beside the others is none that anybody waits for."""
    staying = {
        each.get("name")
        for each in (item.get("spec") or {}).get("initContainers") or []
        if each.get("restartPolicy") == "Always"
    }
    for each in (item.get("status") or {}).get("initContainerStatuses") or []:
        ended: Object | None = (each.get("state") or {}).get("terminated")
        if each.get("name") not in staying and (ended is None or ended.get("exitCode")):
            found: Object = each
            return found
    return {}


def _running_since(main: Object, created: float) -> float | None:
    running: Object | None = (main.get("state") or {}).get("running")
    return None if running is None else _time(running.get("startedAt")) or created


def _unready_since(ready: Object, main: Object) -> float | None:
    """A pod that starts is not ready from before its container runs; one that was ready became so later than that.

    A sidecar that is not ready says nothing of the launcher.
    """
    running: Object = (main.get("state") or {}).get("running") or {}
    changed, started = _time(ready.get("lastTransitionTime")), _time(running.get("startedAt"))
    if ready.get("status") == "True" or main.get("ready") or changed is None or started is None:
        return None
    return changed if changed > started else None


def _deleted_at(metadata: Object) -> float | None:
    until = _time(metadata.get("deletionTimestamp"))
    return None if until is None else until - int(metadata.get("deletionGracePeriodSeconds") or 0)


def _held_by(metadata: Object) -> str:
    if not metadata.get("deletionTimestamp") or metadata.get("deletionGracePeriodSeconds") != 0:
        return ""
    return ", ".join(str(each) for each in metadata.get("finalizers") or [])[:_NAMES]


def _terminated(main: Object) -> Terminated | None:
    ended: Object | None = (main.get("state") or {}).get("terminated")
    if not ended:
        return None
    return Terminated(
        exit_code=int(ended.get("exitCode") or 0),
        signal=int(ended.get("signal") or 0),
        oom_killed=ended.get("reason") == "OOMKilled",
        message=_text(ended.get("message")),
        finished_at=_time(ended.get("finishedAt")),
    )


def _text(value: Any) -> str:
    # A kubelet cuts messages between two bytes, and what is left of a character there is none.
    return str(value or "").strip("\ufffd")[:_TEXT]


def _int(value: Any, otherwise: int) -> int:
    """Whoever may change a pod writes its labels: what a status could not hold is no number."""
    number = int(value) if isinstance(value, str) and value.isdecimal() else -1
    return number if 0 <= number <= bounds.COUNT else otherwise


def _time(value: Any) -> float | None:
    return float(Timestamp.parse(value)) if value else None
