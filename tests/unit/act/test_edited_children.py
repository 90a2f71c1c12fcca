"""What somebody edits is put right: by the policy nobody runs code in the job, by the service its workers are found."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from operator_lives import NAME, Cluster

from dtj_api import names
from dtj_api.peer import NAME_LABEL
from dtj_operator.kube.resources import NETWORK_POLICIES, SERVICES, Resource
from dtj_operator.observe import lookups as module
from dtj_operator.observe.view import Installation


class Child(NamedTuple):
    resource: Resource
    name: str

    def made(self, cluster: Cluster) -> int:
        kube = cluster.story.kube
        return sum((resource, name) == (self.resource, self.name) for resource, name, _ in kube.created)

    def spec(self, cluster: Cluster) -> Any:
        return cluster.story.kube.read(self.resource, self.name)["spec"]

    def edit(self, cluster: Cluster, change: Any) -> None:
        cluster.story.kube.edit(self.resource, self.name, lambda item: change(item["spec"]))


POLICY = Child(NETWORK_POLICIES, names.policy_name(NAME))
SERVICE = Child(SERVICES, names.service_name(NAME))
EDITS = {
    "policy: a rule for everybody": (POLICY, lambda spec: spec["ingress"].append({})),
    "policy: no rule at all": (POLICY, lambda spec: spec.update(ingress=[])),
    "policy: pods of all namespaces": (POLICY, lambda spec: spec["ingress"][0]["from"][0].update(namespaceSelector={})),
    "policy: other pods": (POLICY, lambda spec: spec.update(podSelector={"matchLabels": {"a": "b"}})),
    "service: other pods": (SERVICE, lambda spec: spec.update(selector={"a": "b"})),
    "service: no selector": (SERVICE, lambda spec: spec.pop("selector")),
    "service: ready ones alone": (SERVICE, lambda spec: spec.pop("publishNotReadyAddresses")),
    "service: a way in from outside": (SERVICE, lambda spec: spec.update(externalIPs=["203.0.113.7"])),
    "service: another kind": (SERVICE, lambda spec: spec.update(type="ExternalName", externalName="example.com")),
    "service: another port": (SERVICE, lambda spec: spec["ports"][0].update(targetPort=22)),
}
NO_EDITS = {
    "an annotation": lambda item: item["metadata"].update(annotations={"team": "a"}),
    "a label": lambda item: item["metadata"]["labels"].update(team="a"),
}


@pytest.fixture(autouse=True)
def righted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RIGHTED_SECONDS", 0.0)


@pytest.mark.parametrize("how", EDITS)
async def test_it_is_made_anew(cluster, how):
    child, change = EDITS[how]
    await cluster.train()
    before = child.spec(cluster)
    child.edit(cluster, change)
    await cluster.look()
    assert child.spec(cluster) == before
    assert cluster.story.status["phase"] == "Running"
    assert cluster.story.status["restarts"]["excused"] == 0


@pytest.mark.parametrize("how", ["policy: a rule for everybody", "service: other pods"])
async def test_it_is_found_by_the_next_process_too(cluster, how):
    child, change = EDITS[how]
    await cluster.train()
    before = child.spec(cluster)
    await cluster.end()
    child.edit(cluster, change)
    await cluster.restart()
    await cluster.look()
    assert child.spec(cluster) == before


async def test_nobody_is_sent_to_meet_by_a_service_that_finds_nobody(cluster):
    await cluster.life.settle()
    SERVICE.edit(cluster, EDITS["service: other pods"][1])
    met_by = []
    send = cluster.story.launchers.send

    async def watched(*args: Any) -> Any:
        met_by.append(SERVICE.spec(cluster)["selector"])
        return await send(*args)

    cluster.story.launchers.send = watched
    await cluster.train()
    assert met_by
    assert all(str(names.Label.JOB_UID) in selector for selector in met_by)


@pytest.mark.parametrize("child", [POLICY, SERVICE], ids=["policy", "service"])
async def test_one_that_nobody_edits_is_made_once(cluster, child):
    await cluster.train()
    await cluster.restart()
    await cluster.look()
    assert child.made(cluster) == 1


@pytest.mark.parametrize("change", NO_EDITS)
async def test_what_others_write_beside_it_is_left_alone(cluster, change):
    await cluster.train()
    for child in (POLICY, SERVICE):
        cluster.story.kube.edit(child.resource, child.name, NO_EDITS[change])
    await cluster.look()
    assert [child.made(cluster) for child in (POLICY, SERVICE)] == [1, 1]


async def test_what_the_server_makes_of_it_is_not_an_edit(cluster):
    def changed(resource: Any, item: Any) -> None:
        if resource == NETWORK_POLICIES:
            item["spec"]["ingress"].append({"from": [{"podSelector": {}}]})
        if resource == SERVICES:
            item["spec"]["selector"]["policy"] = "mine"

    cluster.story.kube.admission = changed
    await cluster.train()
    for _ in range(3):
        await cluster.look()
    assert [child.made(cluster) for child in (POLICY, SERVICE)] == [1, 1]


def let_in(namespace: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {NAME_LABEL: namespace}}}


async def test_a_running_job_follows_a_change_of_metrics_from_and_nothing_else_of_it_changes():
    cluster = Cluster(operator=Installation(metrics_from=("monitoring", "grafana")))
    try:
        await cluster.train()
        closed, pods = POLICY.spec(cluster), cluster.uids()
        for made, peers in enumerate(([let_in("monitoring")], [let_in("grafana"), let_in("monitoring")], []), start=2):
            cluster.story.set_spec(lambda spec, to=peers: spec.update(metrics={"from": to}))
            await cluster.look()
            opened = [{"ports": [{"protocol": "TCP", "port": 9400}], "from": peers}] if peers else []
            assert POLICY.spec(cluster) == closed | {"ingress": closed["ingress"] + opened}
            assert POLICY.made(cluster) == made
        assert SERVICE.made(cluster) == 1
        assert cluster.uids() == pods
        status = cluster.story.status
        assert (status["phase"], status["incarnation"], status["restarts"]["excused"]) == ("Running", 1, 0)
    finally:
        await cluster.end()


@pytest.mark.parametrize("how", ["policy: no rule at all", "service: no selector"])
async def test_one_that_is_edited_again_and_again_is_not_made_without_end(cluster, monkeypatch, how):
    child, change = EDITS[how]
    await cluster.train()
    monkeypatch.setattr(module, "RIGHTED_SECONDS", 60.0)
    child.edit(cluster, change)
    await cluster.look()
    assert child.made(cluster) == 1, "it was made a moment ago"


@pytest.mark.parametrize("how", ["policy: a rule for everybody", "service: other pods"])
async def test_a_copy_under_another_name_is_not_taken_for_it(cluster, how):
    child, change = EDITS[how]
    await cluster.train()
    kube = cluster.story.kube
    copied = kube.read(child.resource, child.name)
    copied["metadata"] = {key: copied["metadata"][key] for key in ("namespace", "labels", "ownerReferences")}
    copied["metadata"]["name"] = "a-copy"
    change(copied["spec"])
    kube.put(child.resource, copied)
    await cluster.restart()
    cluster.story.fail_pod(1)
    for _ in range(3):
        cluster.story.now += 60
        await cluster.train()
    assert cluster.story.status["phase"] == "Running"
    assert not [call for call in kube.calls if call.verb == "delete" and call.resource == child.resource]
    kube.remove(child.resource, child.name)
    await cluster.look()
    assert child.made(cluster) == 2, "the copy does not stand for it"
