"""A volume that the workers do not share is said, and nobody trains on it."""

from __future__ import annotations

import pytest
from e2e_jobs import Jobs, Object

from dtj_api import names
from dtj_cluster.state import Paths

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1200)]

FOLDER = "dtj-not-shared"
CLAIM = "each-node-its-own"


def make_claim(jobs: Jobs) -> None:
    """A claim that says ReadWriteMany and is another directory on each node: /var/log is a node's own here."""
    for node in jobs.cluster.nodes:
        folder = Paths.of(jobs.cluster.name).node(node.name) / "log" / FOLDER
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)
    size = {"storage": "1Gi"}
    common: Object = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    reference = {"namespace": jobs.namespace, "name": CLAIM}
    volume = {"capacity": size, "hostPath": {"path": f"/var/log/{FOLDER}"}, "claimRef": reference, **common}
    claim = {"resources": {"requests": size}, "volumeName": jobs.namespace, **common}
    jobs.kubectl.apply(
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": jobs.namespace}, "spec": volume}
    )
    jobs.kubectl.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": reference, "spec": claim})


def test_a_claim_that_is_not_shared_is_a_condition_and_no_training(jobs: Jobs) -> None:
    make_claim(jobs)

    def apart(spec: Object) -> None:
        spec["checkpoint"]["volume"] = {"claimName": CLAIM}
        spec["workers"]["template"]["spec"]["topologySpreadConstraints"] = [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {names.Label.COMPONENT: names.Component.WORKER}},
            }
        ]

    try:
        name = jobs.apply("own-script.yaml", apart)
        job = jobs.wait(name, "condition=VolumeNotShared", 300)
        job = jobs.wait(name, "condition=Failed", 300)
    finally:
        jobs.kubectl("delete", "persistentvolume", jobs.namespace, "--wait=false")

    (failed,) = [each for each in job["status"]["conditions"] if each["type"] == names.Condition.FAILED]
    assert failed["reason"] == names.Reason.VOLUME_NOT_SHARED
    assert "ReadWriteMany" in failed["message"]
    assert job["status"].get("progress", {}).get("step") is None, "nobody trained"
