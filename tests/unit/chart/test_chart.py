"""The chart: strict lint, what it renders for which values, which values it refuses, and the words it shares."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import helm_python
import pytest
import yaml

from dtj_api import names
from dtj_api.crd import REPOSITORY, crd
from dtj_api.spec import WHILE_SUSPENDED
from dtj_operator.cli import operator, run
from dtj_operator.config import Config
from dtj_operator.kube import resources

CHART = REPOSITORY / "charts" / "dtj-operator"
Object = dict[str, Any]
Values = dict[str, Any]


class Yaml(yaml.SafeLoader):
    """Reads 1e-08, which Helm writes, as a number: it is one in YAML 1.2, which Kubernetes reads."""


Yaml.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[0-9]+e[-+]?[0-9]+$"), list("0123456789"))


@pytest.fixture(scope="module")
def chart() -> Iterator[helm_python.Chart]:
    with helm_python.Chart.load(CHART) as loaded:
        yield loaded


def _render(chart: helm_python.Chart, values: Values) -> dict[tuple[str, str], Object]:
    """Rendered objects by kind and name."""
    chart.validate_schema(values)
    files = chart.render(values, name="dtj", namespace="dtj-system")
    texts = [text for name, text in files.items() if name.endswith(".yaml")]
    objects = [each for text in texts for each in yaml.load_all(text, Yaml) if each]
    found = {(each["kind"], each["metadata"]["name"]): each for each in objects}
    assert len(found) == len(objects), "two objects have the same kind and name"
    return found


def _one(objects: dict[tuple[str, str], Object], kind: str) -> Object:
    (found,) = [each for (each_kind, _), each in objects.items() if each_kind == kind]
    return found


def _rules(objects: dict[tuple[str, str], Object]) -> list[tuple[str, str, str]]:
    """What the operator's service account may do, as (kind of role, group/resource, verb)."""
    return [
        (kind, f"{group}/{resource}", verb)
        for (kind, name), each in objects.items()
        if kind in ("ClusterRole", "Role") and not name.endswith(("-view", "-edit"))
        for rule in each["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def _config(monkeypatch: pytest.MonkeyPatch, args: list[str]) -> Config:
    """The settings that the operator's command line makes of arguments."""
    seen: list[Config] = []
    monkeypatch.setattr(run, "run", seen.append)
    operator.main(args)
    return seen[0]


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
}
MATRIX: dict[str, tuple[Values, set[str]]] = {
    "defaults": ({}, EVERYTHING),
    "one namespace": ({"watchNamespace": "ml"}, EVERYTHING),
    "no CRD": ({"crds": {"install": False}}, EVERYTHING - {"CustomResourceDefinition"}),
    "no policy": (
        {"admissionPolicy": {"install": False}},
        EVERYTHING - {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"},
    ),
    "no rights of its own": (
        {"rbac": {"create": False}},
        EVERYTHING - {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"},
    ),
    "no leader election": ({"leaderElection": False}, EVERYTHING - {"Role", "RoleBinding"}),
    "given account": ({"serviceAccount": {"create": False, "name": "ours"}}, EVERYTHING - {"ServiceAccount"}),
    "with a ServiceMonitor": ({"metrics": {"serviceMonitor": {"enabled": True}}}, EVERYTHING | {"ServiceMonitor"}),
}


@pytest.mark.parametrize(("values", "kinds"), MATRIX.values(), ids=MATRIX)
def test_objects_that_are_rendered(chart: helm_python.Chart, values: Values, kinds: set[str]) -> None:
    assert {kind for kind, _ in _render(chart, values)} == kinds


REFUSED: dict[str, tuple[Values, str]] = {
    "unknown value": ({"replicaCount": 2}, "replicaCount"),
    "unknown value below": ({"image": {"name": "x"}}, "name"),
    "replicas in words": ({"replicas": "two"}, "/replicas"),
    "two that act at once": ({"replicas": 2, "leaderElection": False}, "/replicas"),
    "log format": ({"logFormat": "logfmt"}, "/logFormat"),
    "pull policy": ({"image": {"pullPolicy": "Sometimes"}}, "/image/pullPolicy"),
    "digest": ({"image": {"digest": "latest"}}, "/image/digest"),
    "no repository": ({"image": {"repository": ""}}, "/image/repository"),
    "namespace": ({"watchNamespace": "ML team"}, "/watchNamespace"),
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
    assert ("Deployment", "dtj-dtj-operator") in _render(chart, values)


def test_every_default_is_in_the_schema_and_in_the_readme(chart: helm_python.Chart) -> None:
    schema = chart.schema
    assert schema is not None
    assert set(chart.values) | {"global"} == set(schema["properties"])
    assert schema["additionalProperties"] is False
    readme = (CHART / "README.md").read_text()
    assert [name for name in chart.values if f"`{name}" not in readme] == []


def test_account_that_is_not_created_needs_a_name(chart: helm_python.Chart) -> None:
    with pytest.raises(helm_python.HelmError, match=r"serviceAccount\.name: name an existing account"):
        _render(chart, {"serviceAccount": {"create": False}})


def test_pod_is_restricted(chart: helm_python.Chart) -> None:
    pod = _one(_render(chart, {}), "Deployment")["spec"]["template"]["spec"]
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
        ({}, {"namespace": None, "leader_election": True, "lease_namespace": "dtj-system", "log_format": "json"}),
        ({"watchNamespace": "ml", "logFormat": "text"}, {"namespace": "ml", "log_format": "text"}),
        ({"leaderElection": False, "metrics": {"port": 9090}}, {"leader_election": False, "metrics_port": 9090}),
    ],
    ids=str,
)
def test_operator_reads_the_arguments(
    chart: helm_python.Chart, monkeypatch: pytest.MonkeyPatch, values: Values, expected: Values
) -> None:
    (container,) = _one(_render(chart, values), "Deployment")["spec"]["template"]["spec"]["containers"]
    config = _config(monkeypatch, container["args"])
    assert {name: getattr(config, name) for name in expected} == expected
    assert [port["containerPort"] for port in container["ports"]] == [config.metrics_port]
    assert {"POD_NAME", "POD_NAMESPACE"} == {env["name"] for env in container["env"]}


def test_secrets_are_made_and_read_by_name_only(chart: helm_python.Chart) -> None:
    assert {verb for _, what, verb in _rules(_render(chart, {})) if what == "/secrets"} == {"get", "create"}


@pytest.mark.parametrize("values", [{}, {"watchNamespace": "ml"}], ids=str)
def test_rights_name_what_the_operator_touches_and_nothing_else(chart: helm_python.Chart, values: Values) -> None:
    rules = _rules(_render(chart, values))
    touched = {f"{each.group}/{each.plural}" for each in resources.ALL if each is not resources.CRDS}
    assert {what for _, what, _ in rules} == touched | {f"{names.GROUP}/{names.PLURAL}/status"}
    assert not [rule for rule in rules if "*" in "".join(rule)]


def test_what_the_operator_deletes_it_may_delete_and_nothing_else(chart: helm_python.Chart) -> None:
    deleted = {what for _, what, verb in _rules(_render(chart, {})) if verb == "delete"}
    assert deleted == {
        f"{each.group}/{each.plural}" for each in (resources.JOBS, resources.PODS, resources.NETWORK_POLICIES)
    }


def test_the_security_page_names_the_rights_that_the_chart_gives(chart: helm_python.Chart) -> None:
    given: dict[str, set[str]] = {}
    for _, what, verb in _rules(_render(chart, {})):
        given.setdefault(what.partition("/")[2], set()).add(verb)
    page = (REPOSITORY / "docs" / "security.md").read_text().partition("## What the operator may do")[2]
    told: dict[str, set[str]] = {}
    for left, right in re.findall(r"^\| ([^|]+) \| ([a-z, ]+) \|", page, re.M):
        for resource in left.replace("`", "").split(", "):
            told[resource] = set(right.split(", "))
    assert told.pop("resource") == {"verbs"}
    assert told == given


def test_one_namespace_needs_no_rights_in_others(chart: helm_python.Chart) -> None:
    objects = _render(chart, {"watchNamespace": "ml"})
    assert {(what, verb) for kind, what, verb in _rules(objects) if kind == "ClusterRole"} == {
        ("/nodes", "list"),
        ("/nodes", "watch"),
    }
    assert objects["Role", "dtj-dtj-operator"]["metadata"]["namespace"] == "ml"


def test_lease_of_the_role_is_the_one_that_the_operator_takes(
    chart: helm_python.Chart, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = _render(chart, {})["Role", "dtj-dtj-operator-leader"]
    assert [rule.get("resourceNames") for rule in role["rules"]] == [None, [_config(monkeypatch, ["run"]).lease_name]]


@pytest.mark.parametrize("keep", [True, False])
def test_crd_is_kept_when_it_shall(chart: helm_python.Chart, keep: bool) -> None:
    made = _one(_render(chart, {"crds": {"keep": keep}}), "CustomResourceDefinition")
    assert made["spec"] == crd()["spec"]
    assert made["metadata"]["annotations"] == ({"helm.sh/resource-policy": "keep"} if keep else {})


def test_policy_has_the_words_of_the_api(chart: helm_python.Chart) -> None:
    objects = _render(chart, {"watchNamespace": "ml"})
    spec = _one(objects, "ValidatingAdmissionPolicy")["spec"]
    assert spec["matchConstraints"]["resourceRules"] == [
        {
            "apiGroups": [names.GROUP],
            "apiVersions": [names.VERSION],
            "operations": ["UPDATE"],
            "resources": [names.PLURAL],
        }
    ]
    assert [each["message"] for each in spec["validations"]] == [f"spec.workers.template: {WHILE_SUSPENDED}"]
    binding = _one(objects, "ValidatingAdmissionPolicyBinding")["spec"]
    assert binding["policyName"] == _one(objects, "ValidatingAdmissionPolicy")["metadata"]["name"]
    assert binding["matchResources"]["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": "ml"}}


def test_versions_are_the_projects(chart: helm_python.Chart) -> None:
    project = (REPOSITORY / "pyproject.toml").read_text()
    assert f'version = "{chart.version}"' in project
    assert chart.metadata["appVersion"] == chart.version
