"""Of what is gone nothing is kept, whichever way it went."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from fake_kube import FakeKube
from operator_process import a_job, until

from dtj_api import names
from dtj_operator.kube.resources import JOBS, PODS
from dtj_operator.observe.lookups import Lookups
from dtj_operator.observe.world import World


@pytest.fixture
async def world():
    kube = FakeKube()
    job = a_job("ner", 1)
    job["metadata"]["namespace"] = "default"
    uid = kube.put(JOBS, job)["metadata"]["uid"]
    owner = {"uid": uid, "controller": True, "kind": names.KIND, "name": "ner", "apiVersion": "v1"}
    labels = {names.Label.JOB_UID: uid, names.Label.COMPONENT: names.Component.WORKER}
    metadata = {"name": "p", "namespace": "default", "labels": labels, "ownerReferences": [owner]}
    kube.put(PODS, {"metadata": metadata, "spec": {"nodeName": "n"}, "status": {}})
    world = World(kube, namespaces=(), wake=lambda key: None)
    world.kube = kube
    tasks = [asyncio.create_task(each.run()) for each in world.reflectors]
    await world.wait_synced()
    yield world
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await world.reports.close()


async def settled(condition) -> None:
    async def holds() -> bool:
        return bool(condition())

    await until(holds, patience=60, pause=0.005)


async def test_a_pod_that_its_job_left_behind_leaves_nothing(world):
    """After `kubectl delete --cascade=orphan`."""
    assert world._job_of_pod
    assert world._placement._on_node
    world.kube.edit(PODS, "p", lambda item: item["metadata"].update(ownerReferences=[]))
    await settled(lambda: not world._job_of_pod)
    assert (world._placement._on_node, world._asking._leaving) == ({}, {})
    world.kube.remove(PODS, "p")
    await settled(lambda: len(list(world.pods.values())) == 0)
    assert (world._placement._on_node, world._job_of_pod) == ({}, {})


async def test_of_a_job_that_is_gone_no_facts_are_made_anew():
    lookups = Lookups(FakeKube())
    lookups.of("gone").refused["Pod/x"] = "late"
    assert lookups.of("gone").refused == {}
    assert lookups._facts == {}
