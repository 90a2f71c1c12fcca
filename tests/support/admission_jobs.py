"""Jobs that a real API server is asked about, and the chart that is installed there."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import helm_python
import manifest_table
from manifest_table import Manifest, Row

from dtj_api.crd import REPOSITORY

NAMESPACE = "admission"
RESTRICTED = "admission-restricted"
VALUES = {
    "watchNamespaces": [NAMESPACE, RESTRICTED],
    "restrictedTemplates": {"serviceAccounts": ["puller"]},
    "metrics": {"auth": True, "tls": {"secretName": "metrics-cert"}},
}
ROWS = manifest_table.rows()
Kubectl = Callable[..., subprocess.CompletedProcess[str]]


def chart() -> list[tuple[str, str]]:
    """The chart's manifests, by the name of their template."""
    with helm_python.Chart.load(REPOSITORY / "charts" / "dtj-operator") as loaded:
        files = loaded.render(VALUES, name="dtj", namespace=NAMESPACE)
    return [(Path(name).stem, text) for name, text in files.items() if name.endswith(".yaml")]


def base(name: str) -> Manifest:
    """A job that is taken."""
    manifest = manifest_table.base()
    manifest["metadata"]["name"] = name
    return manifest


def unmanaged(name: str) -> Manifest:
    """A job that the operator, where one runs already, keeps its hands off."""
    manifest = base(name)
    manifest["spec"]["managedBy"] = "tests.dtj.dev/nobody"
    return manifest


def zone(name: str, **spec: object) -> tuple[str, ...]:
    """Arguments of `kubectl patch` that change the pod template."""
    template = {"spec": {"nodeSelector": {"zone": name}}}
    return "--type=merge", "--patch", json.dumps({"spec": {"workers": {"template": template}, **spec}})


def get_job(kubectl: Kubectl, name: str) -> Manifest:
    """A job as it is stored."""
    found: Manifest = json.loads(kubectl("get", f"dtj/{name}", "-o", "json").stdout)
    return found


def slug(row: Row) -> str:
    """The name of a row's job."""
    return "bad-" + "".join(c if c.isalnum() else "-" for c in row.name.lower())[:40].rstrip("-")
