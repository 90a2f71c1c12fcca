"""What the tests of the client share: an API server on the loopback, and a client of it."""

from __future__ import annotations

import pytest
from fake_apiserver import FakeApiServer

from dtj_operator.kube import client as module
from dtj_operator.kube import credentials
from dtj_operator.kube.client import HttpKubeClient


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
