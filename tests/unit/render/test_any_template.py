"""Whatever a template says, there is a manifest to ask the API server with, or words where there can be none."""

from __future__ import annotations

import contextlib
import copy
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plan_jobs import a_job, a_template

from dtj_api.base import ManifestError, read
from dtj_api.names import Condition, Reason
from dtj_api.spec import JobSpec
from dtj_operator.plan import actions as does
from dtj_operator.plan.need.admission import template_hash
from dtj_operator.plan.reconcile import plan
from dtj_operator.render import Site, manifest

SITE = Site("dtj-system", "dtj-operator:1")
OWN = "example.com/dtj-trainer:1"


def template(**trainer: Any) -> dict[str, Any]:
    made = a_template()
    made["spec"]["containers"][0] |= trainer
    return made


def pod(**fields: Any) -> dict[str, Any]:
    made = a_template()
    made["spec"] |= fields
    return made


def stored(given: dict[str, Any]) -> JobSpec:
    """The spec with this template, as the API server gives it."""
    return read(JobSpec, {"workers": {"template": copy.deepcopy(given)}}, "spec")


def render(spec: JobSpec) -> list[dict[str, Any]]:
    view = a_job().fields(spec=spec).view()
    worker = does.CreateWorker(name="ner-worker-0000", index=0, incarnation=1)
    store = does.CreateStore(name="ner-store", incarnation=1)
    return [manifest(view, action, SITE) for action in (worker, store, does.DryRunWorker(template_hash(spec)))]


TAKEN = {
    "an image left empty": template(image=None),
    "an empty image": template(image=""),
    "no ports": template(ports=None),
    "a mount without a path": template(volumeMounts=[{"name": "v", "mountPath": None}]),
    "no security context": template(image=OWN, securityContext=None),
    "no security context of the pod": pod(securityContext=None, tolerations=None, affinity=None, volumes=None),
    "no environment": template(env=None, args=None),
    "no limits": template(resources={"limits": None}),
    "a port that is an object": template(ports=[{"containerPort": {}, "name": []}]),
    "a key that is a list": pod(tolerations=[{"key": []}]),
    "more GPUs than there are digits for": template(resources={"limits": {"nvidia.com/gpu": "9" * 5000}}),
    "a limit beyond all numbers": template(resources={"limits": {"memory": "1e308E"}}),
    "an endless grace": pod(terminationGracePeriodSeconds=10**400),
    "labels that are numbers": a_template() | {"metadata": {"labels": {"a": 5}}},
}
REFUSED = {
    "ports that are numbers": (template(ports=[8080]), "containers[0].ports[0]"),
    "a null among ports": (template(ports=[None]), "containers[0].ports[0]"),
    "a null among mounts": (template(volumeMounts=[None]), "containers[0].volumeMounts[0]"),
    "a path that is a number": (template(volumeMounts=[{"mountPath": 5}]), "containers[0].volumeMounts[0].mountPath"),
    "an image that is a number": (template(image=5), "containers[0].image"),
    "a word for a security context": (template(image=OWN, securityContext="none"), "containers[0].securityContext"),
    "tolerations that are words": (pod(tolerations=["gpu"]), "tolerations[0]"),
    "volumes that are one": (pod(volumes={"name": "a"}), "volumes"),
    "an affinity that is a word": (pod(affinity="near"), "affinity"),
    "a node affinity that is a list": (pod(affinity={"nodeAffinity": []}), "affinity.nodeAffinity"),
    "init containers that are one": (pod(initContainers={"name": "a"}), "initContainers"),
}
LABELS = {"a list of labels": ["a"], "a word of labels": "a"}


@pytest.mark.parametrize("what", TAKEN)
def test_it_is_rendered_and_left_to_the_api_server(what):
    for made in render(stored(TAKEN[what])):
        assert made["kind"] == "Pod"


@pytest.mark.parametrize("what", REFUSED)
def test_it_is_refused_with_the_path(what):
    given, path = REFUSED[what]
    spec = stored(given)
    with pytest.raises(ManifestError) as told:
        render(spec)
    assert str(told.value).startswith(f"spec.workers.template.spec.{path}: ")
    made = plan(a_job().fields(spec=spec).view())
    (admitted,) = [each for each in made.status.conditions if each.type == Condition.ADMITTED]
    assert (admitted.status, admitted.reason, admitted.message) == ("False", Reason.INVALID_SPEC, str(told.value))
    assert not made.actions


@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS.keys())
@pytest.mark.parametrize("field", ["labels", "annotations"])
def test_labels_of_another_form_are_refused(field, labels):
    with pytest.raises(ManifestError, match=rf"spec.workers.template.metadata.{field}: "):
        render(stored(a_template() | {"metadata": {field: labels}}))


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def odd(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, ODD | st.lists(ODD, max_size=2)))


KNOWN = st.fixed_dictionaries(
    {
        "container": odd(
            "image", "ports", "volumeMounts", "securityContext", "resources", "env", "args", "readinessProbe"
        ),
        "pod": odd(
            *("volumes", "initContainers", "affinity", "tolerations", "securityContext", "nodeSelector"),
            *("imagePullSecrets", "terminationGracePeriodSeconds", "hostname", "priorityClassName", "restartPolicy"),
        ),
        "metadata": odd("labels", "annotations", "name") | ODD,
    }
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(KNOWN)
def test_no_template_makes_it_raise_anything_but_words(parts):
    made = a_template()
    made["spec"]["containers"][0] |= parts["container"]
    made["spec"] |= parts["pod"]
    made["metadata"] = parts["metadata"]
    with contextlib.suppress(ManifestError):
        json.dumps(render(stored(made)))
