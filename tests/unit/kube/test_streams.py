"""Watches and long answers are read whole, up to a bound."""

from __future__ import annotations

import asyncio
import json

import pytest
from fake_apiserver import BREAK, pod

from dtj_api import bounds
from dtj_operator.kube import client as module
from dtj_operator.kube import errors
from dtj_operator.kube.resources import PODS


async def test_watch_brings_long_lines_whole_and_bookmarks(server, client):
    server.kube.put(PODS, {**pod("p", namespace="default"), "spec": {"long": "x" * 200_000}})
    events = client.watch(PODS, None, version="0")
    event = await anext(events)
    assert event["object"]["spec"]["long"] == "x" * 200_000
    server.send_to_watches({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "999"}}})
    assert (await anext(events))["type"] == "BOOKMARK"
    await events.aclose()
    assert server.requests[-1].query["allowWatchBookmarks"] == "true"


async def test_a_watch_says_that_it_is_open_though_nothing_comes(server, client):
    opened = asyncio.Event()
    waits = asyncio.create_task(anext(client.watch(PODS, None, version="0", opened=opened.set)))
    async with asyncio.timeout(60):
        await opened.wait()
    assert not waits.done()
    server.send_to_watches(BREAK)
    with pytest.raises(errors.Unavailable, match="stream broke"):
        await waits


async def test_a_watch_that_is_refused_was_not_open(server, client):
    server.script = lambda request: (503, {}, {})
    with pytest.raises(errors.Unavailable):
        await anext(client.watch(PODS, None, version="0", opened=lambda: pytest.fail("it was not")))


async def test_a_line_that_is_longer_than_is_read_hides_no_other(server, client, monkeypatch, caplog):
    monkeypatch.setattr(bounds, "OBJECT_BYTES", 150_000)
    for name, size in (("before", 10), ("large", 3_000_000), ("after", 10)):
        server.kube.put(PODS, {**pod(name, namespace="default"), "spec": {"x": "x" * size}})
    events = client.watch(PODS, None, version="0")
    seen = [(await anext(events))["object"]["metadata"]["name"] for _ in range(2)]
    await events.aclose()
    assert seen == ["before", "after"]
    assert "left out" in caplog.text


async def test_after_a_line_that_cannot_be_read_a_list_is_asked_for(server, client):
    """A watch that was begun again at the same version would meet the same line, for ever."""
    server.kube.put(PODS, pod("p", namespace="default"))
    events = client.watch(PODS, None, version="0")
    await anext(events)
    server.send_to_watches(b'{"type":"MODIFIED","object":{"metadata":{"generation":' + b"9" * 5000 + b"}}}")
    with pytest.raises(errors.Gone, match="cannot be read"):
        await anext(events)


async def test_an_answer_is_read_up_to_its_bound_and_refused_above(server, client, monkeypatch):
    made = await client.create(PODS, "default", {**pod("p"), "spec": {"x": "x" * 200_000}})
    size = len(json.dumps(made))
    monkeypatch.setattr(bounds, "OBJECT_BYTES", size)
    assert await client.get(PODS, "default", "p") == made
    monkeypatch.setattr(bounds, "OBJECT_BYTES", size - 1)
    with pytest.raises(errors.TooLarge, match=f"longer than {size - 1} bytes"):
        await client.get(PODS, "default", "p")
    assert len(server.requests) == 3, "it is not asked for again"


async def test_one_object_of_any_size_that_is_stored_can_be_listed_and_watched(server, client):
    """1.5 MiB of `<` in a pod are 9 MiB of JSON: whoever may make a pod must not end the list of all."""
    text = "<" * (3 * 2**20)
    server.kube.put(PODS, {**pod("large", namespace="default"), "spec": {"x": text}})
    with pytest.raises(errors.TooLarge):
        await client.list_page(PODS, None, limit=2)
    (item,) = (await client.list_page(PODS, None, limit=1))["items"]
    events = client.watch(PODS, None, version="0")
    watched = (await anext(events))["object"]
    await events.aclose()
    for each in (item, watched, await client.get(PODS, "default", "large")):
        assert each["metadata"]["name"] == "large"
        assert bounds.UNREAD in each["spec"]


async def test_an_answer_is_asked_for_as_it_is(server, client):
    await client.list_page(PODS, None)
    assert server.requests[-1].headers["Accept-Encoding"] == "identity"


async def test_a_watch_that_falls_silent_breaks_off(server, client):
    client._watch_timeout = module.aiohttp.ClientTimeout(total=None, sock_read=0.05)
    with pytest.raises(errors.Unavailable, match="stream broke"):
        async for _ in client.watch(PODS, None, version="0"):
            pass


async def test_a_watch_from_too_far_back_is_gone(server, client):
    server.script = lambda request: (410, {"message": "too old"}, {}) if "watch" in request.query else None
    with pytest.raises(errors.Gone):
        await anext(client.watch(PODS, None, version="1"))
