"""Whom a job opens its workers to: a namespace that the installation knows, or nobody."""

from __future__ import annotations

import re
from typing import Any

import pytest
from plan_jobs import NOW, Job, a_job

from dtj_api.base import STORED, ManifestError, read
from dtj_api.names import Condition, Reason
from dtj_api.peer import NAME_LABEL
from dtj_api.spec import JobSpec
from dtj_operator.observe.view import Installation, JobView
from dtj_operator.plan import CreatePolicy, DryRunWorker, plan
from dtj_operator.render import Site, manifest

KNOWN = Installation(metrics_from=("monitoring", "ml"))
MONITORING = {"namespaceSelector": {"matchLabels": {NAME_LABEL: "monitoring"}}}
STRANGERS = {"namespaceSelector": {"matchLabels": {NAME_LABEL: "strangers"}}, "podSelector": {}}
OWN = {"podSelector": {"matchLabels": {"app": "prometheus"}}}
ALL: dict[str, Any] = {"namespaceSelector": {}}
ADDRESS = {"ipBlock": {"cidr": "0.0.0.0/0"}}


def opened(job: Job, *peers: dict[str, Any], operator: Installation = KNOWN) -> JobView:
    """The job as it is stored with these peers, which an older schema took."""
    raw = {**job.read_spec().dump(), "metrics": {"from": list(peers)}}
    return job.fields(operator=operator, created=NOW, spec=read(JobSpec, raw, "spec", STORED)).view()


@pytest.mark.parametrize(
    ("peer", "says"),
    [
        (STRANGERS, r"open itself to namespace strangers \(only to monitoring, ml\).*jobs\.metricsFrom"),
        (ALL, "names no namespace"),
        (ADDRESS, "name a namespace instead"),
        ({}, "names no namespace"),
    ],
)
def test_a_job_that_opens_itself_to_others_is_not_admitted_and_nothing_is_made(peer: dict[str, Any], says: str) -> None:
    made = plan(opened(a_job(), MONITORING, peer))
    assert made.actions == ()
    admitted = made.status.condition(Condition.ADMITTED)
    assert admitted is not None
    assert (admitted.status, admitted.reason) == ("False", Reason.INVALID_SPEC)
    assert admitted.message.startswith("spec.metrics.from[1]: ")
    assert re.search(says, admitted.message)


def test_without_the_charts_value_nobody_is_let_in() -> None:
    made = plan(opened(a_job(), OWN, operator=Installation()))
    assert "namespace ml (only to none)" in made.status.conditions[0].message


@pytest.mark.parametrize("peer", [MONITORING, OWN])
def test_a_namespace_that_the_installation_knows_is_let_in(peer: dict[str, Any]) -> None:
    assert [type(each) for each in plan(opened(a_job(), peer)).actions] == [DryRunWorker]


def test_a_running_job_goes_on_and_says_so_and_a_new_policy_is_made_without() -> None:
    view = opened(a_job().replicas(2).running(), STRANGERS, ADDRESS, MONITORING)
    made = plan(view)
    assert made.actions == ()
    admitted = made.status.condition(Condition.ADMITTED)
    assert admitted is not None
    assert admitted.status == "False"
    assert "the job goes on" in admitted.message
    assert (made.status.phase, made.status.is_true(Condition.READY)) == ("Running", True)
    policy = manifest(view, CreatePolicy("ner-workers"), Site("dtj-system"))["spec"]["ingress"]
    assert policy[2:] == [{"ports": [{"protocol": "TCP", "port": 9400}], "from": [MONITORING]}]


@pytest.mark.parametrize("peer", [ALL, ADDRESS, {}, {"podSelector": {}, **ADDRESS}])
def test_a_manifest_is_refused_for_what_no_installation_lets_in(peer: dict[str, Any]) -> None:
    raw = {**a_job().read_spec().dump(), "metrics": {"from": [peer]}}
    with pytest.raises(ManifestError, match=r"spec\.metrics\.from\[0\]: .*namespace"):
        read(JobSpec, raw, "spec")
