"""Certificates that are changed while the operator runs: a kubeconfig is read again, and what is new is used."""

from __future__ import annotations

import ssl

import pytest
from aiohttp import web

from dtj_cluster.pki import Authority, Subject
from dtj_operator import kopf_watch
from dtj_operator.kube import client as module
from dtj_operator.kube import credentials
from dtj_operator.kube.client import HttpKubeClient
from dtj_operator.kube.resources import PODS


class Server:
    """An API server with an empty list, which knows one client by its certificate."""

    def __init__(self, folder) -> None:
        self._folder = folder
        self._runner: web.AppRunner | None = None
        self.port = 0
        self.served = 0

    def authority(self, name: str) -> Authority:
        made = Authority(self._folder / name)
        made.create()
        made.issue("server", Subject("server", names=["127.0.0.1"]))
        made.issue("client", Subject("client"))
        made.issue("client-renewed", Subject("client"))
        return made

    async def start(self, authority: Authority, name: str) -> None:
        """Serve, at the port of before; all but who has the certificate of this name are nobody."""
        await self.close()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(authority.file("server", "crt"), authority.file("server", "key"))
        # As the real one does: it asks for a certificate, and answers 401 to one that it does not take.
        context.load_verify_locations(authority.certificate)
        context.verify_mode = ssl.CERT_OPTIONAL
        trusted = authority.file(name, "crt").read_text()
        app = web.Application()

        async def answer(request: web.Request) -> web.Response:
            assert request.transport is not None
            shown = request.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
            if shown is None or ssl.DER_cert_to_PEM_cert(shown).strip() != trusted.strip():
                return web.json_response({"message": "Unauthorized"}, status=401)
            self.served += 1
            return web.json_response({"metadata": {"resourceVersion": "1"}, "items": []})

        app.router.add_get("/{path:.*}", answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=context, reuse_address=True).start()
        self.port = int(self._runner.addresses[0][1])

    async def close(self) -> None:
        if self._runner:
            await self._runner.cleanup()


@pytest.fixture
async def server(tmp_path):
    server = Server(tmp_path)
    yield server
    await server.close()


@pytest.fixture
async def rotated(server, tmp_path, monkeypatch):
    """A client that has been served under the old certificates, and what writes the new ones for it."""
    monkeypatch.setattr(module, "BACKOFF", 0.001)
    old, new = server.authority("old"), server.authority("new")
    await server.start(old, "client")
    file = tmp_path / "kubeconfig"
    old.kubeconfig("client", f"https://127.0.0.1:{server.port}", file)
    client = HttpKubeClient(await credentials.load(str(file)), call_timeout=5)
    await client.list_page(PODS, None)
    yield client, old, new, file
    await client.close()


async def test_a_new_client_certificate_is_used_after_the_old_one_was_rejected(server, rotated):
    client, old, _, file = rotated
    await server.start(old, "client-renewed")
    old.kubeconfig("client-renewed", f"https://127.0.0.1:{server.port}", file)
    await client.list_page(PODS, None)
    assert server.served == 2


async def test_a_new_authority_is_trusted_after_the_old_one_failed(server, rotated):
    client, _, new, file = rotated
    await server.start(new, "client")
    new.kubeconfig("client", f"https://127.0.0.1:{server.port}", file)
    await client.list_page(PODS, None)
    assert server.served == 2


async def test_a_watch_that_meets_a_new_authority_works_the_next_time(server, rotated):
    client, _, new, file = rotated
    await server.start(new, "client")
    new.kubeconfig("client", f"https://127.0.0.1:{server.port}", file)
    with pytest.raises(module.errors.Unavailable):
        await anext(client.watch(PODS, None, version="1"))
    assert [event async for event in client.watch(PODS, None, version="1")] == []
    assert server.served == 2


async def test_a_file_that_cannot_be_read_in_that_moment_is_read_the_next_time(server, rotated):
    client, _, new, file = rotated
    await server.start(new, "client")
    file.write_text("{")
    with pytest.raises(module.errors.Unavailable):
        await client.list_page(PODS, None)
    new.kubeconfig("client", f"https://127.0.0.1:{server.port}", file)
    await client.list_page(PODS, None)


async def test_kopf_shows_the_same_certificate(server, rotated):
    client, *_ = rotated
    url = f"{client.credentials.server}/jobs"
    async with kopf_watch.session(client.credentials).aiohttp_session as kopfs, kopfs.get(url) as answer:
        assert answer.status == 200
    assert server.served == 2


async def test_what_has_not_changed_keeps_its_connections(rotated):
    client, _, new, file = rotated
    before = client.credentials.tls
    await client.credentials.refresh(rejected=True)
    assert client.credentials.tls is before
    new.kubeconfig("client", client.credentials.server, file)
    await client.credentials.refresh(rejected=True)
    assert client.credentials.tls is not before
