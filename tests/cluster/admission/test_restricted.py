"""What templates may not hold where pods are restricted."""

from __future__ import annotations

import time

import manifest_table
import pytest
from admission_jobs import RESTRICTED, Kubectl, unmanaged
from manifest_table import Manifest

pytestmark = pytest.mark.cluster

POD = "spec.workers.template.spec"
TOKEN = {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}
HELPER = {"name": "helper", "image": "x", "securityContext": {"privileged": True}}
IN_RESTRICTED: list[tuple[Manifest, str]] = [
    ({f"{POD}.serviceAccountName": "admin"}, "serviceAccountName: must be left out"),
    ({f"{POD}.serviceAccount": "admin"}, "serviceAccountName: must be left out"),
    ({f"{POD}.automountServiceAccountToken": True}, "must mount no service account token"),
    ({f"{POD}.volumes": [TOKEN]}, "must mount no service account token"),
    ({f"{POD}.volumes": [{"name": "h", "hostPath": {"path": "/"}}]}, "must have no hostPath"),
    ({f"{POD}.hostNetwork": True}, "must not share the node's network"),
    ({f"{POD}.hostPID": True}, "must not share the node's network"),
    ({f"{POD}.hostIPC": True}, "must not share the node's network"),
    ({f"{POD}.containers.0.securityContext": {"privileged": True}}, "must not be privileged"),
    ({f"{POD}.initContainers": [HELPER]}, "must not be privileged"),
    ({}, ""),
    ({f"{POD}.serviceAccountName": "default", f"{POD}.automountServiceAccountToken": False}, ""),
    ({f"{POD}.serviceAccountName": "puller"}, ""),
    ({f"{POD}.volumes": [{"name": "e", "emptyDir": {}}], f"{POD}.hostNetwork": False}, ""),
    # As Helm writes what was left empty.
    ({f"{POD}.{each}": None for each in ("volumes", "serviceAccountName", "initContainers", "hostPID")}, ""),
    ({f"{POD}.containers.0.securityContext": None}, ""),
]


@pytest.mark.parametrize(("change", "says"), IN_RESTRICTED, ids=lambda value: str(value)[:60])
def test_what_templates_may_not_hold_where_pods_are_restricted(kubectl: Kubectl, change: Manifest, says: str) -> None:
    manifest = manifest_table.changed(unmanaged("restricted"), manifest_table.Change(set=change))
    asked = ("create", "--dry-run=server", "--validate=ignore", "-f", "-")
    deadline = time.monotonic() + 30
    while True:
        done = kubectl(*asked, stdin=manifest, check=False, namespace=RESTRICTED)
        # A policy takes effect some time after it was made.
        if not says or done.returncode != 0 or time.monotonic() > deadline:
            break
    assert says in done.stderr, done.stderr
    assert (done.returncode == 0) == (says == ""), done.stderr
    assert kubectl(*asked, stdin=manifest, check=False).returncode == 0, "elsewhere it is taken"


def test_a_job_that_was_there_before_the_policy_can_be_suspended(kubectl: Kubectl) -> None:
    job = manifest_table.changed(unmanaged("older"), manifest_table.Change(set={f"{POD}.hostNetwork": True}))
    label = "pod-security.kubernetes.io/enforce"
    kubectl("label", "namespace", RESTRICTED, f"{label}-")
    deadline = time.monotonic() + 30
    while kubectl("create", "-f", "-", stdin=job, check=False, namespace=RESTRICTED).returncode != 0:
        assert time.monotonic() < deadline
    kubectl("label", "namespace", RESTRICTED, f"{label}=restricted")
    while (
        kubectl("create", "--dry-run=server", "-f", "-", stdin=job, check=False, namespace=RESTRICTED).returncode == 0
    ):
        assert time.monotonic() < deadline + 30
    kubectl("patch", "dtj/older", "--type=merge", "--patch", '{"spec": {"suspend": true}}', namespace=RESTRICTED)
