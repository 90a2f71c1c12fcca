"""Where credentials come from, and what is said of those that cannot be used."""

from __future__ import annotations

import asyncio
import json
import tempfile

import pytest
from fake_apiserver import pod

from dtj_cluster.pki import Authority, Subject
from dtj_operator.kube import credentials, errors
from dtj_operator.kube.client import HttpKubeClient
from dtj_operator.kube.resources import PODS


async def test_credentials_that_fail_for_a_while_are_waited_out(server, client, monkeypatch):
    left = [credentials.CredentialsError("the plugin failed")] * 2

    async def refresh(*, rejected: bool = False) -> None:
        if left:
            raise left.pop()

    monkeypatch.setattr(client.credentials, "refresh", refresh)
    await client.create(PODS, "default", pod("p"))
    left += [credentials.CredentialsError("the plugin failed")] * 9
    with pytest.raises(errors.NoCredentials, match="the plugin failed"):
        await client.get(PODS, "default", "p")
    with pytest.raises(errors.NoCredentials):
        await anext(client.watch(PODS, None, version="0"))


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


async def test_no_key_that_a_kubeconfig_holds_is_left_on_disk(tmp_path, monkeypatch):
    """A process that is killed removes nothing."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    authority = Authority(tmp_path / "pki")
    authority.create()
    authority.issue("client", Subject("client"))
    authority.kubeconfig("client", "https://127.0.0.1:1", tmp_path / "kubeconfig")
    first, second = await asyncio.gather(*(credentials.load(str(tmp_path / "kubeconfig")) for _ in range(2)))
    assert list(folder.iterdir()) == []
    assert first.tls is not None
    assert first.tls_digest == second.tls_digest
    await second.refresh(rejected=True)
    assert list(folder.iterdir()) == []
