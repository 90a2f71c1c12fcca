"""What the copy takes over, from whom, and what it finds by."""

from __future__ import annotations

from fake_kube import FakeKube
from watched import Watched, pod

from dtj_operator.kube.resources import PODS


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
