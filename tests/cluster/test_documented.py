"""The commands of kubectl and helm that the documentation shows, from its own text, against a real API server.

It has no nodes and no operator: what those would write (that a pod is ready, a job has succeeded) is written here.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from documented import ROOT, documented, each_documented, shown_block
from operator_process import PATIENCE

from dtj_api import names
from dtj_api.crd import crd
from dtj_cluster import ControlPlane, binaries

pytestmark = pytest.mark.cluster

SINCE = {"lastTransitionTime": "2026-01-01T00:00:00Z"}


@dataclass(frozen=True)
class Shell:
    """A user's shell, after the command that lets it use the local cluster."""

    environment: dict[str, str]

    def __call__(self, command: str, folder: Path = ROOT) -> str:
        """Run a command to its end; what it printed."""
        ended = subprocess.run(
            ["bash", "-c", command], cwd=folder, env=self.environment, capture_output=True, text=True, timeout=PATIENCE
        )
        assert ended.returncode == 0, f"{command}: {ended.stderr}"
        return ended.stdout

    def row(self, command: str, word: str) -> str:
        """The first line that begins with a word, of a command that does not end by itself."""
        words = ["timeout", str(PATIENCE), "bash", "-c", command]
        with subprocess.Popen(words, env=self.environment, stdout=subprocess.PIPE, text=True) as watch:
            assert watch.stdout is not None
            found = next((line for line in watch.stdout if line.startswith(f"{word} ")), "")
            watch.terminate()
        return found

    def tell(self, what: str, status: dict[str, object]) -> None:
        """Write a part of the status of an object, as a controller does."""
        self(f"kubectl patch {what} --subresource=status --type=merge -p '{json.dumps({'status': status})}'")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    home = tmp_path_factory.mktemp("home")
    own = {
        "HOME": str(home),
        "XDG_STATE_HOME": str(home),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
        "PATH": f"{binaries.ensure('helm')['helm'].parent}:{os.environ['PATH']}",
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(home))
        # The name that is meant where a command names no cluster.
        with ControlPlane("dtj") as plane:
            (command,) = each_documented('eval "$(tools/cluster/cluster env)"')
            told = Shell({**os.environ, **own})(f"{command}; env -0")
            environment = dict(line.partition("=")[::2] for line in told.split("\0") if line)
            assert environment["KUBECONFIG"] == str(plane.kubeconfig)
            yield Shell(environment)


@pytest.fixture(scope="module")
def installed(shell: Shell) -> Shell:
    """With the chart, so that there may be jobs."""
    shell(f"{documented('docs/getting-started.md', 'helm install')} --dry-run=server")
    shell(documented("charts/dtj-operator/README.md", "helm install"))
    shell(f"kubectl wait --for=condition=Established crd/{crd()['metadata']['name']} --timeout=30s")
    return shell


@pytest.fixture
def ner(installed: Shell) -> Iterator[Callable[[str], None]]:
    """Makes the example in a namespace."""
    made: list[str] = []

    def make(namespace: str) -> None:
        installed(f"kubectl apply --namespace {namespace} -f examples/ner.yaml")
        made.append(namespace)

    yield make
    for namespace in made:
        installed(f"kubectl delete dtj ner --namespace {namespace}")


def test_the_chart_makes_jobs_known(installed: Shell) -> None:
    told = installed(documented("docs/getting-started.md", "kubectl api-resources"))
    assert (names.PLURAL, names.KIND) in {(words[0], words[-1]) for words in map(str.split, told.splitlines())}


def test_a_job_is_made_watched_waited_for_and_resized(installed: Shell, tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(shown_block("docs/getting-started.md", "apiVersion: dtj.dev"))
    installed(documented("docs/getting-started.md", "kubectl apply"), tmp_path)
    assert installed.row(documented("docs/getting-started.md", "kubectl get dtj mine"), "mine")

    installed(documented("docs/getting-started.md", "kubectl scale"))
    assert installed("kubectl get dtj mine -o jsonpath='{.spec.workers.replicas}'") == "2"

    succeeded = {"type": "Succeeded", "status": "True", "reason": "Succeeded", "message": "", **SINCE}
    installed.tell("dtj mine", {"phase": "Succeeded", "conditions": [succeeded]})
    installed(documented("docs/getting-started.md", "kubectl wait"))


def test_the_demo_is_looked_at(installed: Shell, ner: Callable[[str], None]) -> None:
    installed("kubectl create namespace dtj-demo")
    ner("dtj-demo")
    assert "\nner " in installed(documented("docs/getting-started.md", "kubectl --namespace dtj-demo get"))
    assert "Kind:         DistributedTrainingJob" in installed(
        documented("docs/getting-started.md", "kubectl --namespace dtj-demo describe")
    )


def test_a_job_is_resized_by_hand_and_by_an_autoscaler(
    installed: Shell, ner: Callable[[str], None], tmp_path: Path
) -> None:
    ner("default")
    installed(documented("docs/recovery.md", "kubectl scale"))
    assert installed("kubectl get dtj ner -o jsonpath='{.spec.workers.replicas}'") == "4"

    shown = shown_block("docs/recovery.md", "apiVersion: autoscaling")
    (tmp_path / "autoscaler.yaml").write_text(shown)
    installed(documented("docs/recovery.md", "kubectl apply"), tmp_path)
    assert "DistributedTrainingJob/ner" in installed(documented("docs/recovery.md", "kubectl get hpa"))
    maximum = yaml.safe_load(shown)["spec"]["maxReplicas"]
    told = installed(documented("docs/recovery.md", "kubectl describe hpa")).splitlines()
    assert any(line.split() == ["Max", "replicas:", str(maximum)] for line in told)
    installed("kubectl delete hpa ner")


def test_a_recovery_is_seen(installed: Shell, ner: Callable[[str], None]) -> None:
    ner("default")
    assert installed.row(documented("docs/recovery.md", "kubectl get dtj ner --watch"), "ner")
    restarts = {"counted": 1, "byCause": {"ProcessSignal": 1}}
    installed.tell("dtj ner", {"restarts": restarts})
    told = json.loads(installed(documented("docs/recovery.md", "kubectl get dtj ner -o")))
    assert restarts.items() <= told.items()
    assert "Process Signal:  1" in installed(documented("docs/recovery.md", "kubectl describe dtj"))


def test_the_operator_is_waited_for(installed: Shell) -> None:
    inside = "--namespace dtj-system --selector app.kubernetes.io/name=dtj-operator"
    installed(f"kubectl wait --for=create pod {inside} --timeout=30s")
    for pod in installed(f"kubectl get pods {inside} -o name").split():
        ready = {"type": "Ready", "status": "True", **SINCE}
        installed.tell(f"--namespace dtj-system {pod}", {"phase": "Running", "conditions": [ready]})
    told = installed(documented("charts/dtj-operator/README.md", "kubectl --namespace dtj-system rollout"))
    assert "successfully rolled out" in told
