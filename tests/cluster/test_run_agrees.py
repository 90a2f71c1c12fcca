"""`dtj run` and the API server agree on every manifest: both take it, with equal values, or both refuse it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from odd_manifests import odd_manifests

from dtj_api.base import ManifestError, read
from dtj_api.crd import CRD_FILE, REPOSITORY
from dtj_api.spec import JobSpec
from dtj_cluster import binaries
from dtj_trainer.cli.manifest import Job, load_job

pytestmark = pytest.mark.cluster

COUNT = 300
SEED = 20_261
HEAD = "apiVersion: dtj.dev/v1alpha1\nkind: DistributedTrainingJob\nmetadata: {name: %s}\n"
SPEC = """spec:
  workers: {replicas: 1, template: {spec: {containers: [{name: trainer, image: x}]}}}
  trainer: {task: ner, model: {path: m}, data: {train: a, dev: b, test: c}}
"""
OF_A_CHART = """apiVersion: dtj.dev/v1alpha1
kind: DistributedTrainingJob
metadata:
  name: %s
  annotations:
spec:
  workers:
    replicas: 1
    minReplicas:
    template:
      metadata:
        labels:
      spec:
        nodeSelector:
        tolerations:
        imagePullSecrets:
        initContainers:
        containers:
          - name: trainer
            image: x
            args:
            env:
            envFrom:
            resources:
            volumeMounts:
        volumes:
  checkpoint:
  failurePolicy:
  trainer:
    task: ner
    model: {package: p, path: m}
    data:
      train: a
      dev: b
      test: c
      labelMap:
      labels: [PER, ORG, LOC]
    earlyStopping:
    batchSize: 4
    epochs: 1
"""
"""As a chart renders it whose lists are left empty: keys without a value, which both must take."""
BY_HAND = {
    "of-a-chart": OF_A_CHART,
    "twice": HEAD + SPEC + "  suspend: false\n  suspend: true\n",
    "tabs": HEAD + SPEC + "  suspend:\ttrue\n",
    "merged": HEAD + "spec:\n  <<: &a {suspend: on}\n" + SPEC.removeprefix("spec:\n"),
    "unknown": HEAD + SPEC + "specs: {}\n",
    "unknown-null": HEAD + SPEC + "  suspended:\n",
    "no-spec": HEAD + "spec:\n",
    "not-a-key": HEAD + SPEC + "  [a]: b\n",
    "half": HEAD + SPEC.replace("path: m", r'path: "\\ud83d"'),
    "label": HEAD.replace("%s}", "%s, labels: {a: yes}}") + SPEC,
    "labels-null": HEAD.replace("%s}", "%s, labels: , annotations: ~}") + SPEC,
    "of-metadata": HEAD.replace("%s}", "%s, lables: {}}") + SPEC,
    "Upper": HEAD + SPEC,
    "n" * 64: HEAD + SPEC,
    "in-flow": "{" + HEAD.replace("\n", ", ") + "spec: {workers: {replicas: 0o2, template: {spec: {containers: [{name: "
    "trainer, image: x}]}}}, trainer: {task: ner, epochs: 1_0, model: {path: m}, data: {train: a, dev: b, test: c}}}}",
    "as-json": """{
  "apiVersion": "dtj.dev/v1alpha1", "kind": "DistributedTrainingJob", "metadata": {"name": "%s"}, "spec": {
    "workers": {"replicas": 2.0, "template": {"spec": {"containers": [{"name": "trainer", "args": null}]}}},
    "trainer": {
      "task": "ner", "model": {"path": "\\ud83d\\ude00"}, "data": {"train": "a", "dev": "b", "test": "c"}
    }
  }
}""",
}


def ours(file: Path) -> Job | str:
    try:
        return load_job(file)
    except ManifestError as error:
        return str(error)


def test_three_hundred_manifests(control_plane: Path, tmp_path: Path) -> None:
    texts = {**{name: text % name for name, text in BY_HAND.items()}, **dict(odd_manifests(COUNT, SEED))}
    for name, text in texts.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    program = [str(binaries.ensure("kubectl")["kubectl"]), "--kubeconfig", str(control_plane)]
    subprocess.run(
        [*program, "apply", "--server-side", "--force-conflicts", "-f", str(REPOSITORY / CRD_FILE)],
        check=True,
        timeout=60,
    )
    subprocess.run([*program, "wait", "--for=condition=Established", "--timeout=30s", "-f", str(REPOSITORY / CRD_FILE)])
    done = subprocess.run(
        [*program, "create", "--validate=strict", "--dry-run=server", "-o", "json", "-f", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=240,
    )
    theirs = {each["metadata"]["name"]: each for each in objects(done.stdout)}
    assert 40 < len(theirs) < len(texts) - 40, done.stderr
    assert "of-a-chart" in theirs, done.stderr
    disputed: dict[str, tuple[Any, ...]] = {}
    for name, text in texts.items():
        job = ours(tmp_path / f"{name}.yaml")
        if isinstance(job, str) != (name not in theirs):
            said = [line for line in done.stderr.splitlines() if name in line]
            disputed[name] = (text, job if isinstance(job, str) else "taken by dtj run", said)
        elif isinstance(job, Job):
            stored = read(JobSpec, theirs[name]["spec"], "spec")
            if job.spec != stored:
                disputed[name] = (text, job.spec, stored)
    assert disputed == {}


def objects(text: str) -> list[Any]:
    """What kubectl prints: one object behind the other, or a list of them."""
    found: list[Any] = []
    at, decoder = 0, json.JSONDecoder()
    while at < len(text.rstrip()):
        each, at = decoder.raw_decode(text, at)
        at += len(text[at:]) - len(text[at:].lstrip())
        found += each["items"] if each["kind"] == "List" else [each]
    return found
