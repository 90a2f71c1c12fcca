"""What the chart lets the operator do: what it needs and nothing else, as the page on security says."""

from __future__ import annotations

import re

import helm_python
import pytest
from charts import AUTH, Values, config_of, one, render, rules_of

from dtj_api import names
from dtj_api.crd import REPOSITORY
from dtj_operator.cli import rights
from dtj_operator.kube import resources


def test_whoever_asks_for_tokens_may_ask_the_api_server_about_them_and_nothing_else(chart: helm_python.Chart) -> None:
    with_auth = {**AUTH, "watchNamespaces": ["ml"]}
    objects = render(chart, with_auth)
    more = set(rules_of(objects)) - set(rules_of(render(chart, {"watchNamespaces": ["ml"]})))
    assert more == {
        ("ClusterRole", "authentication.k8s.io/tokenreviews", "create"),
        ("ClusterRole", "authorization.k8s.io/subjectaccessreviews", "create"),
    }
    reader = objects["ClusterRole", "dtj-dtj-operator-metrics"]["rules"]
    assert reader == [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]


def test_secrets_are_made_and_read_by_name_only(chart: helm_python.Chart) -> None:
    assert {verb for _, what, verb in rules_of(render(chart, {})) if what == "/secrets"} == {"get", "create"}


@pytest.mark.parametrize("values", [{}, {"watchNamespaces": ["ml"]}], ids=str)
def test_rights_name_what_the_operator_touches_and_nothing_else(chart: helm_python.Chart, values: Values) -> None:
    rules = rules_of(render(chart, values))
    touched = {f"{each.group}/{each.plural}" for each in resources.ALL if each is not resources.CRDS}
    assert {what for _, what, _ in rules} == touched | {f"{names.GROUP}/{names.PLURAL}/status"}
    assert not [rule for rule in rules if "*" in "".join(rule)]


@pytest.mark.parametrize("values", [{}, {"watchNamespaces": ["ml"]}, AUTH, {"leaderElection": False}], ids=str)
def test_the_start_asks_for_the_rights_that_the_chart_gives(
    chart: helm_python.Chart, monkeypatch: pytest.MonkeyPatch, values: Values
) -> None:
    objects = render(chart, values)
    (container,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    asked = {
        ("/".join(filter(None, (f"{each.resource.group}/{each.resource.plural}", each.subresource))), each.verb)
        for each in rights.needed(config_of(monkeypatch, container["args"]), "dtj-system")
    }
    assert asked == {(what, verb) for _, what, verb in rules_of(objects)}


def test_what_the_operator_deletes_it_may_delete_and_nothing_else(chart: helm_python.Chart) -> None:
    deleted = {what for _, what, verb in rules_of(render(chart, {})) if verb == "delete"}
    made_anew = resources.PODS, resources.SERVICES, resources.NETWORK_POLICIES
    assert deleted == {f"{each.group}/{each.plural}" for each in (resources.JOBS, *made_anew)}


def test_the_security_page_names_the_rights_that_the_chart_gives(chart: helm_python.Chart) -> None:
    given: dict[str, set[str]] = {}
    for _, what, verb in rules_of(render(chart, {})):
        given.setdefault(what.partition("/")[2], set()).add(verb)
    page = (REPOSITORY / "docs" / "security.md").read_text().partition("## What the operator may do")[2]
    told: dict[str, set[str]] = {}
    for left, right in re.findall(r"^\| ([^|]+) \| ([a-z, ]+) \|", page, re.M):
        for resource in left.replace("`", "").split(", "):
            told[resource] = set(right.split(", "))
    assert told.pop("resource") == {"verbs"}
    assert told == given


def test_some_namespaces_need_no_rights_in_others(chart: helm_python.Chart) -> None:
    objects = render(chart, {"watchNamespaces": ["ml", "nlp"]})
    assert {(what, verb) for kind, what, verb in rules_of(objects) if kind == "ClusterRole"} == {
        ("/nodes", "list"),
        ("/nodes", "watch"),
    }
    bound = [
        each for (kind, name), each in objects.items() if kind == "RoleBinding" and not name.startswith("dtj-system/")
    ]
    assert {each["metadata"]["namespace"] for each in bound} == {"ml", "nlp"}
    assert {each["roleRef"]["name"] for each in bound} == {"dtj-dtj-operator"}
    rules = [objects["Role", f"{namespace}/dtj-dtj-operator"]["rules"] for namespace in ("ml", "nlp")]
    assert rules[0] == rules[1] == render(chart, {})["ClusterRole", "dtj-dtj-operator"]["rules"][1:]


def test_lease_of_the_role_is_the_one_that_the_operator_takes(
    chart: helm_python.Chart, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = render(chart, {})
    role = objects["Role", "dtj-system/dtj-dtj-operator-leader"]
    (container,) = one(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    lease = config_of(monkeypatch, container["args"]).lease_name
    assert [rule.get("resourceNames") for rule in role["rules"]] == [None, [lease]]
