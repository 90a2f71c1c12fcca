"""metrics-server: the API `metrics.k8s.io`, which `kubectl top` and the HorizontalPodAutoscaler read.

It runs as a program of this machine, as the cluster's DNS does, and asks the kubelets as often as it may. The API
server has no certificate to forward requests with, so metrics-server takes every caller for anonymous, and here anybody
may read how much pods use.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

from dtj_cluster import binaries, pki
from dtj_cluster import network as net
from dtj_cluster.api import Api, Object
from dtj_cluster.cluster import Cluster
from dtj_cluster.errors import ClusterError
from dtj_cluster.processes import ProcessTable, argv
from dtj_cluster.progress import steps

NAME = "metrics-server"
PORT = 4443
RESOLUTION = "10s"
"""How often the kubelets are asked; metrics-server takes no less."""
_NAMESPACE = "kube-system"
SERVED_AS = f"{NAME}.{_NAMESPACE}.svc"
"""The name under which the API server calls it."""
_GROUP, _VERSION = "metrics.k8s.io", "v1beta1"
_API = f"/apis/{_GROUP}/{_VERSION}"
_REGISTERED = "/apis/apiregistration.k8s.io/v1/apiservices"
_ROLES = "/apis/rbac.authorization.k8s.io/v1"
_READER = "dtj-metrics-reader"


def start(cluster: Cluster) -> None:
    """Start it beside a cluster that is up, register its API, and wait until that tells of all real nodes; what is
    there already stays.
    """
    paths, api, nodes = cluster.paths, cluster.api(), cluster.nodes
    state = paths.load()
    if state is None or state.network is None:
        raise ClusterError(f"cluster {cluster.name} has no nodes to measure", "Bring one up that has: `cluster up`.")
    host, program = net.Network(state.network).host, binaries.ensure(NAME)[NAME]
    authority, kubeconfig, processes = pki.Authority(paths.pki), paths.component(NAME), ProcessTable(paths.root)
    with paths.locked(), steps.step(f"{NAME}: the use of {len(nodes)} nodes"):
        authority.issue(NAME, pki.Subject(f"system:{NAME}", ["system:masters"], [SERVED_AS]))
        authority.kubeconfig(NAME, f"https://{host}:{net.API_PORT}", kubeconfig)
        processes.start(NAME, argv(program, flags(authority, kubeconfig, host)))
        for path, body in objects(host, authority.certificate.read_bytes()):
            api.create(path, body)
        processes.wait_for(NAME, lambda: _told_of(api) >= len(nodes), "what its nodes use", 120)


def flags(authority: pki.Authority, kubeconfig: Path, host: str) -> dict[str, object]:
    """What metrics-server is told."""
    return {
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "authentication-skip-lookup": "true",
        "bind-address": host,
        "secure-port": PORT,
        "tls-cert-file": authority.file(NAME, "crt"),
        "tls-private-key-file": authority.file(NAME, "key"),
        "kubelet-certificate-authority": authority.certificate,
        "kubelet-preferred-address-types": "InternalIP",
        "metric-resolution": RESOLUTION,
        # It does not start when it may wait for a kubelet for as long as it has for all of them.
        "kubelet-request-timeout": "5s",
    }


def objects(host: str, authority: bytes) -> Iterator[tuple[str, Object]]:
    """What makes it part of the API: leave to read for all, a service, the registration."""
    rules: list[Object] = [
        {"apiGroups": [_GROUP], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]},
        {"nonResourceURLs": [_API], "verbs": ["get"]},
    ]
    yield f"{_ROLES}/clusterroles", {"metadata": {"name": _READER}, "rules": rules}
    yield (
        f"{_ROLES}/clusterrolebindings",
        {
            "metadata": {"name": _READER},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": _READER},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:unauthenticated"}],
        },
    )
    # This machine has no way to cluster addresses, which end in the nodes: the API server dials this name as it is.
    service = {"type": "ExternalName", "externalName": host}
    yield f"/api/v1/namespaces/{_NAMESPACE}/services", {"metadata": {"name": NAME}, "spec": service}
    yield (
        _REGISTERED,
        {
            "metadata": {"name": f"{_VERSION}.{_GROUP}"},
            "spec": {
                "group": _GROUP,
                "version": _VERSION,
                "service": {"name": NAME, "namespace": _NAMESPACE, "port": PORT},
                "caBundle": base64.b64encode(authority).decode(),
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
            },
        },
    )


def _told_of(api: Api) -> int:
    """Of how many nodes the API tells; 0 while it is not available."""
    registered = api.get(f"{_REGISTERED}/{_VERSION}.{_GROUP}") or {}
    conditions = registered.get("status", {}).get("conditions", [])
    if not any(one["type"] == "Available" and one["status"] == "True" for one in conditions):
        return 0
    return len((api.get(f"{_API}/nodes") or {}).get("items", []))
