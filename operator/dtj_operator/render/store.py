"""The pod of the rendezvous store: a small server of ours, near the workers.

Apart from the workers, so that the death of none of them takes the meeting place along. It runs in the image that the
workers' launcher comes from: the trainer's where that is ours, else the operator's, which is small and needs no torch.
"""

from __future__ import annotations

from collections.abc import Sequence

from dtj_api import names
from dtj_api.names import Component, Env
from dtj_api.template import grace_seconds, is_own_image, trainer_container
from dtj_api.wire import STORE_PROTOCOL
from dtj_operator.observe.view import JobView

from .key_mount import mount_key
from .launcher import is_brought
from .own import EARLIER_STORE, resources
from .own import STORE as NEEDS
from .parts import Manifest, metadata, pod_labels, spec_of, template_of, worker_selector
from .pod import avoid_nodes, restrict, tolerations
from .site import Site

STORE = "dtj_trainer.launch.store"
_LIKE_THE_WORKERS = (
    "imagePullSecrets",
    "nodeSelector",
    "preemptionPolicy",
    "priorityClassName",
    "runtimeClassName",
    "schedulerName",
    "securityContext",
    # Pull secrets and an admission's rights may hang on the account; its token is not mounted.
    "serviceAccount",
    "serviceAccountName",
)


def store(view: JobView, incarnation: int, site: Site, avoid: Sequence[str] = ()) -> Manifest:
    """The store's pod, on another node than those to avoid where that can be."""
    spec = spec_of(view)
    template = template_of(spec)
    given, trainer = template["spec"], trainer_container(template)
    grace = grace_seconds(template)
    env = {Env.KEY_FILE: f"{names.KEY_MOUNT}/{names.KEY_FIELD}", Env.GRACE_SECONDS: str(grace)}
    container: Manifest = {
        "name": "store",
        "command": ["python", "-m", STORE],
        "env": [{"name": str(name), "value": value} for name, value in env.items()],
        "ports": [{"name": "store", "containerPort": names.STORE_PORT}],
        # A start-up probe ends with its first success: the store is not bothered afterwards.
        "startupProbe": {"tcpSocket": {"port": names.STORE_PORT}, "periodSeconds": 1, "failureThreshold": 300},
        "resources": resources(_needs(view, trainer, site), spec.rendezvous.resources, trainer),
        **_image(trainer, site),
    }
    pod: Manifest = {
        "restartPolicy": "Never",
        # Not before the workers that leave with it, as in a drain, have saved.
        "terminationGracePeriodSeconds": grace,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "tolerations": tolerations(given.get("tolerations") or []),
        "affinity": avoid_nodes(_near_workers(view, (given.get("affinity") or {}).get("nodeAffinity")), avoid),
        "containers": [container],
    }
    pod.update({key: given[key] for key in _LIKE_THE_WORKERS if key in given})
    if spec.schedule.priority_class_name is not None:
        pod.setdefault("priorityClassName", spec.schedule.priority_class_name)
    mount_key(view, pod, container)
    if is_own_image(container["image"] or "") or is_brought(trainer, site):
        restrict(pod, container)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(view, names.store_name(view.name), pod_labels(Component.STORE, incarnation)),
        "spec": pod,
    }


def _needs(view: JobView, trainer: Manifest, site: Site) -> Manifest:
    """What the store takes. Where it comes from the trainer's image, its version is that of the workers' launchers.

    Before the first of those has answered the image counts as one of today: of an earlier one the kubelet ends a store
    for its memory, and the next one is made by what the launchers say.
    """
    told = (each.report.store_protocol for each in view.reports.values())
    earlier = not is_brought(trainer, site) and any(protocol < STORE_PROTOCOL for protocol in told)
    return EARLIER_STORE if earlier else NEEDS


def _image(trainer: Manifest, site: Site) -> Manifest:
    """The image, how it is pulled, and as whom it runs."""
    if is_brought(trainer, site):
        return {"image": site.launcher_image, "imagePullPolicy": site.launcher_pull_policy}
    image: Manifest = {"image": trainer.get("image")}
    if "imagePullPolicy" in trainer:
        image["imagePullPolicy"] = trainer["imagePullPolicy"]
    if security := _unprivileged(trainer.get("securityContext") or {}):
        image["securityContext"] = security
    return image


def _unprivileged(given: Manifest) -> Manifest:
    """The trainer's security context without what the store has no use for: privileges and added capabilities."""
    kept = {key: value for key, value in given.items() if key not in ("privileged", "procMount", "capabilities")}
    if drop := (given.get("capabilities") or {}).get("drop"):
        kept["capabilities"] = {"drop": drop}
    return kept


def _near_workers(view: JobView, node_affinity: Manifest | None) -> Manifest:
    term = {"labelSelector": {"matchLabels": worker_selector(view)}, "topologyKey": "kubernetes.io/hostname"}
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    affinity: Manifest = {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
    return {**affinity, "nodeAffinity": node_affinity} if node_affinity else affinity
