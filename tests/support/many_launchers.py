"""Thousands of launchers in one small process: each on an address of its own, all of them a few bytes and a number."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import replace

from dtj_api import names
from dtj_api.wire import STORE_PROTOCOL, Meet, Progress, Report, decode, encode

_STEP, _NOW = 777_777_777, 888_888_888.0
"""Stand in an encoded report for what differs from answer to answer."""


def address(number: int) -> str:
    """The address of the n-th."""
    return f"127.9.{number // 250}.{number % 250 + 1}"


class Launcher:
    """One that meets when it is told to, and is a step further at each answer."""

    def __init__(self, pod_uid: str, index: int) -> None:
        self.asked = time.monotonic()
        """When it was last asked."""
        self._step = 0
        waiting = Report(pod_uid, index, names.LauncherState.WAITING, 0, 0, 0, -1, store_protocol=STORE_PROTOCOL)
        self._report = waiting
        self._encoded = encode(waiting)

    def meet(self, told: Meet) -> None:
        """It trains from now on."""
        self._report = replace(
            self._report,
            state=names.LauncherState.TRAINING,
            incarnation=told.incarnation,
            round=1,
            world_size=told.max_nodes,
            group_rank=self._report.index,
            reports=True,
            progress=Progress(step=_STEP, total_steps=10**6, loss=0.5, tokens_per_second=1e4, updated_at=_NOW),
        )
        self._encoded = encode(self._report)

    def body(self) -> bytes:
        """Its report now."""
        self._step += 1
        text = self._encoded.replace(b"%d" % _STEP, b"%d" % self._step, 1)
        return text.replace(b"%.1f" % _NOW, b"%.3f" % time.time(), 1)


class _Connection(asyncio.Protocol):
    """HTTP as far as the operator speaks it: one request after the other, each with its length."""

    def __init__(self, launchers: dict[str, Launcher]) -> None:
        self._launchers = launchers
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._launcher = self._launchers[transport.get_extra_info("sockname")[0]]

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end]
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
            if len(self._received) < end + 4 + length:
                return
            body, self._received = self._received[end + 4 : end + 4 + length], self._received[end + 4 + length :]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET /progress "):
            self._launcher.asked = time.monotonic()
        elif head.startswith(b"POST /v1/meet "):
            self._launcher.meet(decode(Meet, body))
        report = self._launcher.body()
        self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(report), report))


@contextlib.asynccontextmanager
async def serve(launchers: dict[str, Launcher]) -> AsyncIterator[None]:
    """Serve them by their addresses, on both ports."""
    loop = asyncio.get_running_loop()
    hosts = list(launchers)
    servers = [
        await loop.create_server(lambda: _Connection(launchers), hosts, port)
        for port in (names.METRICS_PORT, names.CONTROL_PORT)
    ]
    try:
        yield
    finally:
        for server in servers:
            server.close()
