"""What a real API server says to good and bad manifests: the types, the rules and the admission policy."""

from __future__ import annotations

import json

import manifest_table
import pytest
import yaml
from admission_jobs import ROWS, Kubectl, slug, unmanaged
from manifest_table import Manifest, Row
from spec_values import one_at_a_time

from dtj_api.base import ManifestError, read
from dtj_api.crd import REPOSITORY
from dtj_api.names import KIND
from dtj_api.spec import JobSpec

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("row", [row for row in ROWS if row.refused != "dry run"], ids=lambda row: row.name)
def test_bad_manifest_is_refused_with_the_fields_name(kubectl: Kubectl, row: Row) -> None:
    name = slug(row)
    if row.update:
        kubectl("create", "--validate=strict", "-f", "-", stdin=row.existing(name))
    verb = "replace" if row.update else "create"
    done = kubectl(verb, "--validate=strict", "-f", "-", stdin=row.manifest(name), check=False)
    assert done.returncode != 0, f"accepted: {done.stdout}"
    assert [text for text in row.says if text not in done.stderr] == [], done.stderr
    assert ("ValidatingAdmissionPolicy" in done.stderr) == (row.refused == "policy")


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
    manifests = [unmanaged(f"value-{number}") | {"spec": spec} for number, spec in enumerate(specs.values())]
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


def test_explain_tells_the_fields(kubectl: Kubectl) -> None:
    assert "Fewest workers that training goes on with" in kubectl("explain", "dtj.spec.workers.minReplicas").stdout
