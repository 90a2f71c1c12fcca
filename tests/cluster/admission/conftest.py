"""A real API server with all of the chart in place but the operator's pod."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
from admission_jobs import NAMESPACE, RESTRICTED, Kubectl, base, chart, zone
from manifest_table import Manifest

from dtj_api.crd import crd
from dtj_cluster import binaries


@pytest.fixture(scope="session")
def kubectl(control_plane: Path) -> Kubectl:
    """Runs kubectl in the tests' namespace, with all of the chart in place but the operator's pod."""
    program = str(binaries.ensure("kubectl")["kubectl"])

    def run(
        *args: str, stdin: Manifest | str | None = None, check: bool = True, namespace: str = NAMESPACE
    ) -> subprocess.CompletedProcess[str]:
        scope = ("--namespace", namespace) if namespace else ()
        done = subprocess.run(
            [program, "--kubeconfig", str(control_plane), *scope, *args],
            input=json.dumps(stdin) if isinstance(stdin, dict) else stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if check:
            assert done.returncode == 0, f"kubectl {' '.join(args)}: {done.stderr}"
        return done

    for namespace in (NAMESPACE, RESTRICTED):
        run("create", "namespace", namespace)
    run("label", "namespace", RESTRICTED, "pod-security.kubernetes.io/enforce=restricted")
    run(
        "apply",
        "--server-side",
        "--force-conflicts",
        "-f",
        "-",
        stdin="\n---\n".join(text for name, text in chart() if name != "deployment"),
        namespace="",
    )
    run("wait", "--for=condition=Established", f"crd/{crd()['metadata']['name']}", "--timeout=30s")
    wait_for_policy(run)
    return run


def wait_for_policy(run: Kubectl) -> None:
    """A policy takes effect some time after it was made: change a template until that is refused."""
    run("create", "-f", "-", stdin=base("policy-probe"))
    deadline = time.monotonic() + 30
    while run("patch", "dtj/policy-probe", *zone("a"), "--dry-run=server", check=False).returncode == 0:
        assert time.monotonic() < deadline, "the admission policy never took effect"
