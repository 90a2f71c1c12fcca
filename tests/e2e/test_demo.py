"""`make demo` as a user runs it, with a smaller job: over what an earlier run left, to the report."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dtj_api.names import Phase
from dtj_cluster import Cluster, binaries
from dtj_demo.__main__ import EXAMPLE
from dtj_demo.commands import Kubectl
from dtj_demo.place import NAMESPACE, Place

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]
ROOT = Path(__file__).resolve().parents[2]
FLOOR = 0.61
"""Test F1 (strict) after the manifest's three epochs: mean less three standard deviations of five seeds
(tests/bench/ner_f1.py)."""


@pytest.fixture
def small_job(tmp_path: Path) -> Path:
    """The example with two workers and a fraction of the work: what is tested here is the demo, not the score."""
    job = yaml.safe_load(EXAMPLE.read_text())
    job["spec"]["workers"] |= {"replicas": 2, "minReplicas": 2}
    job["spec"]["trainer"] |= {"epochs": 1, "batchSize": 32}
    job["spec"]["trainer"]["data"]["split"]["shuffleSplit"] = [0.2, 0.3, 0.5]
    file = tmp_path / "ner.yaml"
    file.write_text(yaml.safe_dump(job))
    return file


def demo(cluster: Cluster, job: Path) -> list[dict[str, Any]]:
    """Run the demo on the cluster that is up; its events."""
    ran = subprocess.run(
        [sys.executable, "-m", "dtj_demo", "--name", cluster.name, "--job", str(job), "--json"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=700,
    )
    assert ran.returncode == 0, ran.stderr
    return [json.loads(line) for line in ran.stdout.splitlines()]


def of(events: list[dict[str, Any]]) -> dict[str, Any]:
    """The result among the demo's events."""
    return next(event for event in events if event["event"] == "result")


def leave_a_job(cluster: Cluster, job: Path) -> None:
    """What an earlier run left: the same job, here one that never ran."""
    kubectl = Kubectl(binaries.ensure("kubectl")["kubectl"], cluster.kubeconfig)
    manifest = yaml.safe_load(job.read_text())
    manifest["metadata"]["namespace"] = NAMESPACE
    manifest["spec"]["suspend"] = True
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}, manifest)


def test_the_demo_replaces_an_earlier_job_and_shows_progress_and_the_report(
    cluster: Cluster, place: Place, small_job: Path
) -> None:
    leave_a_job(cluster, small_job)

    events = demo(cluster, small_job)

    notes = [event["text"] for event in events if event["event"] == "note"]
    assert any("of an earlier run" in note and "makes room" in note for note in notes)
    result = of(events)
    assert result["status"]["phase"] == Phase.SUCCEEDED
    steps = [event["status"]["progress"].get("step") for event in events if event["event"] == "progress"]
    seen = [step for step in steps if step is not None]
    assert seen == sorted(seen)
    assert seen[-1] == result["status"]["progress"]["totalSteps"]
    for mode in ("strict", "default"):
        assert 0 <= result["test"][mode]["f1"] <= 1
        assert mode in result["test"][mode]["description"]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        file.name for file in Path(result["model"]).iterdir()
    }


@pytest.mark.soak
def test_the_example_as_it_is_reaches_its_score(cluster: Cluster, place: Place) -> None:
    result = of(demo(cluster, EXAMPLE))

    assert result["status"]["phase"] == Phase.SUCCEEDED
    assert result["test"]["strict"]["f1"] >= FLOOR
