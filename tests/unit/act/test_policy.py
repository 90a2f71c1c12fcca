"""A job whose network was opened: its own NetworkPolicy goes, and nobody else's."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any

import pytest
from api_faults import Fault
from fake_kube import FakeKube
from operator_process import a_job

from dtj_api import names
from dtj_operator.act.executor import ActError, Executor
from dtj_operator.kube import errors
from dtj_operator.kube.resources import JOBS, NETWORK_POLICIES
from dtj_operator.observe.world import World
from dtj_operator.plan.actions import DeletePolicy
from dtj_operator.plan.value import Plan
from dtj_operator.render import Site

NAME = names.policy_name("ner")


class Cluster:
    """A job with its policy, watched."""

    def __init__(self) -> None:
        self.kube, self.woken = FakeKube(), asyncio.Event()
        self.world = World(self.kube, namespaces=(), wake=lambda key: self.woken.set())
        job = a_job("ner", 1)
        job["metadata"]["namespace"] = "default"
        uid = self.kube.put(JOBS, job)["metadata"]["uid"]
        owner = {"uid": uid, "controller": True, "kind": names.KIND, "name": "ner", "apiVersion": names.API_VERSION}
        labels = {str(names.Label.JOB_UID): uid}
        metadata = {"name": NAME, "namespace": "default", "labels": labels, "ownerReferences": [owner]}
        self.uid = self.kube.put(NETWORK_POLICIES, {"metadata": metadata, "spec": {}})["metadata"]["uid"]
        nothing: Any = SimpleNamespace(tell=lambda *_: None, want=lambda *_: None)
        self.executor = Executor(self.kube, self.world, nothing, nothing, lambda: None, Site())

    async def view(self) -> Any:
        return await self.world.view(("default", "ner"))

    async def delete(self, uid: str) -> float:
        """Delete the policy of this uid; seconds that the next plan has to wait for the watch."""
        view = await self.view()
        plan = Plan(view.status, actions=(DeletePolicy(NAME, uid, "network.policy is Open"),))
        self.woken.clear()
        await self.executor.execute(view, plan, write=False)
        return self.world.expectations.wait(view.uid)


@pytest.fixture
async def cluster():
    cluster = Cluster()
    tasks = [asyncio.create_task(each.run()) for each in cluster.world.reflectors]
    await cluster.world.wait_synced()
    yield cluster
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await cluster.world.reports.close()


async def test_the_policy_is_seen_deleted_and_seen_to_be_gone(cluster):
    assert (await cluster.view()).children.policy_uid == cluster.uid
    await cluster.delete(cluster.uid)
    await asyncio.wait_for(cluster.woken.wait(), 60)
    view = await cluster.view()
    assert (view.children.policy, view.children.policy_uid) == (False, "")
    assert cluster.world.expectations.wait(view.uid) == 0
    assert cluster.kube.all(NETWORK_POLICIES) == []


async def test_a_policy_that_is_another_one_by_now_stays(cluster):
    assert await cluster.delete("another") == 0
    assert [each["metadata"]["uid"] for each in cluster.kube.all(NETWORK_POLICIES)] == [cluster.uid]


async def test_a_policy_that_may_not_be_deleted_is_a_failed_call(cluster):
    refused = Fault(errors.Forbidden("DELETE", "not allowed", code=403))
    cluster.kube.fault_of = lambda call: refused if call.verb == "delete" else None
    with pytest.raises(ActError, match="not allowed"):
        await cluster.delete(cluster.uid)
    assert cluster.world.expectations.wait((await cluster.view()).uid) == 0
