"""Labels of our children that somebody else changes: what is ours stays in sight, and nothing is counted for it."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from operator_lives import NAME

from dtj_api import names
from dtj_operator.kube.resources import NETWORK_POLICIES, PODS, SERVICES, Resource
from dtj_operator.observe.adopted import ADOPTED_SECONDS

MANAGED_BY, JOB_UID = str(names.Label.MANAGED_BY), str(names.Label.JOB_UID)
CHILDREN = {
    "worker": (PODS, names.worker_name(NAME, 1)),
    "store": (PODS, names.store_name(NAME)),
    "service": (SERVICES, names.service_name(NAME)),
    "policy": (NETWORK_POLICIES, names.policy_name(NAME)),
}


def take_label(label: str, item: Any) -> None:
    item["metadata"]["labels"].pop(label, None)


def give_label(resource: Resource, item: Any) -> None:
    item["metadata"].setdefault("labels", {})[MANAGED_BY] = "argocd"


@pytest.mark.parametrize("child", CHILDREN)
async def test_the_label_that_is_everybodys_may_be_changed(cluster, child):
    await cluster.train()
    before, pods = cluster.story.status, cluster.uids()
    resource, name = CHILDREN[child]
    cluster.story.kube.edit(resource, name, partial(give_label, resource))
    await cluster.look()
    after = cluster.story.status
    assert (after["phase"], after["incarnation"], after["restarts"]["excused"]) == ("Running", 1, 0)
    assert after["incarnation"] == before["incarnation"]
    assert cluster.uids() == pods
    assert cluster.frozen == 0


async def test_a_policy_that_rewrites_it_at_creation_keeps_no_job_from_starting(cluster):
    cluster.story.kube.admission = give_label
    await cluster.train()
    assert cluster.story.status["phase"] == "Running"
    assert cluster.frozen == 0


@pytest.mark.parametrize("child", CHILDREN)
async def test_an_own_object_without_our_label_is_taken_in_again_when_a_create_finds_it(cluster, child):
    """A watch tells it as deleted, so it counts as gone; but no create waits for an object that no watch will bring."""
    await cluster.train()
    pods = cluster.uids()
    resource, name = CHILDREN[child]
    cluster.story.kube.edit(resource, name, partial(take_label, JOB_UID))
    await cluster.look()
    assert cluster.frozen == 0
    await cluster.train()
    assert cluster.uids() == pods, "the pods that there are go on"
    assert cluster.story.status["phase"] == "Running"
    assert cluster.frozen == 0


async def test_a_policy_that_takes_our_label_at_creation_keeps_no_job_from_starting(cluster):
    cluster.story.kube.admission = lambda resource, item: take_label(JOB_UID, item)
    await cluster.train()
    assert cluster.story.status["phase"] == "Running"
    assert cluster.frozen == 0


async def test_what_no_watch_tells_of_is_asked_for(cluster):
    cluster.story.kube.admission = lambda resource, item: take_label(JOB_UID, item)
    await cluster.train()
    cluster.story.kube.admission = lambda resource, item: None
    gone = cluster.uids()[names.worker_name(NAME, 1)]
    cluster.story.kube.remove(PODS, names.worker_name(NAME, 1))
    cluster.story.now += ADOPTED_SECONDS
    await cluster.look()
    assert cluster.uids()[names.worker_name(NAME, 1)] not in ("", gone)
    assert cluster.story.status["restarts"]["excused"] == 1


async def test_a_list_made_anew_does_not_lose_what_was_taken_in(cluster):
    cluster.story.kube.admission = lambda resource, item: take_label(JOB_UID, item)
    await cluster.train()
    cluster.story.kube.compact()
    cluster.story.kube.put(PODS, {"metadata": {"name": "other", "namespace": "default"}, "spec": {}})
    await cluster.look()
    assert cluster.story.status["restarts"]["excused"] == 0
    assert cluster.story.status["phase"] == "Running"
