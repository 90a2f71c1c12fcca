"""The admission policies: their words, and where they hold."""

from __future__ import annotations

import helm_python
import pytest
from charts import Values, one, render

from dtj_api import names
from dtj_api.spec import NO_POD_YET, WITHOUT_PODS


def test_policy_has_the_words_of_the_api(chart: helm_python.Chart) -> None:
    objects = render(chart, {"watchNamespaces": ["ml", "nlp"], "restrictedTemplates": {"install": False}})
    spec = one(objects, "ValidatingAdmissionPolicy")["spec"]
    assert spec["matchConstraints"]["resourceRules"] == [
        {
            "apiGroups": [names.GROUP],
            "apiVersions": [names.VERSION],
            "operations": ["UPDATE"],
            "resources": [names.PLURAL],
        }
    ]
    assert [each["message"] for each in spec["validations"]] == [f"spec.workers.template: {WITHOUT_PODS}"]
    assert NO_POD_YET.format("oldObject") in spec["validations"][0]["expression"]
    binding = one(objects, "ValidatingAdmissionPolicyBinding")["spec"]
    assert binding["policyName"] == one(objects, "ValidatingAdmissionPolicy")["metadata"]["name"]
    assert binding["matchResources"]["namespaceSelector"]["matchExpressions"] == [
        {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["ml", "nlp"]}
    ]


def test_templates_are_restricted_where_pods_are_and_among_the_namespaces_that_are_served(
    chart: helm_python.Chart,
) -> None:
    binding = ("ValidatingAdmissionPolicyBinding", "dtj-dtj-operator-restricted")
    label = {"matchLabels": {"pod-security.kubernetes.io/enforce": "restricted"}}
    assert render(chart, {})[binding]["spec"]["matchResources"]["namespaceSelector"] == label
    served = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["ml"]}
    some = render(chart, {"watchNamespaces": ["ml"]})[binding]["spec"]["matchResources"]["namespaceSelector"]
    assert some == {**label, "matchExpressions": [served]}


@pytest.mark.parametrize("selector", [{}, {"matchLabels": {"team": "ml"}}], ids=str)
def test_where_templates_are_restricted_is_what_the_values_say_and_the_default_is_no_part_of_it(
    chart: helm_python.Chart, selector: Values
) -> None:
    """Helm merges maps: of a default that is one, `{}` leaves all in force."""
    binding = ("ValidatingAdmissionPolicyBinding", "dtj-dtj-operator-restricted")
    objects = render(chart, {"restrictedTemplates": {"namespaceSelector": selector}})
    assert objects[binding]["spec"]["matchResources"]["namespaceSelector"] == selector
