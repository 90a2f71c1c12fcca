"""The chart, and what it renders."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import helm_python
import pytest
import yaml

from dtj_api.crd import REPOSITORY
from dtj_operator.cli import operator, run
from dtj_operator.config import Config

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


def render(chart: helm_python.Chart, values: Values) -> dict[tuple[str, str], Object]:
    """Rendered objects by kind and name; those of roles with their namespace before it."""
    chart.validate_schema(values)
    files = chart.render(values, name="dtj", namespace="dtj-system")
    texts = [text for name, text in files.items() if name.endswith(".yaml")]
    objects = [each for text in texts for each in yaml.load_all(text, Yaml) if each]
    found = {(each["kind"], _key(each)): each for each in objects}
    assert len(found) == len(objects), "two objects have the same kind and name"
    return found


def _key(item: Object) -> str:
    name, namespace = item["metadata"]["name"], item["metadata"].get("namespace")
    return f"{namespace}/{name}" if item["kind"] in ("Role", "RoleBinding") else name


def one(objects: dict[tuple[str, str], Object], kind: str) -> Object:
    (found,) = [each for (each_kind, _), each in objects.items() if each_kind == kind]
    return found


def rules_of(objects: dict[tuple[str, str], Object]) -> list[tuple[str, str, str]]:
    """What the operator's service account may do, as (kind of role, group/resource, verb)."""
    return [
        (kind, f"{group}/{resource}", verb)
        for (kind, name), each in objects.items()
        if kind in ("ClusterRole", "Role") and not name.endswith(("-view", "-edit", "-metrics"))
        for rule in each["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    ]


def config_of(monkeypatch: pytest.MonkeyPatch, args: list[str]) -> Config:
    """The settings that the operator's command line makes of arguments."""
    seen: list[Config] = []
    monkeypatch.setattr(run, "run", seen.append)
    operator.main(args)
    return seen[0]


AUTH: Values = {"metrics": {"auth": True, "tls": {"secretName": "metrics-cert"}}}
