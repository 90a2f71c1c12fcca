"""What a view tells beyond the watched objects: a node that a pod names and that has no object."""

from __future__ import annotations

import asyncio
import contextlib
import functools

import pytest
from fake_kube import FakeKube
from operator_process import a_job

from dtj_api import names
from dtj_operator.kube.resources import JOBS, NODES, PODS
from dtj_operator.observe.view import NodeView
from dtj_operator.observe.world import World
from dtj_trainer.launch.launcher import LINGER

KEY = ("default", "ner")
READY = {"metadata": {"name": "n"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}


class Seen:
    """A world that runs on a cluster in memory, with a clock of its own."""

    def __init__(self) -> None:
        self.kube, self.now, self.woken = FakeKube(), 100.0, asyncio.Event()
        self.world = World(self.kube, namespace=None, wake=lambda key: self.woken.set(), clock=lambda: self.now)
        job = a_job("ner", 1)
        job["metadata"]["namespace"] = "default"
        self.uid = self.kube.put(JOBS, job)["metadata"]["uid"]
        owner = {"uid": self.uid, "controller": True, "kind": names.KIND, "name": "ner", "apiVersion": "v1"}
        labels = {names.Label.MANAGED_BY: names.MANAGED_BY, names.Label.COMPONENT: names.Component.WORKER}
        metadata = {"name": "p", "namespace": "default", "labels": labels, "ownerReferences": [owner]}
        self.pod = self.kube.put(PODS, {"metadata": metadata, "spec": {"nodeName": "n"}, "status": {}})

    async def nodes(self) -> tuple[NodeView, ...]:
        """The nodes of the job's view."""
        view = await self.world.view(KEY)
        assert view is not None
        return view.nodes

    async def after(self, change) -> None:
        """Make a change and wait until the job is woken by it."""
        self.woken.clear()
        change()
        await asyncio.wait_for(self.woken.wait(), 10)


@pytest.fixture
async def seen():
    seen = Seen()
    tasks = [asyncio.create_task(each.run()) for each in seen.world.reflectors]
    await seen.world.wait_synced()
    yield seen
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await seen.world.reports.close()


async def test_a_node_without_an_object_is_not_ready_since_it_was_noticed(seen):
    assert await seen.nodes() == (NodeView("n", ready=False, not_ready_since=100.0),)
    seen.now = 130.0
    assert await seen.nodes() == (NodeView("n", ready=False, not_ready_since=100.0),)


async def test_a_node_that_is_registered_anew_begins_afresh(seen):
    await seen.nodes()
    await seen.after(lambda: seen.kube.put(NODES, READY))
    assert await seen.nodes() == (NodeView("n", ready=True),)
    seen.now = 200.0
    await seen.after(lambda: seen.kube.remove(NODES, "n", ""))
    assert await seen.nodes() == (NodeView("n", ready=False, not_ready_since=200.0),)


async def test_what_was_noticed_goes_with_the_last_pod(seen):
    await seen.nodes()
    await seen.after(lambda: seen.kube.remove(PODS, "p"))
    assert await seen.nodes() == ()
    seen.now = 300.0
    await seen.after(lambda: seen.kube.put(PODS, seen.pod))
    assert await seen.nodes() == (NodeView("n", ready=False, not_ready_since=300.0),)


@pytest.mark.parametrize(
    ("interval", "phase", "expected"),
    [("1s", "Running", 1.0), ("5s", "Running", 5.0), ("1h", "Running", 5.0), ("1h", "Recovering", 1.0)],
)
async def test_a_launcher_that_ends_is_asked_before_it_gives_up_waiting_for_that(seen, interval, phase, expected):
    def change(job):
        job["spec"]["metrics"] = {"interval": interval}
        job["status"] = {"phase": phase}

    await seen.after(lambda: seen.kube.edit(JOBS, "ner", change))
    assert seen.world._report_interval(seen.pod["metadata"]["uid"]) == expected
    assert expected < LINGER


async def test_a_pod_that_is_being_deleted_is_asked_at_once_and_often(seen, monkeypatch):
    hurried = []
    monkeypatch.setattr(seen.world.reports, "hurry", hurried.append)
    uid = seen.pod["metadata"]["uid"]

    for until in ("2026-01-01T00:02:00Z", "2026-01-01T00:01:00Z"):
        at = {"deletionTimestamp": until}
        change = functools.partial(
            seen.kube.edit, PODS, seen.pod["metadata"]["name"], lambda pod, at=at: pod["metadata"].update(at)
        )
        await seen.after(change)
    assert hurried == [uid]
    assert seen.world._report_interval(uid) == 0.25
    seen.now += 10
    assert seen.world._report_interval(uid) == 1.0, "it is stuck"
