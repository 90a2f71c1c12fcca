"""The worked example on the real cluster: trained, killed, measured and exported, and every source tells the same."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from e2e_jobs import Jobs, query

from dtj_api import names
from dtj_cluster import binaries, images
from dtj_demo import chart

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

FLOOR = 0.55
"""Test F1 (strict) that a run must reach; tests/bench/ner_f1.py prints the mean and the spread over seeds."""


@pytest.fixture
def prometheus(jobs: Jobs) -> Iterator[str]:
    """A real Prometheus beside the operator, which the job's NetworkPolicy lets in; yields its address.

    Debian's binary, mounted into the thin image; it finds the job's workers by their metrics port.
    """
    program = binaries.ensure("prometheus")["prometheus"]
    images.load("thin", jobs.cluster.nodes)
    discovery = {"role": "pod", "namespaces": {"names": [jobs.namespace]}}
    config = {
        "global": {"scrape_interval": "2s"},
        "scrape_configs": [
            {
                "job_name": "workers",
                "honor_labels": True,
                "kubernetes_sd_configs": [discovery],
                "relabel_configs": [
                    {
                        "source_labels": ["__meta_kubernetes_pod_container_port_number"],
                        "regex": str(names.METRICS_PORT),
                        "action": "keep",
                    }
                ],
            },
            {
                "job_name": "operator",
                "honor_labels": True,
                "static_configs": [
                    {"targets": [f"{chart.DEPLOYMENT}-metrics.{chart.NAMESPACE}.svc:{names.OPERATOR_METRICS_PORT}"]}
                ],
            },
        ],
    }
    name = "prometheus"
    metadata = {"name": name, "namespace": chart.NAMESPACE}
    script = "cp /config/* /tmp && exec /prometheus --config.file=/tmp/prometheus.yml --storage.tsdb.path=/tmp/data"
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            "serviceAccountName": name,
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": name,
                    "image": images.reference("thin"),
                    "command": ["sh", "-c", script],
                    "readinessProbe": {"httpGet": {"path": "/-/ready", "port": 9090}, "periodSeconds": 1},
                    "volumeMounts": [
                        {"name": "program", "mountPath": "/prometheus", "readOnly": True},
                        {"name": "config", "mountPath": "/config"},
                    ],
                }
            ],
            "volumes": [
                {"name": "program", "hostPath": {"path": str(program), "type": "File"}},
                {"name": "config", "configMap": {"name": name}},
            ],
        },
    }
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}
    rights = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": name, "namespace": jobs.namespace},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"kind": "ServiceAccount", **metadata}],
    }
    settings = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {"prometheus.yml": json.dumps(config)},
    }
    jobs.kubectl.apply(account, rights, settings, pod)
    try:
        jobs.kubectl("wait", "--for=condition=Ready", "pod", name, "-n", chart.NAMESPACE, "--timeout=90s")
        address = jobs.kubectl("get", "pod", name, "-n", chart.NAMESPACE, "-o", "jsonpath={.status.podIP}")
        yield f"http://{address}:9090"
    finally:
        jobs.kubectl("delete", f"pod/{name}", f"configmap/{name}", f"serviceaccount/{name}", "-n", chart.NAMESPACE)


def value(prometheus: str, expression: str) -> float:
    found = query(prometheus, expression)
    assert len(found) == 1, f"{expression}: {found}"
    return float(found[0]["value"][1])


def test_named_entities_are_learned_through_a_kill_and_all_sources_agree(jobs: Jobs, prometheus: str) -> None:
    name = jobs.apply("ner.yaml")
    jobs.wait_for_step(name, 60, 400)
    before = [pod["metadata"]["uid"] for pod in jobs.pods(name)]
    this = f'namespace="{jobs.namespace}",job="{name}"'
    assert query(prometheus, f"{names.TrainMetric.LOSS}"), "the workers' loss is scraped"
    assert query(prometheus, f"{names.TrainMetric.TOKENS_PER_SECOND} > 0"), "the workers' throughput is scraped"

    jobs.kill_rank(jobs.pods(name)[1]["metadata"]["name"])
    status = jobs.wait(name, "condition=Succeeded", 1000)["status"]

    assert [pod["metadata"]["uid"] for pod in jobs.pods(name)] == before
    assert status["restarts"]["byCause"] == {names.Cause.PROCESS_SIGNAL: 1}
    report = json.loads((jobs.work_dir(name) / "report" / "report.json").read_text())
    print(f"test F1: strict {report['test']['strict']['f1']:.3f}, default {report['test']['default']['f1']:.3f}")
    assert report["test"]["strict"]["f1"] >= FLOOR
    assert (jobs.work_dir(name) / "export" / "model.safetensors").exists()
    step = status["progress"]["step"]
    assert value(prometheus, f"{names.JobMetric.STEP}{{{this}}}") == step
    assert value(prometheus, f"max_over_time(max({names.TrainMetric.STEP})[1h:2s])") == step
    assert value(prometheus, f"{names.JobMetric.LOSS}{{{this}}}") == pytest.approx(status["progress"]["loss"], rel=1e-3)
    assert value(prometheus, f"max_over_time({names.JobMetric.TOKENS_PER_SECOND}{{{this}}}[1h])") > 0
