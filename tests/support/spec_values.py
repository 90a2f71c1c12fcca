"""Values of each field of a spec, good ones and bad ones, and two good specs to put them into."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import manifest_table

VALUES: dict[str, list[Any]] = {
    "suspend": [True, False, "yes", 1],
    "managedBy": ["dtj.dev/operator", "kueue.x-k8s.io/multikueue", "", "x" * 64, 7],
    "workers.replicas": [1, 2, 3, 10_000, 0, 10_001, "2", True],
    "workers.minReplicas": [1, 2, 3, 4, 0, "1"],
    "workers.maxReplicas": [1, 2, 3, 10_000, 0],
    "workers.processesPerWorker": ["auto", 1, 64, 0, 65, "8", "gpu", True],
    "workers.template.spec.restartPolicy": ["Never", "Always"],
    "workers.template.spec.hostNetwork": [True],
    "workers.template.spec.containers.0.name": ["trainer", "train", "", "x" * 64],
    "workers.template.spec.containers.0.command": [["x"], [], "x", [1]],
    "workers.template.spec.containers.0.args": [["x"], []],
    "workers.template.spec.containers.0.env": [[], [{"name": "A", "value": "b"}], [{"name": "RANK"}], [{}], "A=b"],
    "workers.template.spec.containers.0.resources": [
        {},
        {"limits": {"cpu": 0.5}},
        {"limits": {"memory": "1Gi"}},
        {"limits": {"memory": 2**20}},
        {"limits": "1Gi"},
    ],
    "launcher": [
        {},
        {"type": "Elastic"},
        {"type": "Torchrun"},
        {"resources": {"requests": {"cpu": "20m"}}},
        {"resources": []},
        None,
    ],
    "rendezvous.joinTimeout": ["10m", "1h30m", "999ms", "0s", "soon", 600],
    "rendezvous.heartbeat": ["100ms", "2s", "99ms"],
    "rendezvous.heartbeatMisses": [2, 1000, 1, 1001],
    "rendezvous.resources": [
        {},
        {"requests": {"cpu": 1, "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        {"limits": {"memory": "2GB"}},
        {"cpu": 1},
        {"requests": "1Gi"},
    ],
    "rendezvous.lastCall": ["0s", "1s", ""],
    "network.sharedMemory": ["512Mi", "1Gi", "1.5Gi", "1GB", 1024],
    "network.policy": ["Isolated", "Open", "open"],
    "network.nccl.socketInterface": ["eth0", "^lo", ""],
    "network.nccl.debug": ["INFO", "info"],
    "network.nccl.env": [{}, {"NCCL_A": "1"}, {"TORCH_NCCL_B": "1"}, {"A": "1"}, {"NCCL_A": 1}],
    "checkpoint.volume": [{"claimName": "c"}, {"template": {"spec": {"a": 1}}}, {}, {"claimName": "C"}, "c"],
    "checkpoint.path": ["a", "a/b-1", "../a", "/a", "a//b", ""],
    "checkpoint.every": [
        {"steps": 1},
        {"seconds": 1},
        {},
        {"steps": 0},
        {"minutes": 1},
        {"auto": True},
        {"auto": False},
    ],
    "checkpoint.keep": [1, 1000, 0],
    "checkpoint.keepEvery": [1, 1000, 0, None],
    "checkpoint.memoryEvery": [1, 10, 0, None],
    "checkpoint.onFailure": ["Continue", "Fail", "fail", True, None],
    "failurePolicy.maxRestarts": [0, 100_000, -1],
    "failurePolicy.window": ["1s", "500ms"],
    "failurePolicy.backoff": [{}, {"initial": "1s", "max": "1s"}, {"initial": "2m", "max": "1m"}, {"initial": "6m"}],
    "schedule.priorityClassName": ["high", "High"],
    "schedule.startTimeout": ["1s", "0s", None],
    "lifecycle.activeDeadline": ["1s", "0s"],
    "lifecycle.ttlAfterFinished": ["0s", "-1s"],
    "lifecycle.cleanPods": ["Running", "All", "None", None, "none"],
    "metrics.interval": ["1s", "10ms"],
    "metrics.from": [
        [],
        [{}],
        [{"namespaceSelector": {}}],
        [{"namespaceSelector": {"matchLabels": {"team": "a"}}}],
        [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "a"}}}],
        [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "a"}}, "podSelector": {}}],
        [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "a", "team": "a"}}}],
        [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "a"}, "matchExpressions": []}}],
        [{"podSelector": {"matchLabels": {"app": "prometheus"}}}],
        [{"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}],
        [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
        {},
        ["monitoring"],
    ],
    "metrics.port": [9400],
}
LEAST = {"workers": {"template": {"spec": {"containers": [{"name": "trainer", "command": ["x"]}]}}}}


def one_at_a_time() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every value of every field, alone in a small and in a full good spec, with a name for each."""
    for path, values in VALUES.items():
        for value in values:
            for name, spec in (("least", LEAST), ("full", manifest_table.base()["spec"])):
                change = manifest_table.Change(set={f"spec.{path}": value})
                yield f"{path}={value} in the {name}", manifest_table.changed({"spec": spec}, change)["spec"]
