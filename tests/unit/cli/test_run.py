"""What a user sees when the operator cannot start: one line that says what is wrong and how to mend it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from fake_apiserver import FakeApiServer

from dtj_operator.cli.run import StartError, check, check_page, check_place
from dtj_operator.config import Config
from dtj_operator.kube import client as module
from dtj_operator.kube import credentials
from dtj_operator.kube.client import HttpKubeClient
from dtj_operator.kube.credentials import Credentials

CASES = [
    (401, "Unauthorized", "does not accept the credentials of .*renew"),
    (403, "Forbidden", "may not list distributedtrainingjobs.dtj.dev: bind the chart's role"),
    (404, "NotFound", "install the CRD"),
]


@pytest.mark.parametrize(("code", "reason", "says"), CASES)
async def test_a_server_that_does_not_serve_us(tmp_path, monkeypatch, code, reason, says):
    monkeypatch.setattr(module, "BACKOFF", 0.001)
    server = FakeApiServer()
    await server.start()
    server.script = lambda request: (code, {"kind": "Status", "reason": reason, "message": "no"}, {})
    file = tmp_path / "kubeconfig"
    file.write_text(server.kubeconfig())
    found = await credentials.load(str(file))
    client = HttpKubeClient(found)
    try:
        with pytest.raises(StartError, match=says):
            await asyncio.wait_for(check(client, found, Config()), 30)
    finally:
        await client.close()
        await server.close()


LACKS = [
    ({}, "persistentvolumeclaims", "get", r"may not get persistentvolumeclaims: bind the chart's role"),
    ({"namespaces": ("ml", "nlp")}, "secrets", "create", "may not create secrets in ml, create secrets in nlp:"),
    ({"metrics_auth": True}, "tokenreviews", "create", "may not create tokenreviews.authentication.k8s.io"),
    ({}, "leases", "update", "may not update leases.coordination.k8s.io in default"),
]


@pytest.mark.parametrize(("settings", "resource", "verb", "says"), LACKS)
async def test_a_role_that_lacks_a_right_is_said_at_the_start(tmp_path, settings, resource, verb, says):
    server = FakeApiServer()
    await server.start()
    server.forbidden = lambda asked: (asked["resource"], asked["verb"]) == (resource, verb)
    file = tmp_path / "kubeconfig"
    file.write_text(server.kubeconfig())
    found = await credentials.load(str(file))
    client = HttpKubeClient(found)
    try:
        with pytest.raises(StartError, match=says):
            await check(client, found, Config(**settings))
        server.forbidden = lambda asked: False
        await check(client, found, Config(**settings))
    finally:
        await client.close()
        await server.close()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"metrics_auth": True}, "--metrics-auth: tokens would be sent in the clear"),
        ({"metrics_cert": Path("tls.crt")}, "one is missing; give both"),
        ({"metrics_key": Path("tls.key")}, "one is missing; give both"),
    ],
)
def test_tokens_are_asked_for_by_tls_alone(settings, says):
    with pytest.raises(StartError, match=says):
        check_page(Config(**settings))


def a_place(monkeypatch, namespace: str, *, in_cluster: bool) -> tuple[Config, Credentials]:
    monkeypatch.setenv("POD_NAMESPACE", namespace)
    return Config(), Credentials(server="https://10.0.0.1", tls=None, in_cluster=in_cluster)


def test_an_operator_in_a_pod_that_does_not_know_its_namespace_would_open_the_jobs_to_all(monkeypatch):
    with pytest.raises(StartError, match=r"POD_NAMESPACE is not set: .*fieldPath: metadata.namespace"):
        check_place(*a_place(monkeypatch, "", in_cluster=True))


@pytest.mark.parametrize(
    ("namespace", "in_cluster", "warned"),
    [("dtj-system", True, False), ("dtj-system", False, False), ("", False, True)],
)
def test_outside_a_cluster_no_policy_can_name_the_operator_and_it_says_so(
    monkeypatch, caplog, namespace, in_cluster, warned
):
    check_place(*a_place(monkeypatch, namespace, in_cluster=in_cluster))
    assert ("ports 9400 and 9401 of all workers are open to everybody" in caplog.text) is warned
