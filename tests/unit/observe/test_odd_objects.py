"""An object that cannot be read hides no other, and ends nothing."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from fake_kube import FakeKube
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from watched import Watched, pod

from dtj_operator.kube.resources import PODS, SERVICES
from dtj_operator.observe.records import job_record, node_view, pod_view, presence
from dtj_operator.observe.reflector import Reflector

pytestmark = pytest.mark.usefixtures("quick_backoff")


def picky(item):
    """Fails for what it does not understand, in a way that nobody foresaw."""
    if item["metadata"]["labels"].get("evil"):
        raise RecursionError("maximum recursion depth exceeded")
    return item["metadata"]["name"], dict(item["metadata"]["labels"])


async def test_an_object_that_cannot_be_read_hides_no_other_and_is_left_as_it_was():
    kube = FakeKube()
    kube.put(PODS, pod("evil from the start", evil="1"))
    kube.put(PODS, pod("changes", step="1"))
    async with Watched(kube) as watched:
        watched.reflector._trim = picky
        watched.reflector._version, watched.reflector._store = "", {}
        kube.compact()
        kube.cut_watches()
        await watched.until(lambda: ("changes", {"step": "1"}) in list(watched.reflector.values()))
        kube.put(PODS, pod("changes", evil="1"))
        kube.put(PODS, pod("honest"))
        await watched.until(lambda: ("ADDED", "honest") in watched.changes)
        assert sorted(watched.reflector.values()) == [("changes", {"step": "1"}), ("honest", {})]
        kube.put(PODS, pod("changes", step="3"))
        await watched.until(lambda: ("changes", {"step": "3"}) in list(watched.reflector.values()))
        kube.put(PODS, pod("changes", evil="1"))
        kube.remove(PODS, "changes")
        await watched.until(lambda: ("DELETED", "changes") in watched.changes)


ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=15,
)
METADATA = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "labels",
    "ownerReferences",
)
PARTS = {
    "spec": ("workers", "managedBy", "nodeName", "containers"),
    "status": ("phase", "conditions", "podIP", "containerStatuses", "initContainerStatuses", "message", "restarts"),
}


def odd_object():
    known = {
        name: st.fixed_dictionaries({}, optional=dict.fromkeys(fields, ODD)) | ODD for name, fields in PARTS.items()
    }
    metadata = st.fixed_dictionaries({}, optional=dict.fromkeys(METADATA, ODD)) | ODD
    identified = st.fixed_dictionaries(
        {"name": st.just("n"), "namespace": st.just("ns"), "uid": st.just("u"), "resourceVersion": st.just("500")},
        optional=dict.fromkeys(METADATA[4:], ODD),
    )
    return st.fixed_dictionaries({}, optional={"metadata": metadata | identified, **known}) | ODD


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    odd_object(),
    st.sampled_from(["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR", "?"]),
    st.sampled_from([job_record, pod_view, node_view, partial(presence, PODS), partial(presence, SERVICES)]),
)
async def test_no_json_object_makes_it_end(item, kind, trim):
    """Neither in a list nor in a watch, whatever kind of object it takes it for."""
    honest = pod("honest")
    honest["metadata"] |= {"uid": "h", "resourceVersion": "600", "creationTimestamp": "2026-01-01T00:00:00Z"}
    turns = asyncio.Queue()

    class Server(FakeKube):
        async def list_page(self, *_, **__):
            return {"metadata": {"resourceVersion": "400"}, "items": [item, honest]}

        async def watch(self, *_, **__):
            turns.put_nowait(None)
            await asyncio.Event().wait() if turns.qsize() > 2 else await asyncio.sleep(0)
            yield {"type": kind, "object": item if isinstance(item, dict) else {}}
            yield {"type": "DELETED", "object": honest}

    seen = Reflector(Server(), PODS, trim=trim, on_change=lambda change: None)
    task = asyncio.create_task(seen.run())
    for _ in range(300):
        await asyncio.sleep(0.001)
        if turns.qsize() > 2 or task.done():
            break
    assert not task.done(), task.exception()
    assert seen.synced.is_set()
    assert ("default", "honest") not in seen.all_keys() or kind == "ERROR"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
