"""The client sends the right bytes and tells apart what can go wrong."""

from __future__ import annotations

import asyncio

import pytest
from api_faults import Fault
from fake_apiserver import pod

from dtj_operator.kube import client as module
from dtj_operator.kube import errors
from dtj_operator.kube.resources import EVENTS, PODS


async def test_create_get_replace_status_and_delete(server, client):
    made = await client.create(PODS, "default", pod("p"))
    assert (await client.get(PODS, "default", "p")) == made
    made["status"] = {"phase": "Running"}
    changed = await client.replace(PODS, "default", "p", made, subresource="status")
    assert changed["status"] == {"phase": "Running"}
    with pytest.raises(errors.Conflict):
        await client.replace(PODS, "default", "p", made, subresource="status")
    with pytest.raises(errors.Conflict):
        await client.delete(PODS, "default", "p", uid="another")
    await client.delete(PODS, "default", "p", uid=made["metadata"]["uid"], grace_seconds=0)
    with pytest.raises(errors.NotFound):
        await client.get(PODS, "default", "p")


async def test_a_dry_run_stores_nothing(server, client):
    await client.create(PODS, "default", pod("p"), dry_run=True)
    assert server.kube.all(PODS) == []
    assert server.requests[-1].query["dryRun"] == "All"


async def test_an_object_that_is_there_is_told_from_a_conflict(client):
    await client.create(PODS, "default", pod("p"))
    with pytest.raises(errors.AlreadyExists):
        await client.create(PODS, "default", pod("p"))


ANSWERS = [
    (400, errors.BadRequest, False),
    (403, errors.Forbidden, False),
    (404, errors.NotFound, False),
    (409, errors.Conflict, False),
    (410, errors.Gone, False),
    (422, errors.Invalid, False),
]


@pytest.mark.parametrize(("code", "kind", "landed"), ANSWERS)
async def test_errors_by_type_are_not_tried_again(server, client, code, kind, landed):
    server.script = lambda request: (code, {"message": "because"}, {})
    with pytest.raises(kind, match="because") as caught:
        await client.create(PODS, "default", pod("p"))
    assert caught.value.may_have_landed is landed
    assert len(server.requests) == 1


async def test_a_namespace_that_is_being_deleted_is_told_from_what_is_not_allowed(server, client):
    causes = [{"reason": "NamespaceTerminating", "message": "namespace x is being terminated", "field": "metadata"}]
    server.script = lambda request: (403, {"message": "because", "details": {"causes": causes}}, {})
    with pytest.raises(errors.NamespaceGoing, match="because"):
        await client.create(PODS, "default", pod("p"))
    for odd in (None, {}, {"causes": None}, {"causes": ["?"]}):
        server.script = lambda request, odd=odd: (403, {"message": "because", "details": odd}, {})
        with pytest.raises(errors.Forbidden) as caught:
            await client.create(PODS, "default", pod("p"))
        assert type(caught.value) is errors.Forbidden


@pytest.mark.parametrize("code", [429, 500, 502, 503, 504])
async def test_passing_errors_are_tried_again_and_given_up_at_last(server, client, code):
    server.script = lambda request: (code, {"message": "busy"}, {})
    with pytest.raises(errors.KubeError, match="busy") as caught:
        await client.create(PODS, "default", pod("p"))
    assert len(server.requests) == module.ATTEMPTS
    assert caught.value.may_have_landed is (code >= 500)


async def test_a_passing_error_that_passes_is_not_seen(server, client):
    answers = iter([(503, {}, {}), (429, {}, {"Retry-After": "0"})])
    server.script = lambda request: next(answers, None)
    assert (await client.create(PODS, "default", pod("p")))["metadata"]["name"] == "p"


async def test_the_pause_that_the_server_asks_for_is_kept(server, client, monkeypatch):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    answers = iter([(429, {}, {"Retry-After": "7"})])
    server.script = lambda request: next(answers, None)
    monkeypatch.setattr(module.asyncio, "sleep", sleep)
    await client.create(PODS, "default", pod("p"))
    assert max(slept) == 7


async def test_a_create_that_landed_behind_an_error_comes_back_as_already_exists(server, client):
    once = iter([Fault(errors.Unavailable("POST", "timed out", code=504), landed=True)])
    server.kube.fault_of = lambda call: next(once, None) if call.verb == "create" else None
    with pytest.raises(errors.AlreadyExists):
        await client.create(PODS, "default", pod("p"))
    assert len(server.kube.all(PODS)) == 1


async def test_no_answer_in_time_is_unavailable(server, client, monkeypatch):
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    client._timeout = module.aiohttp.ClientTimeout(total=0.05)
    hang = asyncio.Event()

    async def wait(*_, **__):
        await hang.wait()

    server.kube.get = wait
    with pytest.raises(errors.Unavailable, match="no answer"):
        await client.get(PODS, "default", "p")
    hang.set()


async def test_nobody_listening_is_unavailable(server, client, monkeypatch):
    monkeypatch.setattr(module, "ATTEMPTS", 1)
    await server.close()
    with pytest.raises(errors.Unavailable):
        await client.get(PODS, "default", "p")


async def test_every_answer_is_observed(server, client):
    seen = []
    client._observer = lambda verb, code, seconds: seen.append((verb, code))
    await client.create(PODS, "default", pod("p"))
    with pytest.raises(errors.NotFound):
        await client.get(PODS, "default", "q")
    assert seen == [("POST", 201), ("GET", 404)]


async def test_writes_name_the_field_manager(server, client):
    await client.create(EVENTS, "default", {"metadata": {"name": "e"}})
    assert server.requests[-1].query["fieldManager"] == "dtj-operator"
