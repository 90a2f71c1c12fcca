"""What may change in a job that is stored, and what is shown of it."""

from __future__ import annotations

import json

import manifest_table
import pytest
from admission_jobs import NAMESPACE, Kubectl, base, get_job, unmanaged, zone

from dtj_api.crd import crd
from dtj_api.names import Condition, Phase
from dtj_api.scalars import Timestamp
from dtj_api.status import JobCondition, JobProgress, JobStatus, Restarts, WorkerCounts

pytestmark = pytest.mark.cluster


def test_scale_changes_replicas_within_their_bounds(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=base("scaled"))
    kubectl("scale", "dtj/scaled", "--replicas=4")
    assert kubectl("get", "dtj/scaled", "-o", "jsonpath={.spec.workers.replicas}").stdout == "4"
    above = kubectl("scale", "dtj/scaled", "--replicas=5", check=False)
    assert "lower replicas or raise maxReplicas" in above.stderr
    below = kubectl("scale", "dtj/scaled", "--replicas=1", check=False)
    assert "lower minReplicas or raise replicas" in below.stderr


def test_template_changes_until_the_first_pod_is_made_and_not_before_anything_is_written(kubectl: Kubectl) -> None:
    def status(**fields: str) -> None:
        patch = json.dumps({"status": {"startTime": "2026-01-01T00:00:00Z", **fields}})
        kubectl("patch", "dtj/early", "--subresource=status", "--type=merge", "--patch", patch)

    kubectl("create", "-f", "-", stdin=unmanaged("early"))
    refused = kubectl("patch", "dtj/early", *zone("a"), check=False)
    assert "before the first pod is made" in refused.stderr, "pods may be in the making beside the first status"
    status()
    kubectl("patch", "dtj/early", *zone("a"))
    status(templateHash="")
    kubectl("patch", "dtj/early", *zone("b"))
    status(templateHash="0123456789abcdef")
    refused = kubectl("patch", "dtj/early", *zone("c"), check=False)
    assert "set spec.suspend to true first" in refused.stderr


def test_template_changes_while_suspended_and_with_the_suspension(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=base("queued"))
    kubectl("patch", "dtj/queued", *zone("a", suspend=True))
    kubectl("patch", "dtj/queued", *zone("b"))
    kubectl("patch", "dtj/queued", *zone("c", suspend=False))
    refused = kubectl("patch", "dtj/queued", *zone("d"), check=False)
    assert "set spec.suspend to true first" in refused.stderr
    where = "jsonpath={.spec.workers.template.spec.nodeSelector.zone}"
    assert kubectl("get", "dtj/queued", "-o", where).stdout == "c"


def test_columns_and_waiting_read_the_status(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=unmanaged("shown"))
    now = Timestamp(1_700_000_000.25)
    status = JobStatus(
        phase=Phase.RUNNING,
        conditions=tuple(
            JobCondition(type=kind, status="True", reason="Tested", observed_generation=1, last_transition_time=now)
            for kind in (Condition.READY, Condition.SUCCEEDED)
        ),
        workers=WorkerCounts(desired=3, ready=3, active=3),
        selector="dtj.dev/job-name=shown",
        restarts=Restarts(counted=2),
        progress=JobProgress(step=120, loss=0.25, samples_per_second=31.5),
        start_time=now,
    )
    patch = json.dumps({"status": status.dump()})
    kubectl("patch", "dtj/shown", "--subresource=status", "--type=merge", "--patch", patch)
    head, line = (row.split() for row in kubectl("get", "dtj", "shown").stdout.splitlines())
    assert head == ["NAME", "PHASE", "READY", "WORKERS", "STEP", "LOSS", "RATE", "RESTARTS", "AGE"]
    assert line[:8] == ["shown", "Running", "True", "3", "120", "0.25", "31.5", "2"]
    for kind in (Condition.READY, Condition.SUCCEEDED):
        kubectl("wait", f"--for=condition={kind}", "dtj/shown", "--timeout=5s")
    scale = json.loads(kubectl("get", "--raw", _scale_path("shown")).stdout)
    assert scale["status"] == {"replicas": 3, "selector": "dtj.dev/job-name=shown"}
    assert JobStatus.model_validate(get_job(kubectl, "shown")["status"]) == status


def _scale_path(name: str) -> str:
    group_version = manifest_table.base()["apiVersion"]
    plural = crd()["spec"]["names"]["plural"]
    return f"/apis/{group_version}/namespaces/{NAMESPACE}/{plural}/{name}/scale"


def test_status_is_written_through_its_subresource_only(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=unmanaged("honest") | {"status": {"phase": Phase.SUCCEEDED}})
    assert kubectl("get", "dtj/honest", "-o", "jsonpath={.status}").stdout == ""
