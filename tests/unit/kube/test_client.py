"""The client sends the right bytes and tells apart what can go wrong."""

from __future__ import annotations

import asyncio
import json

import pytest
from fake_apiserver import FakeApiServer
from fake_kube import Fault

from dtj_operator.kube import client as module
from dtj_operator.kube import credentials, errors
from dtj_operator.kube.client import HttpKubeClient
from dtj_operator.kube.resources import ALL, EVENTS, JOBS, LEASES, NODES, PODS, Resource, of_manifest


@pytest.fixture
async def server():
    server = FakeApiServer()
    await server.start()
    yield server
    await server.close()


@pytest.fixture
async def client(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BACKOFF", 0.001)
    file = tmp_path / "kubeconfig"
    file.write_text(server.kubeconfig())
    client = HttpKubeClient(await credentials.load(str(file)), call_timeout=5)
    yield client
    await client.close()


def pod(name: str, **metadata):
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": {}}


PATHS = [
    (PODS, ("ns", "p", None), "/api/v1/namespaces/ns/pods/p"),
    (PODS, (None, None, None), "/api/v1/pods"),
    (NODES, (None, "n", None), "/api/v1/nodes/n"),
    (LEASES, ("ns", "l", None), "/apis/coordination.k8s.io/v1/namespaces/ns/leases/l"),
    (JOBS, ("ns", "j", "status"), "/apis/dtj.dev/v1alpha1/namespaces/ns/distributedtrainingjobs/j/status"),
]


@pytest.mark.parametrize(("resource", "where", "path"), PATHS)
def test_paths(resource: Resource, where, path):
    assert resource.path(*where) == path


def test_a_namespaced_object_without_its_namespace_is_a_defect():
    with pytest.raises(ValueError, match="namespace"):
        PODS.path(None, "p")


def test_a_manifest_finds_its_resource_and_a_foreign_kind_is_refused():
    assert [of_manifest({"apiVersion": each.api_version, "kind": each.kind}) for each in ALL] == list(ALL)
    with pytest.raises(ValueError, match="Deployment"):
        of_manifest({"apiVersion": "apps/v1", "kind": "Deployment"})


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


async def test_watch_brings_long_lines_whole_and_bookmarks(server, client):
    server.kube.put(PODS, pod("p", namespace="default", annotations={"long": "x" * 300_000}))
    events = client.watch(PODS, None, version="0")
    event = await anext(events)
    assert event["object"]["metadata"]["annotations"]["long"] == "x" * 300_000
    server.send_to_watches({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "999"}}})
    assert (await anext(events))["type"] == "BOOKMARK"
    await events.aclose()
    assert server.requests[-1].query["allowWatchBookmarks"] == "true"


async def test_a_watch_that_falls_silent_breaks_off(server, client):
    client._watch_timeout = module.aiohttp.ClientTimeout(total=None, sock_read=0.05)
    with pytest.raises(errors.Unavailable, match="stream broke"):
        async for _ in client.watch(PODS, None, version="0"):
            pass


async def test_a_watch_from_too_far_back_is_gone(server, client):
    server.script = lambda request: (410, {"message": "too old"}, {}) if "watch" in request.query else None
    with pytest.raises(errors.Gone):
        await anext(client.watch(PODS, None, version="1"))


async def test_a_token_that_was_renewed_in_the_file_is_taken_up_after_a_rejection(server, tmp_path):
    server.token = "old"
    file = tmp_path / "kubeconfig"
    file.write_text(server.kubeconfig())
    client = HttpKubeClient(await credentials.load(str(file)))
    server.token = "new"
    file.write_text(server.kubeconfig())
    await client.list_page(PODS, None)
    server.token = "newer"
    with pytest.raises(errors.Unauthorized):
        await client.list_page(PODS, None)
    await client.close()


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


BAD_KUBECONFIGS = [
    ("missing", None, "no such file"),
    ("not-yaml", "{", "cannot be used"),
    ("no-context", json.dumps({"contexts": [], "clusters": [], "users": [], "current-context": "x"}), "cannot be used"),
]


@pytest.mark.parametrize(("name", "text", "says"), BAD_KUBECONFIGS)
async def test_a_kubeconfig_that_cannot_be_used_is_named(tmp_path, name, text, says):
    file = tmp_path / name
    if text is not None:
        file.write_text(text)
    with pytest.raises(credentials.CredentialsError, match=says) as caught:
        await credentials.load(str(file))
    assert str(file) in str(caught.value)


async def test_without_a_service_account_in_a_pod_the_error_says_so(monkeypatch):
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    with pytest.raises(credentials.CredentialsError, match="service account"):
        await credentials.load()
