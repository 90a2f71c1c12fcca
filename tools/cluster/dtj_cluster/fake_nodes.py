"""Nodes that exist in the API only, for scale: kwok answers for their kubelets, and for the pods on them.

A pod on one is Running and Ready as soon as it is scheduled, and gone as soon as it is deleted; nothing of it runs. A
taint keeps pods off that do not ask for such nodes (`toleration`, `SELECTOR`), so they live beside real ones. kwok
comes with no stages of its own and with four workers, which would be the bottleneck of every benchmark: both are set
here.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from dtj_cluster.api import Api, Object
from dtj_cluster.processes import ProcessTable, argv
from dtj_cluster.state import Options, Paths

ANNOTATION = "kwok.x-k8s.io/node"
SELECTOR = {"type": "kwok"}
WORKERS = 64
_CAPACITY = {"cpu": "64", "memory": "512Gi", "pods": "500"}
_NODES = "/api/v1/nodes"


def toleration() -> Object:
    """What a pod tolerates to run on fake nodes."""
    return {"key": ANNOTATION, "operator": "Exists", "effect": "NoSchedule"}


def start(processes: ProcessTable, program: Path, paths: Paths, api: Api, options: Options) -> None:
    """Start kwok, make the nodes that are missing, and wait until all are Ready."""
    configuration = paths.root / "kwok.yaml"
    configuration.write_text("\n---\n".join(json.dumps(one) for one in documents()))
    flags = {
        "config": configuration,
        "kubeconfig": paths.kubeconfig,
        "manage-all-nodes": "false",
        "manage-nodes-with-annotation-selector": f"{ANNOTATION}=fake",
        "node-ip": "100.127.255.254",
        "cidr": "100.64.0.1/11",
        "node-lease-duration-seconds": 40,
    }
    processes.start("kwok", argv(program, flags))
    with ThreadPoolExecutor(8) as pool:
        list(
            pool.map(
                lambda number: api.create(_NODES, fake_node(number, options.gpus_per_node)), range(options.fake_nodes)
            )
        )
    processes.wait_for(
        "kwok", lambda: _ready(api) >= options.fake_nodes, f"readiness of {options.fake_nodes} fake nodes", 180
    )


def fake_node(number: int, gpus: int) -> Object:
    """The node object number ``number``."""
    capacity = {**_CAPACITY, **({"nvidia.com/gpu": str(gpus)} if gpus else {})}
    name = f"fake-{number:04d}"
    return {
        "metadata": {
            "name": name,
            "annotations": {ANNOTATION: "fake"},
            "labels": {**SELECTOR, "kubernetes.io/hostname": name},
        },
        "spec": {"taints": [{"key": ANNOTATION, "value": "fake", "effect": "NoSchedule"}]},
        "status": {"capacity": capacity, "allocatable": capacity},
    }


def documents() -> list[Object]:
    """kwok's configuration: its workers, and what becomes of a node and of a pod."""
    options = {
        "podPlayStageParallelism": WORKERS,
        "nodePlayStageParallelism": WORKERS // 4,
        "nodeLeaseParallelism": WORKERS // 4,
        "podsOnNodeSyncParallelism": WORKERS // 4,
    }
    deleted, alive = (_where(".metadata.deletionTimestamp", operator) for operator in ("Exists", "DoesNotExist"))
    not_ready = _where('.status.conditions.[] | select( .type == "Ready" ) | .status', "NotIn", "True")
    return [
        {"apiVersion": "config.kwok.x-k8s.io/v1alpha1", "kind": "KwokConfiguration", "options": options},
        _stage("node-ready", "Node", [not_ready], {"statusTemplate": _NODE_STATUS}),
        _stage(
            "pod-running", "Pod", [alive, _where(".status.phase", "In", "Pending")], {"statusTemplate": _POD_STATUS}
        ),
        _stage("pod-gone", "Pod", [deleted], {"delete": True}),
    ]


def _stage(name: str, kind: str, conditions: list[Object], outcome: Object) -> Object:
    spec = {
        "resourceRef": {"apiGroup": "v1", "kind": kind},
        "selector": {"matchExpressions": conditions},
        "next": outcome,
    }
    return {"apiVersion": "kwok.x-k8s.io/v1alpha1", "kind": "Stage", "metadata": {"name": name}, "spec": spec}


def _where(key: str, operator: str, *values: str) -> Object:
    return {"key": key, "operator": operator, **({"values": list(values)} if values else {})}


def _ready(api: Api) -> int:
    nodes = (api.get(f"{_NODES}?labelSelector=type%3Dkwok&resourceVersion=0") or {}).get("items", [])
    return sum(
        any(one["type"] == "Ready" and one["status"] == "True" for one in node["status"].get("conditions", []))
        for node in nodes
    )


_NODE_STATUS = """
conditions:
{{ range NodeConditions }}
- type: {{ .type | Quote }}
  status: {{ .status | Quote }}
  reason: {{ .reason | Quote }}
  message: {{ .message | Quote }}
  lastHeartbeatTime: {{ Now | Quote }}
  lastTransitionTime: {{ Now | Quote }}
{{ end }}
addresses:
- {type: InternalIP, address: {{ NodeIP | Quote }}}
"""

_POD_STATUS = """
{{ $now := Now | Quote }}
phase: Running
startTime: {{ $now }}
hostIP: {{ NodeIP | Quote }}
podIP: {{ index (PodIPsWith .spec.nodeName false .metadata.uid .metadata.name .metadata.namespace) 0 | Quote }}
conditions:
- {type: Initialized, status: "True", lastTransitionTime: {{ $now }}}
- {type: ContainersReady, status: "True", lastTransitionTime: {{ $now }}}
- {type: Ready, status: "True", lastTransitionTime: {{ $now }}}
containerStatuses:
{{ range .spec.containers }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: true
  started: true
  restartCount: 0
  state: {running: {startedAt: {{ $now }}}}
{{ end }}
{{ with .spec.initContainers }}
initContainerStatuses:
{{ range . }}
- name: {{ .name | Quote }}
  image: {{ .image | Quote }}
  imageID: ""
  ready: true
  restartCount: 0
  state: {terminated: {exitCode: 0, reason: Completed, startedAt: {{ $now }}, finishedAt: {{ $now }}}}
{{ end }}
{{ end }}
"""
