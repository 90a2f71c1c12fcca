"""What an operator with the rights of the chart's account makes of jobs, and to whom it shows its metrics."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from admission_jobs import NAMESPACE, ROWS, Kubectl, base, chart, get_job, slug
from certificates import trusting, write_certificate
from manifest_table import Manifest, Row

from dtj_api import names
from dtj_api.names import Condition, Label, Reason
from dtj_api.status import JobStatus

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def operator(kubectl: Kubectl, control_plane: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A running operator that may do what the chart's account may; the file of its log."""
    folder = tmp_path_factory.mktemp("operator")
    account: Manifest = yaml.safe_load(dict(chart())["serviceaccount"])
    config = yaml.safe_load(control_plane.read_text())
    token = kubectl("create", "token", account["metadata"]["name"]).stdout.strip()
    config["users"] = [{"name": user["name"], "user": {"token": token}} for user in config["users"]]
    kubeconfig, log = folder / "kubeconfig", folder / "operator.log"
    kubeconfig.write_text(yaml.safe_dump(config))
    deployment: Manifest = yaml.safe_load(dict(chart())["deployment"])
    args = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    certificate, key = write_certificate(folder)
    here = ["--kubeconfig", str(kubeconfig), "--metrics-host", "127.0.0.1", "--metrics-port", "0", "--probe-port", "0"]
    here += ["--metrics-tls-cert", str(certificate), "--metrics-tls-key", str(key)]
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


@pytest.mark.parametrize("row", [row for row in ROWS if row.refused == "dry run"], ids=lambda row: row.name)
def test_what_only_a_dry_run_sees_becomes_a_condition(kubectl: Kubectl, operator: Path, row: Row) -> None:
    name = slug(row)
    kubectl("create", "--validate=strict", "-f", "-", stdin=row.manifest(name))
    waited = kubectl("wait", "--for=condition=Admitted=False", f"dtj/{name}", "--timeout=30s", check=False)
    assert waited.returncode == 0, operator.read_text()
    admitted = JobStatus.model_validate(get_job(kubectl, name)["status"]).condition(Condition.ADMITTED)
    assert admitted is not None
    assert admitted.reason == Reason.DRY_RUN_REFUSED
    assert [text for text in row.says if text not in admitted.message] == [], admitted.message
    assert kubectl("get", "pods", "-l", f"{Label.JOB_NAME}={name}", "-o", "name").stdout == ""


def test_good_manifest_is_run_with_the_rights_of_the_chart(kubectl: Kubectl, operator: Path) -> None:
    kubectl("create", "--validate=strict", "-f", "-", stdin=base("admitted"))
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


def test_metrics_are_shown_to_whom_the_api_server_lets_get_them(kubectl: Kubectl, operator: Path) -> None:
    deadline = time.monotonic() + 30
    while (port := re.search(r"metrics on port (\d+)", operator.read_text())) is None:
        assert time.monotonic() < deadline, operator.read_text()
    context = trusting(operator.parent / "tls.crt")

    def asked_by(account: str) -> int:
        token = kubectl("create", "token", account).stdout.strip() if account else "nobodys"
        asked = urllib.request.Request(f"https://127.0.0.1:{port.group(1)}/metrics")
        asked.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(asked, context=context, timeout=20) as answer:
                assert b"dtj_operator_build_info" in answer.read()
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    for account in ("prometheus", "stranger"):
        kubectl("create", "serviceaccount", account)
    bound = ("--clusterrole=dtj-dtj-operator-metrics", f"--serviceaccount={NAMESPACE}:prometheus")
    kubectl("create", "clusterrolebinding", "admission-prometheus", *bound)
    # The authorizer learns of a binding a moment after it was made; a new token is asked about anew.
    while (status := asked_by("prometheus")) == 403:
        assert time.monotonic() < deadline + 30
    assert (status, asked_by("stranger"), asked_by("")) == (200, 403, 401)


def test_operators_pod_is_taken_where_pods_must_be_restricted(kubectl: Kubectl) -> None:
    pod = yaml.safe_load(dict(chart())["deployment"])["spec"]["template"]
    pod |= {"apiVersion": "v1", "kind": "Pod"}
    pod["metadata"]["name"] = "restricted"
    kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=restricted")
    try:
        kubectl("create", "--validate=strict", "--dry-run=server", "-f", "-", stdin=pod)
    finally:
        kubectl("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce-")
