"""The reflector's copy is the server's truth, whatever the watch goes through."""

from __future__ import annotations

import asyncio
import copy
import random
import weakref
from dataclasses import dataclass

import pytest
from api_faults import Fault
from fake_kube import FakeKube
from watched import Watched, pod

from dtj_operator.kube import errors
from dtj_operator.kube.client import WATCH_SILENCE
from dtj_operator.kube.resources import JOBS, PODS
from dtj_operator.observe import reflector as module
from dtj_operator.observe.reflector import Reflector

pytestmark = pytest.mark.usefixtures("quick_backoff")


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


EVENT = {"type": "MODIFIED", "object": pod("p")}
FAILED = {"type": "ERROR", "object": {"kind": "Status", "code": 500, "message": "etcdserver: leader changed"}}


@dataclass
class Stream:
    """A watch that breaks again and again, each time in the same way."""

    opens: bool = True
    """The server answers at all."""
    seconds: float = 0.0
    """How long it lasts."""
    brings: tuple[dict, ...] = ()
    now: float = 0.0

    async def watch(self, *_, opened, **__):
        if self.opens:
            opened()
        self.now += self.seconds
        for event in self.brings:
            yield copy.deepcopy(event)
        raise errors.Unavailable("WATCH", "stream broke", code=0)

    def monotonic(self) -> float:
        return self.now


async def pauses_after(stream, monkeypatch, turns=8):
    """How long each of its first ends makes the reflector blind."""
    kube = FakeKube()
    kube.put(PODS, pod("p"))
    kube.watch = stream.watch
    pauses: list[float] = []
    enough = asyncio.Event()
    sleep = asyncio.sleep

    async def pause(seconds: float) -> None:
        await sleep(0)
        if seconds:
            pauses.append(seconds)
        if len(pauses) == turns:
            enough.set()

    monkeypatch.setattr(module.asyncio, "sleep", pause)
    monkeypatch.setattr(module.random, "uniform", lambda low, high: high)
    monkeypatch.setattr(module, "time", stream)
    monkeypatch.setattr(module, "BACKOFF", 0.5)
    reflector = Reflector(kube, PODS, trim=lambda item: item["metadata"], on_change=lambda change: None)
    task = asyncio.create_task(reflector.run())
    async with asyncio.timeout(60):
        await enough.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return pauses[:turns]


@pytest.mark.parametrize(
    "stream",
    [
        Stream(brings=(EVENT,)),
        Stream(seconds=20),
        Stream(seconds=50, brings=(FAILED,)),
        Stream(seconds=75),
    ],
    ids=["brings one event", "silent for 20 s", "silent until the server fails", "silent for too long"],
)
async def test_streams_that_are_cut_again_and_again_are_begun_anew_as_soon_as_the_first_time(stream, monkeypatch):
    """A proxy cuts what is quiet for half a minute: the third blindness is as short as the first."""
    assert set(await pauses_after(stream, monkeypatch)) == {module.BACKOFF}


@pytest.mark.parametrize(
    "stream",
    [Stream(), Stream(opens=False), Stream(opens=False, seconds=30), Stream(brings=(FAILED,))],
    ids=["broken at once", "refused", "never answered", "failed at once"],
)
async def test_streams_that_bring_nothing_are_begun_anew_ever_later(stream, monkeypatch):
    assert await pauses_after(stream, monkeypatch) == [0.5, 1, 2, 4, 8, 16, 20, 20]


async def test_a_list_is_trimmed_object_by_object():
    """A thousand whole pods at once are thirty megabytes; of each a few hundred bytes are kept."""
    kube = FakeKube()
    for i in range(250):
        kube.put(PODS, pod(f"p{i}"))
    alive: weakref.WeakSet[Whole] = weakref.WeakSet()
    most: list[int] = []
    list_page = kube.list_page

    class Whole(dict):
        """A dict that can be counted."""

        __hash__ = object.__hash__

    async def pages(*args, **more):
        page = await list_page(*args, **more)
        items = page.pop("items")

        def one_by_one():
            while items:
                whole = Whole(items.pop())
                alive.add(whole)
                most.append(len(alive))
                yield whole
                del whole

        return {**page, "items": one_by_one()}

    kube.list_page = pages
    async with Watched(kube) as watched:
        assert len(watched.names()) == 250
    assert max(most) <= 2
    assert {call.verb for call in kube.calls} == {"list", "watch"}
    assert [call.verb for call in kube.calls].count("list") == 3, "a hundred at a time"


async def test_a_page_that_is_too_large_is_asked_for_in_smaller_ones():
    kube = FakeKube()
    for i in range(23):
        kube.put(PODS, pod(f"p{i:02}"))
    list_page, limits = kube.list_page, []

    async def pages(*args, limit, **more):
        limits.append(limit)
        if limit > 5:
            raise errors.TooLarge("LIST", "the answer is longer than 8388608 bytes")
        return await list_page(*args, limit=limit, **more)

    kube.list_page = pages
    async with Watched(kube, page=20) as watched:
        assert watched.names() == [f"p{i:02}" for i in range(23)]
    assert limits == [20, 10, 5, 5, 5, 5, 5]


async def test_the_server_selects_by_labels_and_the_copy_drops_what_leaves_the_selection():
    kube = FakeKube()
    kube.put(PODS, pod("mine", app="dtj"))
    kube.put(PODS, pod("other", app="web"))
    async with Watched(kube, labels="app=dtj") as watched:
        assert watched.names() == ["mine"]


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
