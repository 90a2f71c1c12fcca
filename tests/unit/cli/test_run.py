"""What a user sees when the operator cannot start: one line that says what is wrong and how to mend it."""

from __future__ import annotations

import asyncio

import pytest
from fake_apiserver import FakeApiServer

from dtj_operator.cli.run import StartError, check
from dtj_operator.kube import client as module
from dtj_operator.kube import credentials
from dtj_operator.kube.client import HttpKubeClient

CASES = [
    (401, "Unauthorized", "does not accept the credentials of .*renew"),
    (403, "Forbidden", "may not list distributedtrainingjobs.dtj.dev: bind the chart's role"),
    (404, "NotFound", "install the CRD"),
    (500, "InternalError", "cannot be reached"),
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
            await asyncio.wait_for(check(client, found, None), 30)
    finally:
        await client.close()
        await server.close()
