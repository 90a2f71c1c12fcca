"""The chart: strict lint, what it renders for which values, and which values it refuses."""

from __future__ import annotations

import helm_python
import pytest
from charts import AUTH, CHART, Values, one, render

from dtj_api.crd import REPOSITORY, crd


def test_strict_lint_has_nothing_to_say() -> None:
    report = helm_python.lint(CHART, strict=True)
    assert report["messages"] == []
    assert report["errors"] == []


EVERYTHING = {
    "Deployment",
    "Service",
    "ServiceAccount",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "CustomResourceDefinition",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "NetworkPolicy",
}
MATRIX: dict[str, tuple[Values, set[str]]] = {
    "defaults": ({}, EVERYTHING),
    "two namespaces": ({"watchNamespaces": ["ml", "nlp"]}, EVERYTHING),
    "no CRD": ({"crds": {"install": False}}, EVERYTHING - {"CustomResourceDefinition"}),
    "no policies": (
        {"admissionPolicy": {"install": False}, "restrictedTemplates": {"install": False}},
        EVERYTHING - {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"},
    ),
    "no rights of its own": (
        {"rbac": {"create": False}},
        EVERYTHING - {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"},
    ),
    "no leader election": ({"leaderElection": False}, EVERYTHING - {"Role", "RoleBinding"}),
    "given account": ({"serviceAccount": {"create": False, "name": "ours"}}, EVERYTHING - {"ServiceAccount"}),
    "no network policy": ({"networkPolicy": {"install": False}}, EVERYTHING - {"NetworkPolicy"}),
    "metrics for those with a token": (AUTH, EVERYTHING),
    "with a ServiceMonitor": ({"metrics": {"serviceMonitor": {"enabled": True}}}, EVERYTHING | {"ServiceMonitor"}),
}


@pytest.mark.parametrize(("values", "kinds"), MATRIX.values(), ids=MATRIX)
def test_objects_that_are_rendered(chart: helm_python.Chart, values: Values, kinds: set[str]) -> None:
    assert {kind for kind, _ in render(chart, values)} == kinds


REFUSED: dict[str, tuple[Values, str]] = {
    "unknown value": ({"replicaCount": 2}, "replicaCount"),
    "unknown value below": ({"image": {"name": "x"}}, "name"),
    "replicas in words": ({"replicas": "two"}, "/replicas"),
    "two that act at once": ({"replicas": 2, "leaderElection": False}, "/replicas"),
    "log format": ({"logFormat": "logfmt"}, "/logFormat"),
    "pull policy": ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
    "digest": ({"image": {"digest": "latest"}}, "/image/digest"),
    "no repository": ({"image": {"repository": ""}}, "/image/repository"),
    "namespace": ({"watchNamespaces": ["ML team"]}, "/watchNamespaces/0"),
    "namespace in one string": ({"watchNamespaces": "ml"}, "/watchNamespaces"),
    "same namespace twice": ({"watchNamespaces": ["ml", "ml"]}, "/watchNamespaces"),
    "jobs of nobody": ({"managedBy": ""}, "/managedBy"),
    "port of the probes": ({"metrics": {"port": 8081}}, "/metrics/port"),
    "tokens in the clear": ({"metrics": {"auth": True, "tls": {"secretName": ""}}}, "/metrics/tls/secretName"),
    "no Secret for TLS": ({"metrics": {"auth": True}}, "metrics"),
    "port that needs root": ({"metrics": {"port": 80}}, "/metrics/port"),
    "interval": ({"metrics": {"serviceMonitor": {"interval": "often"}}}, "/metrics/serviceMonitor/interval"),
    "resources in one string": ({"resources": {"limits": "512Mi"}}, "/resources/limits"),
    "pull secret as a string": ({"imagePullSecrets": ["registry"]}, "/imagePullSecrets/0"),
}


@pytest.mark.parametrize(("values", "says"), REFUSED.values(), ids=REFUSED)
def test_values_that_are_refused(chart: helm_python.Chart, values: Values, says: str) -> None:
    with pytest.raises(helm_python.HelmValuesError, match=says):
        chart.validate_schema(values)


ACCEPTED: list[Values] = [
    {"image": {"repository": "registry:5000/a/dtj-operator", "digest": "sha256:" + "0" * 64}},
    {"replicas": 3, "resources": {"limits": {"memory": "1Gi"}, "requests": {"cpu": 1}}},
    {"replicas": 0, "leaderElection": False},
    {"imagePullSecrets": [{"name": "registry"}], "podLabels": {"a": "b"}, "nodeSelector": {"disk": "ssd"}},
    {"tolerations": [{"operator": "Exists"}], "affinity": {"nodeAffinity": {}}, "priorityClassName": "high"},
]


@pytest.mark.parametrize("values", ACCEPTED, ids=str)
def test_values_that_are_accepted(chart: helm_python.Chart, values: Values) -> None:
    assert ("Deployment", "dtj-dtj-operator") in render(chart, values)


def test_every_default_is_in_the_schema_and_in_the_readme(chart: helm_python.Chart) -> None:
    schema = chart.schema
    assert schema is not None
    assert set(chart.values) | {"global"} == set(schema["properties"])
    assert schema["additionalProperties"] is False
    readme = (CHART / "README.md").read_text()
    assert [name for name in chart.values if f"`{name}" not in readme] == []


def test_account_that_is_not_created_needs_a_name(chart: helm_python.Chart) -> None:
    with pytest.raises(helm_python.HelmError, match=r"serviceAccount\.name: name an existing account"):
        render(chart, {"serviceAccount": {"create": False}})


@pytest.mark.parametrize("keep", [True, False])
def test_crd_is_kept_when_it_shall(chart: helm_python.Chart, keep: bool) -> None:
    made = one(render(chart, {"crds": {"keep": keep}}), "CustomResourceDefinition")
    assert made["spec"] == crd()["spec"]
    assert made["metadata"]["annotations"] == ({"helm.sh/resource-policy": "keep"} if keep else {})


def test_versions_are_the_projects(chart: helm_python.Chart) -> None:
    project = (REPOSITORY / "pyproject.toml").read_text()
    assert f'version = "{chart.version}"' in project
    assert chart.metadata["appVersion"] == chart.version
