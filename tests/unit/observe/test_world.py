"""What a view tells beyond the watched objects: a node that a pod names and that has no object."""

from __future__ import annotations

import asyncio
import contextlib
import functools

import pytest
from fake_kube import FakeKube
from operator_process import a_job

from dtj_api import names
from dtj_api.wire import Report
from dtj_operator.kube.resources import JOBS, NODES, PODS
from dtj_operator.observe.view import Cluster, JobView, NodeView
from dtj_operator.observe.world import World
from dtj_trainer.launch.launcher import LINGER

KEY = ("default", "ner")
READY = {"metadata": {"name": "n"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}


class Seen:
    """A world that runs on a cluster in memory, with a clock of its own."""

    def __init__(self) -> None:
        self.kube, self.now, self.woken = FakeKube(), 100.0, asyncio.Event()
        self.world = World(self.kube, namespaces=(), wake=lambda key: self.woken.set(), clock=lambda: self.now)
        job = a_job("ner", 1)
        job["metadata"]["namespace"] = "default"
        self.uid = self.kube.put(JOBS, job)["metadata"]["uid"]
        owner = {"uid": self.uid, "controller": True, "kind": names.KIND, "name": "ner", "apiVersion": "v1"}
        labels = {names.Label.JOB_UID: self.uid, names.Label.COMPONENT: names.Component.WORKER}
        metadata = {"name": "p", "namespace": "default", "labels": labels, "ownerReferences": [owner]}
        self.pod = self.kube.put(PODS, {"metadata": metadata, "spec": {"nodeName": "n"}, "status": {}})

    async def view(self) -> JobView:
        """The job's view."""
        view = await self.world.view(KEY)
        assert view is not None
        return view

    async def nodes(self) -> tuple[NodeView, ...]:
        """The nodes of the job's view."""
        return (await self.view()).nodes

    async def after(self, change) -> None:
        """Make a change and wait until the job is woken by it."""
        self.woken.clear()
        change()
        await asyncio.wait_for(self.woken.wait(), 60)


@pytest.fixture
async def seen():
    seen = Seen()
    tasks = [asyncio.create_task(each.run()) for each in seen.world.reflectors]
    await seen.world.wait_synced()
    seen.world.lead(True)
    yield seen
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await seen.world.reports.close()


async def test_a_node_without_an_object_is_not_ready_since_it_was_noticed(seen):
    assert await seen.nodes() == (NodeView("n", ready=False, not_ready_since=100.0, exists=False, seen_at=100.0),)
    seen.now = 130.0
    assert await seen.nodes() == (NodeView("n", ready=False, not_ready_since=100.0, exists=False, seen_at=100.0),)


def _away(node: str, at: str, status: str = "Unknown"):
    ready = {"type": "Ready", "status": status, "lastTransitionTime": at}
    return {"metadata": {"name": node}, "status": {"conditions": [ready]}}


async def test_a_node_is_away_since_this_operator_saw_it_whatever_the_clocks_say(seen):
    await seen.after(lambda: seen.kube.put(NODES, _away("n", "1970-01-01T00:00:07Z")))
    seen.now = 200.0
    (node,) = await seen.nodes()
    assert (node.not_ready_since, node.seen_at, node.exists) == (7.0, 100.0, True)
    await seen.after(lambda: seen.kube.put(NODES, _away("n", "1970-01-01T00:03:00Z", "False")))
    (node,) = await seen.nodes()
    assert (node.not_ready_since, node.seen_at) == (180.0, 100.0), "it was away all the time"
    await seen.after(lambda: seen.kube.put(NODES, READY))
    seen.now = 300.0
    await seen.after(lambda: seen.kube.put(NODES, _away("n", "1970-01-01T00:04:00Z")))
    assert (await seen.nodes())[0].seen_at == 300.0


async def test_how_many_nodes_are_away_and_how_old_that_is(seen):
    for name in "abc":
        seen.kube.put(NODES, _away(name, "1970-01-01T00:00:07Z"))
    await seen.after(lambda: seen.kube.put(NODES, READY | {"metadata": {"name": "n"}}))
    assert (await seen.view()).cluster == Cluster(), "nobody asks while the job's own nodes are ready"
    seen.kube.remove(NODES, "a", "")
    await seen.after(lambda: seen.kube.put(NODES, _away("n", "1970-01-01T00:01:39Z")))
    cluster = (await seen.view()).cluster
    assert (cluster.nodes, cluster.away) == (3, 3)
    assert cluster.told_at is not None
    assert 90 < cluster.told_at <= 100


async def test_who_answers_elsewhere_and_how_many_were_given_up(seen):
    await seen.after(lambda: seen.kube.put(NODES, _away("n", "1970-01-01T00:01:39Z")))
    own = seen.pod["metadata"]["uid"]
    accept = seen.world.reports.accept
    seen.world.reports._clock = lambda: seen.now
    accept(own, Report(own, 0, "training", 1, 1, 1, 0))
    assert (await seen.nodes())[0].heard_elsewhere is None, "that was on this one"
    other = {**seen.pod, "metadata": {**seen.pod["metadata"], "name": "q"}, "spec": {"nodeName": "m"}}
    await seen.after(lambda: seen.kube.put(PODS, other))
    uid = seen.kube.read(PODS, "q")["metadata"]["uid"]
    accept(uid, Report(uid, 1, "training", 1, 1, 1, 0))
    assert (await seen.nodes())[0].heard_elsewhere == 100.0
    seen.now = 160.0
    assert (await seen.nodes())[0].heard_elsewhere == 100.0
    seen.world.note_given_up(["x", "y", own])
    assert (await seen.view()).cluster.given_up == 2, "the job counts its own"
    seen.now = 161.0
    assert (await seen.nodes())[0].heard_elsewhere is None
    seen.world.note_given_up(["x"])
    seen.now = 220.0
    assert (await seen.view()).cluster.given_up == 0


async def test_a_node_that_is_registered_anew_begins_afresh(seen):
    await seen.nodes()
    await seen.after(lambda: seen.kube.put(NODES, READY))
    assert await seen.nodes() == (NodeView("n", ready=True),)
    seen.now = 200.0
    await seen.after(lambda: seen.kube.remove(NODES, "n", ""))
    assert await seen.nodes() == (NodeView("n", ready=False, not_ready_since=200.0, exists=False, seen_at=200.0),)


async def test_what_was_noticed_goes_with_the_last_pod(seen):
    await seen.nodes()
    await seen.after(lambda: seen.kube.remove(PODS, "p"))
    assert await seen.nodes() == ()
    seen.now = 300.0
    await seen.after(lambda: seen.kube.put(PODS, seen.pod))
    assert await seen.nodes() == (NodeView("n", ready=False, not_ready_since=300.0, exists=False, seen_at=300.0),)


@pytest.mark.parametrize(
    ("interval", "phase", "expected"),
    [("1s", "Running", 1.0), ("5s", "Running", 5.0), ("1h", "Running", 5.0), ("1h", "Recovering", 1.0)],
)
async def test_a_launcher_that_ends_is_asked_before_it_gives_up_waiting_for_that(seen, interval, phase, expected):
    def change(job):
        job["spec"]["metrics"] = {"interval": interval}
        job["status"] = {"phase": phase}

    await seen.after(lambda: seen.kube.edit(JOBS, "ner", change))
    assert seen.world._asking.interval(seen.pod["metadata"]["uid"]) == expected
    assert expected < LINGER


@pytest.mark.parametrize(
    ("phase", "state", "asked"),
    [
        pytest.param("Running", {"running": {}}, True, id="it runs"),
        pytest.param("Pending", {"running": {}}, True, id="it runs beside a helper that cannot start"),
        pytest.param("Pending", {"waiting": {"reason": "ImagePullBackOff"}}, False, id="it has an address alone"),
        pytest.param("Running", {"waiting": {"reason": "PodInitializing"}}, False, id="only its helpers run"),
        pytest.param("Running", {"terminated": {"exitCode": 0}}, False, id="only its helpers still run"),
    ],
)
async def test_a_launcher_is_asked_while_its_own_container_runs(seen, monkeypatch, phase, state, asked):
    followed = []
    monkeypatch.setattr(seen.world.reports, "follow", lambda uid, ip, job: followed.append(uid))
    trainer = {"name": names.TRAINER_CONTAINER, "state": state}
    status = {"phase": phase, "podIP": "10.0.0.1", "containerStatuses": [{"name": "helper"}, trainer]}
    await seen.after(lambda: seen.kube.edit(PODS, "p", lambda pod: pod.update(status=status)))
    assert bool(followed) is asked


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
    assert seen.world._asking.interval(uid) == 0.25
    seen.now += 10
    assert seen.world._asking.interval(uid) == 1.0, "it is stuck"
