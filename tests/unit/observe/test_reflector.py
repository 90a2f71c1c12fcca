"""The reflector's copy is the server's truth, whatever the watch goes through."""

from __future__ import annotations

import asyncio
import random

import pytest
from fake_kube import FakeKube, Fault

from dtj_operator.kube import errors
from dtj_operator.kube.client import WATCH_SILENCE
from dtj_operator.kube.resources import JOBS, PODS
from dtj_operator.observe import reflector as module
from dtj_operator.observe.reflector import Reflector


def pod(name: str, owner: str = "", **labels: str):
    metadata: dict = {"name": name, "namespace": "default", "labels": labels}
    if owner:
        metadata["ownerReferences"] = [{"uid": owner, "controller": True, "kind": "X", "name": "x", "apiVersion": "v1"}]
    return {"metadata": metadata, "spec": {}}


class Watched:
    """A reflector that runs, with all the changes it announced."""

    def __init__(self, kube: FakeKube, **more):
        self.changes: list = []
        self.news = asyncio.Event()
        self.reflector = Reflector(
            kube, PODS, trim=lambda item: item["metadata"]["name"], on_change=self._changed, **more
        )

    def _changed(self, change):
        self.changes.append((change.type, change.key[1]))
        self.news.set()

    async def __aenter__(self):
        self.task = asyncio.create_task(self.reflector.run())
        await asyncio.wait_for(self.reflector.synced.wait(), 30)
        return self

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def until(self, condition):
        async with asyncio.timeout(60):
            while not condition():
                self.news.clear()
                await self.news.wait()

    def names(self):
        return sorted(self.reflector.values())


@pytest.fixture(autouse=True)
def quick_backoff(monkeypatch):
    monkeypatch.setattr(module, "BACKOFF", 0.001)


async def test_it_lists_in_pages_and_follows_changes():
    kube = FakeKube(page_size=2)
    for i in range(5):
        kube.put(PODS, pod(f"p{i}"))
    async with Watched(kube) as watched:
        assert watched.names() == [f"p{i}" for i in range(5)]
        kube.put(PODS, pod("p5"))
        kube.remove(PODS, "p0")
        await watched.until(lambda: watched.names() == [f"p{i}" for i in range(1, 6)])
    assert [call.verb for call in kube.calls].count("list") == 3


async def test_an_object_that_vanished_while_the_watch_was_expired_is_announced_as_deleted():
    """Trap of kopf's index: after 410 Gone the relist has no event for what vanished in the gap."""
    kube = FakeKube()
    for name in ("stays", "vanishes"):
        kube.put(PODS, pod(name))
    async with Watched(kube) as watched:
        kube.cut_watches()
        kube.remove(PODS, "vanishes")
        kube.put(PODS, pod("new"))
        kube.compact()
        await watched.until(lambda: watched.names() == ["new", "stays"])
        assert ("DELETED", "vanishes") in watched.changes
        assert watched.changes.count(("ADDED", "stays")) == 1, "a survivor that did not change is not announced again"


async def test_an_object_made_anew_under_the_same_name_during_the_gap_is_a_deletion_and_an_addition():
    kube = FakeKube()
    kube.put(PODS, pod("p"))
    async with Watched(kube) as watched:
        kube.cut_watches()
        kube.remove(PODS, "p")
        kube.put(PODS, pod("p"))
        kube.compact()
        await watched.until(lambda: len(watched.changes) == 3)
        assert watched.changes == [("ADDED", "p"), ("DELETED", "p"), ("ADDED", "p")]


async def test_an_open_watch_that_expires_relists():
    kube = FakeKube()
    kube.put(PODS, pod("p"))
    async with Watched(kube) as watched:
        kube.put(PODS, pod("q"))
        kube.compact()
        await watched.until(lambda: watched.names() == ["p", "q"])
        assert [call.verb for call in kube.calls].count("list") == 2


async def test_a_cut_watch_goes_on_from_where_it_was_without_listing():
    kube = FakeKube()
    kube.put(PODS, pod("p"))
    async with Watched(kube) as watched:
        kube.cut_watches()
        kube.put(PODS, pod("q"))
        await watched.until(lambda: watched.names() == ["p", "q"])
        assert [call.verb for call in kube.calls].count("list") == 1


@pytest.mark.parametrize("error", [errors.Unavailable("LIST", "boom"), errors.Forbidden("LIST", "not yet")])
async def test_it_waits_out_a_server_that_does_not_answer(error):
    left = iter([Fault(error), Fault(error)])
    kube = FakeKube(fault_of=lambda call: next(left, None))
    kube.put(PODS, pod("p"))
    async with Watched(kube) as watched:
        assert watched.names() == ["p"]


async def test_the_server_selects_by_labels_and_the_copy_drops_what_leaves_the_selection():
    kube = FakeKube()
    kube.put(PODS, pod("mine", app="dtj"))
    kube.put(PODS, pod("other", app="web"))
    async with Watched(kube, labels="app=dtj") as watched:
        assert watched.names() == ["mine"]


async def test_children_are_found_by_the_uid_of_their_controller():
    kube = FakeKube()
    kube.put(PODS, pod("a", owner="job-1"))
    kube.put(PODS, pod("b", owner="job-2"))
    async with Watched(kube) as watched:
        assert watched.reflector.owned_by("job-1") == ["a"]
        kube.edit(PODS, "a", lambda item: item["metadata"]["ownerReferences"][0].update(uid="job-2"))
        await watched.until(lambda: ("MODIFIED", "a") in watched.changes)
        assert watched.reflector.owned_by("job-1") == []
        assert sorted(watched.reflector.owned_by("job-2")) == ["a", "b"]
        kube.remove(PODS, "a")
        await watched.until(lambda: ("DELETED", "a") in watched.changes)
        assert watched.reflector.owned_by("job-2") == ["b"]


async def test_an_event_older_than_what_is_known_changes_nothing():
    kube = FakeKube()
    old = kube.put(PODS, pod("p", step="1"))
    kube.put(PODS, pod("p", step="2"))
    async with Watched(kube) as watched:
        watched.reflector._apply("MODIFIED", old)
        assert watched.changes == [("ADDED", "p")]


async def test_our_own_write_is_learnt_at_once_and_announced_once():
    kube = FakeKube()
    kube.put(PODS, pod("p"))
    async with Watched(kube) as watched:
        written = kube.put(PODS, pod("p", step="2"))
        watched.reflector.learn(written)
        assert watched.changes == [("ADDED", "p"), ("MODIFIED", "p")]
        kube.put(PODS, pod("q"))
        await watched.until(lambda: ("ADDED", "q") in watched.changes)
        assert watched.changes == [("ADDED", "p"), ("MODIFIED", "p"), ("ADDED", "q")]


async def test_an_answer_that_comes_after_the_deletion_raises_nobody_from_the_dead():
    kube = FakeKube()
    kube.put(PODS, pod("p"))
    async with Watched(kube) as watched:
        answer = kube.put(PODS, pod("p", step="2"))
        kube.remove(PODS, "p")
        await watched.until(lambda: ("DELETED", "p") in watched.changes)
        watched.reflector.learn(answer)
        assert watched.names() == []


async def test_a_silent_stream_is_given_up_before_a_minute_and_a_half():
    """A load balancer may drop a connection and tell nobody; bookmarks come once a minute."""
    assert 60 < WATCH_SILENCE <= 90


@pytest.mark.parametrize("seed", range(8))
async def test_after_any_history_the_copy_equals_the_server(seed):
    chance = random.Random(seed)
    kube = FakeKube(page_size=3)
    async with Watched(kube) as watched:
        for _ in range(120):
            name = f"p{chance.randrange(6)}"
            match chance.choice(["put", "put", "remove", "cut", "compact", "yield"]):
                case "put":
                    kube.put(PODS, pod(name, v=str(chance.random())))
                case "remove" if any(item["metadata"]["name"] == name for item in kube.all(PODS)):
                    kube.remove(PODS, name)
                case "cut":
                    kube.cut_watches()
                case "compact":
                    kube.compact()
                case "yield":
                    await asyncio.sleep(0)
        kube.put(PODS, pod("last"))
        await watched.until(lambda: "last" in watched.names())
        assert watched.names() == [item["metadata"]["name"] for item in kube.all(PODS)]
        balance: dict[str, int] = {}
        for kind, name in watched.changes:
            balance[name] = balance.get(name, 0) + {"ADDED": 1, "DELETED": -1, "MODIFIED": 0}[kind]
        assert {name for name, count in balance.items() if count} == set(watched.names())
        assert set(balance.values()) <= {0, 1}


async def test_jobs_of_other_namespaces_are_left_out():
    kube = FakeKube()
    kube.put(JOBS, {"metadata": {"name": "a", "namespace": "one"}})
    kube.put(JOBS, {"metadata": {"name": "b", "namespace": "two"}})
    seen = Reflector(kube, JOBS, trim=lambda item: item["metadata"]["name"], on_change=lambda _: None, namespace="one")
    task = asyncio.create_task(seen.run())
    await asyncio.wait_for(seen.synced.wait(), 30)
    task.cancel()
    assert list(seen.values()) == ["a"]
