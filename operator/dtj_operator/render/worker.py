"""A worker pod: the user's template with the launcher as PID 1 around its command, and what the launcher needs.

The template's own wins wherever both could speak; what it may not say was refused when the job was applied. The view is
never touched: the template is copied first.
"""

from __future__ import annotations

from collections.abc import Sequence

from dtj_api import names
from dtj_api.names import Component
from dtj_api.scalars import quantity_bytes
from dtj_api.spec import JobSpec
from dtj_api.template import grace_seconds, is_own_image, trainer_container
from dtj_operator.observe.view import JobView

from .environment import environment
from .key_mount import mount_key
from .launcher import bring, entry
from .own import LAUNCHER, resources, writable_tmp
from .parts import Manifest, metadata, pod_labels, spec_of, template_of
from .pod import avoid_nodes, restrict, tolerations
from .site import Site

LAUNCH = "dtj_trainer.launch"
BUILT_IN = ("python", "-m", "dtj_trainer.train")
VOLUME, SHARED_MEMORY = "dtj-volume", "dtj-shm"


def worker(view: JobView, index: int, incarnation: int, site: Site, avoid: Sequence[str] = ()) -> Manifest:
    """The pod of one index, on another node than those to avoid where that can be."""
    spec = spec_of(view)
    template = template_of(spec)
    name = names.worker_name(view.name, index)
    pod: Manifest = template["spec"]
    container = trainer_container(template)
    _launch(container, spec, site)
    container["env"] = [*(container.get("env") or ()), *environment(view, spec, index)]
    _volumes(view, spec, pod, container)
    writable_tmp(pod, container)
    bring(pod, container, site, resources(LAUNCHER, spec.launcher.resources, container))
    _serve(container)
    if is_own_image(container.get("image") or ""):
        restrict(pod, container)
    pod.update(
        restartPolicy="Never",
        hostname=name,
        subdomain=names.service_name(view.name),
        terminationGracePeriodSeconds=grace_seconds(template),
        tolerations=tolerations(pod.get("tolerations") or []),
    )
    if affinity := avoid_nodes(pod.get("affinity"), avoid):
        pod["affinity"] = affinity
    pod.setdefault("automountServiceAccountToken", False)
    pod.setdefault("enableServiceLinks", False)
    if spec.schedule.priority_class_name is not None:
        pod.setdefault("priorityClassName", spec.schedule.priority_class_name)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": _metadata(view, template.get("metadata") or {}, name, index, incarnation),
        "spec": pod,
    }


def _metadata(view: JobView, given: Manifest, name: str, index: int, incarnation: int) -> Manifest:
    """Labels and annotations are the user's as well; nothing else of the template's metadata means anything here."""
    ours = metadata(view, name, pod_labels(Component.WORKER, incarnation, index))
    ours["labels"] = {**(given.get("labels") or {}), **ours["labels"]}
    if given.get("annotations"):
        ours["annotations"] = given["annotations"]
    return ours


def _launch(container: Manifest, spec: JobSpec, site: Site) -> None:
    command = BUILT_IN if spec.trainer is not None else (*container["command"], *(container.pop("args", None) or []))
    container["command"] = [*entry(container, LAUNCH, site), "--", *command]


def _volumes(view: JobView, spec: JobSpec, pod: Manifest, container: Manifest) -> None:
    mount_key(view, pod, container)
    volumes: list[Manifest] = []
    mounts: list[Manifest] = []
    if spec.checkpoint is not None:
        claim = spec.checkpoint.volume.claim_name or names.claim_name(view.name)
        volumes.append({"name": VOLUME, "persistentVolumeClaim": {"claimName": claim}})
        mounts.append({"name": VOLUME, "mountPath": names.VOLUME_MOUNT})
    given = container.get("volumeMounts") or []
    if all((each.get("mountPath") or "").rstrip("/") != "/dev/shm" for each in given):
        volumes.append({"name": SHARED_MEMORY, "emptyDir": _memory(spec, container)})
        mounts.append({"name": SHARED_MEMORY, "mountPath": "/dev/shm"})
    pod["volumes"] = [*(pod.get("volumes") or []), *volumes]
    container["volumeMounts"] = [*given, *mounts]


def _memory(spec: JobSpec, container: Manifest) -> Manifest:
    """A memory volume: as large as the spec says, or half the memory limit; a node bounds it where neither is set."""
    size = spec.network.shared_memory
    limit = ((container.get("resources") or {}).get("limits") or {}).get("memory")
    if size is None and limit is not None:
        try:
            size = str(int(quantity_bytes(str(limit)) // 2))
        except ValueError:
            size = None  # A form that only the API server reads.
    return {"medium": "Memory"} if size is None else {"medium": "Memory", "sizeLimit": size}


def _serve(container: Manifest) -> None:
    given = container.get("ports") or []
    taken = [value for each in given for value in (each.get("containerPort"), each.get("name"))]
    ours = (("dtj-metrics", names.METRICS_PORT), ("dtj-control", names.CONTROL_PORT))
    ports = [{"name": name, "containerPort": port} for name, port in ours if name not in taken and port not in taken]
    container["ports"] = [*given, *ports]
    container.setdefault(
        "readinessProbe",
        {
            "httpGet": {"path": "/healthz", "port": names.METRICS_PORT},
            "periodSeconds": 5,
            "timeoutSeconds": 3,
            "failureThreshold": 3,
        },
    )
