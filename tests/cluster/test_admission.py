"""What a real API server says to good and bad manifests: the types, the rules and the admission policy."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import helm_python
import manifest_table
import pytest
import yaml
from manifest_table import Manifest, Row
from spec_values import one_at_a_time

from dtj_api import names
from dtj_api.base import ManifestError, read
from dtj_api.crd import REPOSITORY, crd
from dtj_api.names import KIND, Condition, Label, Phase, Reason
from dtj_api.scalars import Timestamp
from dtj_api.spec import JobSpec
from dtj_api.status import JobCondition, JobProgress, JobStatus, Restarts, WorkerCounts
from dtj_cluster import binaries

pytestmark = pytest.mark.cluster

NAMESPACE = "admission"
ROWS = manifest_table.rows()
Kubectl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def kubectl(control_plane: Path) -> Kubectl:
    """Runs kubectl in the tests' namespace, with all of the chart in place but the operator's pod."""
    program = str(binaries.ensure("kubectl")["kubectl"])

    def run(*args: str, stdin: Manifest | str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [program, "--kubeconfig", str(control_plane), "--namespace", NAMESPACE, *args],
            input=json.dumps(stdin) if isinstance(stdin, dict) else stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if check:
            assert done.returncode == 0, f"kubectl {' '.join(args)}: {done.stderr}"
        return done

    run("create", "namespace", NAMESPACE)
    run(
        "apply",
        "--server-side",
        "-f",
        "-",
        stdin="\n---\n".join(text for name, text in _chart() if name != "deployment"),
    )
    run("wait", "--for=condition=Established", f"crd/{crd()['metadata']['name']}", "--timeout=30s")
    _wait_for_policy(run)
    return run


def _chart() -> list[tuple[str, str]]:
    """The chart's manifests, by the name of their template."""
    with helm_python.Chart.load(REPOSITORY / "charts" / "dtj-operator") as chart:
        files = chart.render({"watchNamespace": NAMESPACE}, name="dtj", namespace=NAMESPACE)
    return [(Path(name).stem, text) for name, text in files.items() if name.endswith(".yaml")]


@pytest.fixture(scope="module")
def operator(kubectl: Kubectl, control_plane: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running operator that may do what the chart's account may; the file of its log."""
    folder = tmp_path_factory.mktemp("operator")
    account: Manifest = yaml.safe_load(dict(_chart())["serviceaccount"])
    config = yaml.safe_load(control_plane.read_text())
    token = kubectl("create", "token", account["metadata"]["name"]).stdout.strip()
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    kubeconfig, log = folder / "kubeconfig", folder / "operator.log"
    kubeconfig.write_text(yaml.safe_dump(config))
    deployment: Manifest = yaml.safe_load(dict(_chart())["deployment"])
    args = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    here = ["--kubeconfig", str(kubeconfig), "--metrics-host", "127.0.0.1", "--metrics-port", "0"]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "dtj_operator", *args, *here], stdout=output, stderr=subprocess.STDOUT
        ) as process,
    ):
        yield log
        process.terminate()
        try:
            assert process.wait(30) == 0, log.read_text()
        finally:
            process.kill()


def _wait_for_policy(run: Kubectl) -> None:
    """A policy takes effect some time after it was made: change a template until that is refused."""
    run("create", "-f", "-", stdin=_base("policy-probe"))
    deadline = time.monotonic() + 30
    while run("patch", "dtj/policy-probe", *_zone("a"), "--dry-run=server", check=False).returncode == 0:
        assert time.monotonic() < deadline, "the admission policy never took effect"


def _base(name: str) -> Manifest:
    manifest = manifest_table.base()
    manifest["metadata"]["name"] = name
    return manifest


def _unmanaged(name: str) -> Manifest:
    """A job that the operator, where one runs already, keeps its hands off."""
    manifest = _base(name)
    manifest["spec"]["managedBy"] = "tests.dtj.dev/nobody"
    return manifest


def _zone(zone: str, **spec: object) -> tuple[str, ...]:
    """Arguments of `kubectl patch` that change the pod template."""
    template = {"spec": {"nodeSelector": {"zone": zone}}}
    return "--type=merge", "--patch", json.dumps({"spec": {"workers": {"template": template}, **spec}})


def _get(kubectl: Kubectl, name: str) -> Manifest:
    stored: Manifest = json.loads(kubectl("get", f"dtj/{name}", "-o", "json").stdout)
    return stored


def _slug(row: Row) -> str:
    return "bad-" + "".join(c if c.isalnum() else "-" for c in row.name.lower())[:40].rstrip("-")


@pytest.mark.parametrize("row", [row for row in ROWS if row.refused != "dry run"], ids=lambda row: row.name)
def test_bad_manifest_is_refused_with_the_fields_name(kubectl: Kubectl, row: Row) -> None:
    name = _slug(row)
    if row.update:
        kubectl("create", "--validate=strict", "-f", "-", stdin=row.existing(name))
    verb = "replace" if row.update else "create"
    done = kubectl(verb, "--validate=strict", "-f", "-", stdin=row.manifest(name), check=False)
    assert done.returncode != 0, f"accepted: {done.stdout}"
    assert [text for text in row.says if text not in done.stderr] == [], done.stderr
    assert ("ValidatingAdmissionPolicy" in done.stderr) == (row.refused == "policy")


@pytest.mark.parametrize("row", [row for row in ROWS if row.refused == "dry run"], ids=lambda row: row.name)
def test_what_only_a_dry_run_sees_becomes_a_condition(kubectl: Kubectl, operator: Path, row: Row) -> None:
    name = _slug(row)
    kubectl("create", "--validate=strict", "-f", "-", stdin=row.manifest(name))
    waited = kubectl("wait", "--for=condition=Admitted=False", f"dtj/{name}", "--timeout=30s", check=False)
    assert waited.returncode == 0, operator.read_text()
    admitted = JobStatus.model_validate(_get(kubectl, name)["status"]).condition(Condition.ADMITTED)
    assert admitted is not None
    assert admitted.reason == Reason.DRY_RUN_REFUSED
    assert [text for text in row.says if text not in admitted.message] == [], admitted.message
    assert kubectl("get", "pods", "-l", f"{Label.JOB_NAME}={name}", "-o", "name").stdout == ""


def test_good_manifest_is_run_with_the_rights_of_the_chart(kubectl: Kubectl, operator: Path) -> None:
    kubectl("create", "--validate=strict", "-f", "-", stdin=_base("admitted"))
    children = [
        f"pod/{names.store_name('admitted')}",
        f"pod/{names.worker_name('admitted', 2)}",
        f"service/{names.service_name('admitted')}",
        f"networkpolicy/{names.policy_name('admitted')}",
        f"secret/{names.key_name('admitted')}",
    ]
    waits = [("Admitted", "dtj/admitted"), *((None, child) for child in children)]
    for condition, what in waits:
        how = f"condition={condition}" if condition else "create"
        waited = kubectl("wait", f"--for={how}", what, "--timeout=30s", check=False)
        assert waited.returncode == 0, f"{what}: {operator.read_text()}"
    kubectl("patch", "dtj/admitted", "--type=merge", "--patch", json.dumps({"spec": {"suspend": True}}))
    kubectl("wait", "--for=delete", children[1], "--timeout=30s")
    # RBAC's own refusal; an admission plugin words it in another way.
    assert not re.findall(r"cannot \w+ resource.*", operator.read_text())


def test_operators_pod_is_taken_where_pods_must_be_restricted(kubectl: Kubectl) -> None:
    pod = yaml.safe_load(dict(_chart())["deployment"])["spec"]["template"]
    pod |= {"apiVersion": "v1", "kind": "Pod"}
    pod["metadata"]["name"] = "restricted"
    kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    try:
        kubectl("create", "--validate=strict", "--dry-run=server", "-f", "-", stdin=pod)
    finally:
        kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce-")


def test_every_example_is_accepted(kubectl: Kubectl) -> None:
    examples = sorted((REPOSITORY / "examples").glob("*.yaml"))
    assert examples
    for path in examples:
        jobs = [each for each in yaml.safe_load_all(path.read_text()) if each and each["kind"] == KIND]
        assert jobs, f"{path.name} holds no {KIND}"
        for job in jobs:
            job["metadata"].pop("namespace", None)
            kubectl("create", "--validate=strict", "--dry-run=server", "-f", "-", stdin=job)


def test_models_and_api_server_agree_on_every_value_of_every_field(kubectl: Kubectl) -> None:
    specs = dict(one_at_a_time())
    manifests = [_unmanaged(f"value-{number}") | {"spec": spec} for number, spec in enumerate(specs.values())]
    stdin = "\n---\n".join(json.dumps(manifest) for manifest in manifests)
    done = kubectl("create", "--validate=strict", "--dry-run=server", "-o", "name", "-f", "-", stdin=stdin, check=False)
    taken = {int(line.rsplit("-", 1)[1]) for line in done.stdout.splitlines()}
    assert 100 < len(taken) < len(specs)
    disputed = [name for number, (name, spec) in enumerate(specs.items()) if (number in taken) != _reads(spec)]
    assert disputed == [], done.stderr


def _reads(spec: Manifest) -> bool:
    try:
        read(JobSpec, spec, "spec")
    except ManifestError:
        return False
    return True


def test_smallest_manifest_gets_its_defaults_and_keeps_its_template(kubectl: Kubectl) -> None:
    template = {
        "metadata": {"annotations": {"a/b": "c"}},
        "spec": {
            "containers": [
                {"name": "trainer", "image": "x", "command": ["train"], "resources": {"limits": {"cpu": 0.5}}}
            ],
            "tolerations": [{"operator": "Exists"}],
        },
    }
    smallest = {
        "apiVersion": manifest_table.base()["apiVersion"],
        "kind": KIND,
        "metadata": {"name": "smallest"},
        "spec": {"workers": {"template": template}},
    }
    stored = json.loads(kubectl("create", "--validate=strict", "-f", "-", "-o", "json", stdin=smallest).stdout)["spec"]
    assert stored["workers"]["template"] == template
    assert stored["workers"]["replicas"] == 1
    assert "minReplicas" not in stored["workers"], "computed, or kubectl scale would break on it"
    assert stored["rendezvous"] == {"joinTimeout": "10m", "heartbeat": "2s", "heartbeatMisses": 5, "lastCall": "1s"}
    assert stored["managedBy"] == "dtj.dev/operator"


def test_scale_changes_replicas_within_their_bounds(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=_base("scaled"))
    kubectl("scale", "dtj/scaled", "--replicas=4")
    assert kubectl("get", "dtj/scaled", "-o", "jsonpath={.spec.workers.replicas}").stdout == "4"
    above = kubectl("scale", "dtj/scaled", "--replicas=5", check=False)
    assert "lower replicas or raise maxReplicas" in above.stderr
    below = kubectl("scale", "dtj/scaled", "--replicas=1", check=False)
    assert "lower minReplicas or raise replicas" in below.stderr


def test_template_changes_while_suspended_and_with_the_suspension(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=_base("queued"))
    kubectl("patch", "dtj/queued", *_zone("a", suspend=True))
    kubectl("patch", "dtj/queued", *_zone("b"))
    kubectl("patch", "dtj/queued", *_zone("c", suspend=False))
    refused = kubectl("patch", "dtj/queued", *_zone("d"), check=False)
    assert "set spec.suspend to true first" in refused.stderr
    zone = "jsonpath={.spec.workers.template.spec.nodeSelector.zone}"
    assert kubectl("get", "dtj/queued", "-o", zone).stdout == "c"


def test_columns_and_waiting_read_the_status(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=_unmanaged("shown"))
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
    assert JobStatus.model_validate(_get(kubectl, "shown")["status"]) == status


def _scale_path(name: str) -> str:
    group_version = manifest_table.base()["apiVersion"]
    plural = crd()["spec"]["names"]["plural"]
    return f"/apis/{group_version}/namespaces/{NAMESPACE}/{plural}/{name}/scale"


def test_status_is_written_through_its_subresource_only(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=_unmanaged("honest") | {"status": {"phase": Phase.SUCCEEDED}})
    assert kubectl("get", "dtj/honest", "-o", "jsonpath={.status}").stdout == ""


def test_explain_tells_the_fields(kubectl: Kubectl) -> None:
    assert "Fewest workers that training goes on with" in kubectl("explain", "dtj.spec.workers.minReplicas").stdout
