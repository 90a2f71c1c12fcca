"""The objects beside the pods: headless service, network policy, key, volume claim."""

from __future__ import annotations

from copy import deepcopy

from dtj_api import names
from dtj_api.names import Label
from dtj_api.peer import namespace_of
from dtj_operator.observe.view import JobView

from .parts import Manifest, metadata, spec_of, worker_selector
from .site import Site


def service(view: JobView) -> Manifest:
    """Gives each worker a name from its first moment on: ready or not, peers must find each other to become ready."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(view, names.service_name(view.name)),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": worker_selector(view),
            "ports": [{"name": "metrics", "port": names.METRICS_PORT, "targetPort": names.METRICS_PORT}],
        },
    }


def policy(view: JobView, site: Site) -> Manifest:
    """Who may connect to the job's pods: themselves, the operator, and to the metrics whom the spec names
    and the installation knows.

    The store authenticates nobody, and who connects to it can run code in the job: hence a policy, not an extra.
    """
    of_job = {"matchLabels": {str(Label.JOB_UID): view.uid}}
    operator_ports = [{"protocol": "TCP", "port": port} for port in (names.METRICS_PORT, names.CONTROL_PORT)]
    from_operator: Manifest = {"ports": operator_ports}
    if site.operator_namespace is not None:
        namespace = {"matchLabels": {"kubernetes.io/metadata.name": site.operator_namespace}}
        from_operator["from"] = [{"namespaceSelector": namespace}]
    ingress: list[Manifest] = [{"from": [{"podSelector": of_job}]}, from_operator]
    known = view.operator.metrics_from
    if peers := [each for each in spec_of(view).metrics.from_ if namespace_of(each, view.namespace) in known]:
        ports = [{"protocol": "TCP", "port": names.METRICS_PORT}]
        ingress.append({"ports": ports, "from": deepcopy(peers)})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(view, names.policy_name(view.name)),
        "spec": {
            "podSelector": of_job,
            "policyTypes": ["Ingress"],
            "ingress": ingress,
        },
    }


def key(view: JobView) -> Manifest:
    """The Secret with which control messages are signed. Its data is random, so the caller adds it.

    It is not immutable: a kubelet keeps such a Secret for as long as any pod of its node uses the name, so that a pod
    made after the Secret was made anew would read the old one.
    """
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata(view, names.key_name(view.name)),
        "type": "Opaque",
    }


def claim(view: JobView) -> Manifest:
    """The volume claim of `checkpoint.volume.template`. It outlives the job unless `retain` says otherwise.

    Raises:
        ValueError: the job has no such template.
    """
    checkpoint = spec_of(view).checkpoint
    if checkpoint is None or checkpoint.volume.template is None:
        raise ValueError(f"{view.namespace}/{view.name} has no checkpoint.volume.template to make a claim from")
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(view, names.claim_name(view.name), owned=not checkpoint.volume.retain),
        "spec": deepcopy(checkpoint.volume.template.spec),
    }
