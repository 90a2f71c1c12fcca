"""The operator's pod: what it may, what it is told, when it is probed, and who reaches it."""

from __future__ import annotations

from pathlib import Path

import helm_python
import pytest
from charts import AUTH, Values, config_of, one, render

from dtj_api import names
from dtj_operator import app, kopf_watch, leader


def test_pod_is_restricted(chart: helm_python.Chart) -> None:
    pod = one(render(chart, {}), "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"].keys() == {"memory"}
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {"namespaces": (), "leader_election": True, "log_format": "json", "managed_by": names.OPERATOR}),
        ({}, {"lease_namespace": "dtj-system", "lease_name": "dtj-dtj-operator"}),
        ({"leaderElection": False}, {"lease_namespace": "dtj-system", "lease_name": "dtj-dtj-operator"}),
        ({"jobs": {"metricsFrom": ["monitoring", "b"]}}, {"jobs_metrics_from": ("monitoring", "b")}),
        (AUTH, {"metrics_auth": True, "metrics_cert": Path("/metrics-tls/tls.crt")}),
        (AUTH, {"metrics_key": Path("/metrics-tls/tls.key")}),
        ({"managedBy": "example.com/ours"}, {"managed_by": "example.com/ours"}),
        ({"watchNamespaces": ["ml", "nlp"], "logFormat": "text"}, {"namespaces": ("ml", "nlp"), "log_format": "text"}),
        ({"leaderElection": False, "metrics": {"port": 9090}}, {"leader_election": False, "metrics_port": 9090}),
    ],
    ids=str,
)
def test_operator_reads_the_arguments(
    chart: helm_python.Chart, monkeypatch: pytest.MonkeyPatch, values: Values, expected: Values
) -> None:
    (container,) = one(render(chart, values), "Deployment")["spec"]["template"]["spec"]["containers"]
    config = config_of(monkeypatch, container["args"])
    assert {name: getattr(config, name) for name in expected} == expected
    assert [port["containerPort"] for port in container["ports"]] == [config.metrics_port, config.probe_port]
    assert {"POD_NAME", "POD_NAMESPACE"} == {env["name"] for env in container["env"]}


def test_probes_ask_the_port_that_shows_nothing(chart: helm_python.Chart) -> None:
    (container,) = one(render(chart, AUTH), "Deployment")["spec"]["template"]["spec"]["containers"]
    probes = [container[f"{name}Probe"]["httpGet"]["port"] for name in ("startup", "liveness", "readiness")]
    assert probes == ["probes"] * 3


def test_a_kubelet_waits_longer_than_health_waits_for_kopf(chart: helm_python.Chart) -> None:
    """Whose silence ends nothing: an answer that comes as late as the kubelet gives up would."""
    (container,) = one(render(chart, {}), "Deployment")["spec"]["template"]["spec"]["containers"]
    waits = [container[f"{kind}Probe"].get("timeoutSeconds", 1) for kind in ("startup", "liveness", "readiness")]
    assert min(waits) > kopf_watch.PROBE_SECONDS


def test_a_pod_has_time_for_all_that_its_end_waits_for(chart: helm_python.Chart) -> None:
    pod = one(render(chart, {}), "Deployment")["spec"]["template"]["spec"]
    patience = 2 * app.DRAIN_SECONDS + app.EVENT_SECONDS + leader.RETRY_SECONDS
    assert pod["terminationGracePeriodSeconds"] >= patience + 10


def test_metrics_are_reached_from_the_own_namespace_and_from_those_that_are_named(chart: helm_python.Chart) -> None:
    probes, metrics = one(render(chart, {"metrics": {"from": ["monitoring"]}}), "NetworkPolicy")["spec"]["ingress"]
    assert probes == {"ports": [{"protocol": "TCP", "port": "probes"}]}
    assert metrics["ports"] == [{"protocol": "TCP", "port": "metrics"}]
    named = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["monitoring"]}
    assert metrics["from"] == [{"podSelector": {}}, {"namespaceSelector": {"matchExpressions": [named]}}]
    alone = one(render(chart, {}), "NetworkPolicy")["spec"]["ingress"][1]
    assert alone["from"] == [{"podSelector": {}}], "without namespaces no selector, for an empty one means all"


def test_prometheus_is_told_how_to_ask(chart: helm_python.Chart) -> None:
    monitor = {"serviceMonitor": {"enabled": True}}
    (plain,) = one(render(chart, {"metrics": monitor}), "ServiceMonitor")["spec"]["endpoints"]
    assert not {"scheme", "tlsConfig", "bearerTokenFile"} & plain.keys()
    (guarded,) = one(render(chart, {"metrics": {**AUTH["metrics"], **monitor}}), "ServiceMonitor")["spec"]["endpoints"]
    assert guarded["scheme"] == "https"
    assert guarded["tlsConfig"]["ca"] == {"secret": {"name": "metrics-cert", "key": "ca.crt"}}
    assert guarded["tlsConfig"]["serverName"] == "dtj-dtj-operator-metrics.dtj-system.svc"
    assert guarded["bearerTokenFile"].endswith("/token")
