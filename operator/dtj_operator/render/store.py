"""The pod of the rendezvous store: the trainer's image, a fraction of a core, near the workers.

Apart from the workers, so that the death of none of them takes the meeting place along.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

from dtj_api import names
from dtj_api.names import Component
from dtj_api.template import trainer_container
from dtj_operator.observe.view import JobView

from .launcher import bring, entry
from .parts import Manifest, metadata, pod_labels, spec_of, worker_selector
from .pod import avoid_nodes, is_own_image, restrict, tolerations
from .site import Site

STORE = "dtj_trainer.launch.store"
_LIKE_THE_WORKERS = ("imagePullSecrets", "nodeSelector", "schedulerName", "securityContext", "priorityClassName")


def store(view: JobView, incarnation: int, site: Site, avoid: Sequence[str] = ()) -> Manifest:
    """The store's pod, on another node than those to avoid where that can be."""
    spec = spec_of(view)
    template = deepcopy(spec.workers.template)
    given, trainer = template["spec"], trainer_container(template)
    container: Manifest = {
        "name": "store",
        "image": trainer.get("image"),
        "command": entry(trainer, STORE, site),
        "env": [{"name": "OMP_NUM_THREADS", "value": "1"}],
        "ports": [{"name": "store", "containerPort": names.STORE_PORT}],
        # A start-up probe ends with its first success: the store is not bothered afterwards.
        "startupProbe": {"tcpSocket": {"port": names.STORE_PORT}, "periodSeconds": 1, "failureThreshold": 300},
        "resources": {"requests": {"cpu": "50m", "memory": "256Mi"}, "limits": {"memory": "1Gi"}},
    }
    for key in ("imagePullPolicy", "securityContext"):
        if key in trainer:
            container[key] = trainer[key]
    pod: Manifest = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 5,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "tolerations": tolerations(given.get("tolerations") or [], spec.failure_policy.node_loss.tolerate),
        "affinity": avoid_nodes(_near_workers(view, (given.get("affinity") or {}).get("nodeAffinity")), avoid),
        "containers": [container],
    }
    pod.update({key: given[key] for key in _LIKE_THE_WORKERS if key in given})
    if spec.schedule.priority_class_name is not None:
        pod.setdefault("priorityClassName", spec.schedule.priority_class_name)
    bring(pod, container, site)
    if is_own_image(container["image"] or ""):
        restrict(pod, container)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata(view, names.store_name(view.name), pod_labels(Component.STORE, incarnation)),
        "spec": pod,
    }


def _near_workers(view: JobView, node_affinity: Manifest | None) -> Manifest:
    term = {"labelSelector": {"matchLabels": worker_selector(view)}, "topologyKey": "kubernetes.io/hostname"}
    preferred = [{"weight": 100, "podAffinityTerm": term}]
    affinity: Manifest = {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
    return {**affinity, "nodeAffinity": node_affinity} if node_affinity else affinity
