"""What somebody else's finalizer keeps: it is asked for once to go, and the job says who holds its name."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fake_kube import FakeKube
from operator_lives import NAME, Cluster

from dtj_api import names
from dtj_api.names import Condition, Reason
from dtj_operator.kube.bounded import Object, read_event, read_object
from dtj_operator.kube.resources import JOBS, NETWORK_POLICIES, PODS, SERVICES, Resource
from dtj_operator.observe import lookups

FINALIZER = "batch.example.com/accounting"
POLICY, SERVICE = (NETWORK_POLICIES, names.policy_name(NAME)), (SERVICES, names.service_name(NAME))
WORKER, STORE = names.worker_name(NAME, 1), names.store_name(NAME)


def hold(cluster: Cluster, name: str) -> None:
    cluster.story.kube.edit(PODS, name, lambda item: item["metadata"].update(finalizers=[FINALIZER]))


def let_go(cluster: Cluster, name: str) -> None:
    cluster.story.kube.edit(PODS, name, lambda item: item["metadata"].update(finalizers=[]))


def deletes(cluster: Cluster, name: str) -> int:
    return sum(call.verb == "delete" and call.name == name for call in cluster.story.kube.calls)


def fail(cluster: Cluster, name: str) -> None:
    def end(item: Any) -> None:
        container = item["status"]["containerStatuses"][0]
        container |= {"ready": False, "state": {"terminated": {"exitCode": 1, "message": "boom"}}}
        item["status"]["phase"] = "Failed"

    cluster.story.kube.edit(PODS, name, end)


def suspend(cluster: Cluster, _: str) -> None:
    cluster.story.set_spec(lambda spec: spec.update(suspend=True))


def drop(cluster: Cluster, _: str) -> None:
    """The job ends, and none of its pods is to stay."""
    cluster.story.set_spec(lambda spec: spec.update(lifecycle={"activeDeadline": "1s", "cleanPods": "All"}))


def said(cluster: Cluster, kind: Condition = Condition.PROGRESSING) -> Any:
    return next(each for each in cluster.story.status["conditions"] if each["type"] == kind)


def read_within_bounds(kube: FakeKube) -> None:
    """Its answers are read as those of a real server are; pods are larger than is read of one whole."""

    def grow(resource: Resource, item: Object) -> None:
        if resource == PODS:
            item["spec"]["containers"][0].setdefault("env", []).append({"name": "X", "value": "x" * 300_000})

    kube.admission = grow
    list_page, watch = kube.list_page, kube.watch

    async def pages(resource: Resource, *where: Any, **more: Any) -> Object:
        page = await list_page(resource, *where, **more)
        return {**page, "items": [read_object(resource, json.dumps(each).encode()) for each in page["items"]]}

    async def events(resource: Resource, *where: Any, **more: Any) -> AsyncIterator[Object]:
        async for event in watch(resource, *where, **more):
            yield read_event(resource, json.dumps(event).encode())

    vars(kube).update(list_page=pages, watch=events)


@pytest.mark.parametrize("large", [False, True], ids=["a pod", "a pod that is not read whole"])
@pytest.mark.parametrize("why", [fail, suspend, drop])
@pytest.mark.parametrize("name", [WORKER, STORE])
async def test_it_is_deleted_once_however_often_the_job_is_looked_at(
    cluster: Cluster, name: str, why: Callable[[Cluster, str], None], large: bool
) -> None:
    if large:
        read_within_bounds(cluster.story.kube)
    await cluster.train()
    hold(cluster, name)
    why(cluster, name)
    for _ in range(5):
        cluster.story.now += 120
        await cluster.look()
    asked = deletes(cluster, name)
    assert 1 <= asked <= 2, "once with its grace and once by force"
    for _ in range(5):
        cluster.story.now += 120
        await cluster.look()
    assert deletes(cluster, name) == asked
    assert cluster.frozen == 0


@pytest.mark.parametrize("name", [WORKER, STORE])
async def test_whose_it_is_is_said_and_its_name_is_used_again_when_it_goes(cluster: Cluster, name: str) -> None:
    await cluster.train()
    held = cluster.uids()[name]
    hold(cluster, name)
    fail(cluster, name)
    await cluster.look()
    told = said(cluster)
    assert (told["status"], told["reason"]) == ("False", Reason.HELD_BY_FINALIZER)
    assert f"finalizer {FINALIZER} keeps pod {name}" in told["message"]
    let_go(cluster, name)
    await cluster.train()
    assert cluster.uids()[name] != held
    assert cluster.story.status["phase"] == "Running"
    restarts = cluster.story.status["restarts"]
    assert restarts["counted"] + restarts["excused"] == 1


async def test_a_suspended_job_says_who_keeps_its_pod(cluster: Cluster) -> None:
    await cluster.train()
    hold(cluster, WORKER)
    suspend(cluster, WORKER)
    for _ in range(3):
        cluster.story.now += 120
        await cluster.look()
    assert f"finalizer {FINALIZER} keeps pod {WORKER}" in said(cluster, Condition.SUSPENDED)["message"]
    let_go(cluster, WORKER)
    await cluster.look()
    assert "no pod is left" in said(cluster, Condition.SUSPENDED)["message"]
    assert cluster.story.kube.read(JOBS, NAME)["status"]["restarts"]["counted"] == 0


@pytest.mark.parametrize("child", [POLICY, SERVICE], ids=["policy", "service"])
async def test_an_edited_child_that_is_kept_freezes_no_job_and_is_named(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, child: tuple[Resource, str]
) -> None:
    monkeypatch.setattr(lookups, "RIGHTED_SECONDS", 0.0)
    await cluster.train()
    kube, (resource, name) = cluster.story.kube, child
    before = kube.read(resource, name)

    def change(item: Any) -> None:
        item["metadata"]["finalizers"] = [FINALIZER]
        item["spec"].update(selector={"a": "b"}, podSelector={"matchLabels": {"a": "b"}})

    kube.edit(resource, name, change)
    for _ in range(3):
        await cluster.look()
        assert cluster.frozen == 0
    assert deletes(cluster, name) == 1
    fail(cluster, WORKER)
    for _ in range(3):
        cluster.story.now += 120
        await cluster.train()
    told = said(cluster)
    assert (told["status"], told["reason"]) == ("False", Reason.HELD_BY_FINALIZER)
    assert f"finalizer {FINALIZER} keeps {resource.kind} {name}" in told["message"]
    assert deletes(cluster, name) == 1
    kube.edit(resource, name, lambda item: item["metadata"].update(finalizers=[]))
    await cluster.train()
    assert kube.read(resource, name)["spec"] == before["spec"]
    assert cluster.story.status["phase"] == "Running"


@pytest.mark.parametrize("why", [suspend, drop])
@pytest.mark.parametrize("runs", [True, False], ids=["that ran", "that never started"])
async def test_the_store_does_not_wait_for_a_worker_that_is_kept(
    cluster: Cluster, why: Callable[[Cluster, str], None], runs: bool
) -> None:
    await (cluster.train() if runs else cluster.life.settle())
    hold(cluster, WORKER)
    why(cluster, WORKER)
    for _ in range(5):
        cluster.story.now += 120
        await cluster.look()
    assert set(cluster.uids()) == {WORKER}
