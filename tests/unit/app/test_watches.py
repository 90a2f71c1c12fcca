"""How old is what the watches brought, and lists made anew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from fake_kube import FakeKube
from operator_process import a_job, until
from plan_jobs import NAME, NAMESPACE

from dtj_operator.act.progress import ProgressShare
from dtj_operator.kube.resources import JOBS, PODS
from dtj_operator.observe.world import World
from dtj_operator.reconcile import Reconciler, Unfinished
from dtj_operator.watches import STALE_SECONDS, PartEnded, Watches


class Cluster:
    def __init__(self, kube: FakeKube) -> None:
        self.kube = kube
        self.woken: list[tuple[str, str]] = []
        self.world = World(self.kube, namespaces=(), wake=self.woken.append)
        self.ahead = 0.0
        self.watches = Watches(self.world.reflectors, lambda: asyncio.get_running_loop().time() + self.ahead)
        self.task = asyncio.create_task(self.watches.run())

    async def end(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.world.reports.close()

    def put_job(self, name: str = "ner") -> Any:
        job = a_job(name, 1)
        job["metadata"]["namespace"] = "default"
        return self.kube.put(JOBS, job)


async def becomes(true: Callable[[], bool]) -> None:
    async def now() -> bool:
        return true()

    await until(now, patience=60, pause=0)


@pytest.fixture
async def cluster():
    cluster = Cluster(FakeKube(bookmark_seconds=0.01))
    await asyncio.wait_for(cluster.world.wait_synced(), 60)
    yield cluster
    await cluster.end()


async def test_a_list_asks_for_so_many_objects_at_once():
    """Of jobs for few: one may be a megabyte."""
    asked: dict[str, list[int]] = {}

    class Counted(FakeKube):
        async def list_page(self, resource: Any, namespace: Any, *, limit: int = 0, **more: Any) -> Any:
            page = await super().list_page(resource, namespace, limit=limit, **more)
            asked.setdefault(resource.plural, []).append(limit)
            assert len(page["items"]) <= limit
            return page

    cluster = Cluster(Counted())
    for number in range(41):
        cluster.put_job(f"ner-{number}")
    for number in range(201):
        labels = {"dtj.dev/job-uid": "u"}
        cluster.kube.put(PODS, {"metadata": {"name": f"p-{number}", "namespace": "default", "labels": labels}})
    async with asyncio.timeout(60):
        await cluster.world.wait_synced()
    await cluster.end()
    assert asked == {
        "distributedtrainingjobs": [20, 20, 20],
        "pods": [100, 100, 100],
        "nodes": [100],
        "services": [100],
        "networkpolicies": [100],
    }


async def test_a_watch_that_brings_nothing_for_long_is_named(cluster):
    assert cluster.watches.stale() == ""
    # The loop stands still from here on: nothing arrives.
    cluster.ahead = STALE_SECONDS + 1
    assert "the watch of nodes has brought nothing for 181 s" in cluster.watches.stale()
    assert "nodes" not in cluster.watches.stale(JOBS.plural, PODS.plural)
    assert "the watch of pods" in cluster.watches.stale(JOBS.plural, PODS.plural)


async def test_a_bookmark_is_enough_to_be_fresh(cluster):
    before = cluster.world.nodes.reflectors[0].last_event
    await becomes(lambda: cluster.world.nodes.reflectors[0].last_event != before)


async def test_lists_made_anew_bring_what_a_deaf_watch_missed(cluster):
    """The watch of pods tells nothing any more, as behind a broken proxy: a list tells what is."""
    cluster.put_job()
    pod = {"metadata": {"name": "p", "namespace": "default", "labels": {"dtj.dev/job-uid": "u"}}, "spec": {}}
    cluster.kube.put(PODS, pod)
    await becomes(lambda: len(cluster.world.pods.all_keys()) == 1)
    cluster.kube._history.clear()
    cluster.kube._objects.pop((PODS, "default", "p"))
    await asyncio.sleep(0)
    assert len(cluster.world.pods.all_keys()) == 1
    await asyncio.wait_for(cluster.watches.renew(), 60)
    assert len(cluster.world.pods.all_keys()) == 0


async def test_a_watch_that_ends_by_a_defect_ends_the_process(cluster):
    def broken(item: Any) -> Any:
        raise ValueError("a defect")

    cluster.world.services.reflectors[0]._list = broken  # type: ignore[method-assign]
    await asyncio.wait_for(cluster.watches._stop(), 60)
    cluster.world.services.reflectors[0].expire()
    cluster.watches._start()
    with pytest.raises(PartEnded, match="watch of services ended"):
        await asyncio.wait_for(cluster.task, 60)


async def test_nothing_is_planned_on_what_is_too_old():
    world: Any = SimpleNamespace()
    reconciler = Reconciler(world, world, ProgressShare(), stale=lambda: "the watch of pods has brought nothing")
    with pytest.raises(Unfinished, match="nothing is planned") as raised:
        await reconciler.reconcile((NAMESPACE, NAME))
    assert raised.value.requeue_after == 10


async def test_what_another_ear_hears_is_taken_only_if_it_is_newer(cluster):
    old = cluster.put_job()
    await becomes(lambda: cluster.world.jobs.get("default", "ner") is not None)
    new = cluster.kube.edit(JOBS, "ner", lambda item: item["spec"].update(suspend=True))
    cluster.world.heard("MODIFIED", new)
    assert cluster.world.jobs.get("default", "ner").spec.suspend is True
    cluster.woken.clear()
    cluster.world.heard("MODIFIED", old)
    assert cluster.world.jobs.get("default", "ner").spec.suspend is True
    assert cluster.woken == [("default", "ner")], "the job is looked at all the same"


async def test_that_a_job_is_gone_is_believed_of_our_own_watch_alone(cluster):
    job = cluster.put_job()
    await becomes(lambda: cluster.world.jobs.get("default", "ner") is not None)
    cluster.world.heard("DELETED", job)
    assert cluster.world.jobs.get("default", "ner") is not None
    cluster.kube.remove(JOBS, "ner")
    await becomes(lambda: cluster.world.jobs.get("default", "ner") is None)
    cluster.world.heard("MODIFIED", job)
    assert cluster.world.jobs.get("default", "ner") is None, "what our own watch saw go does not come back"
