"""A launcher as the operator meets it, and the reports that it asks there."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from dtj_api.wire import Progress, Report, encode
from dtj_operator.observe.reports import Reports

REPORT = Report("pod-1", 0, "training", 1, 1, 2, 0, progress=Progress(step=1))


class FakeLauncher:
    """Both ports of a launcher, on one."""

    def __init__(self) -> None:
        self.port = 0
        self.report = REPORT
        self.body: bytes | None = None
        self.status = 200
        self.asked = 0
        self.news = asyncio.Condition()
        self.headers: dict[str, str] = {}
        self.hold: asyncio.Event | None = None
        self.messages: list[tuple[str, bytes, dict[str, str]]] = []

    async def start(self, host: str = "127.0.0.1") -> int:
        app = web.Application()
        app.add_routes([web.get("/progress", self._answer), web.post("/v1/{what}", self._control)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, host, 0).start()
        self.port = int(self._runner.addresses[0][1])
        return self.port

    async def was_asked(self, times: int) -> None:
        async with asyncio.timeout(60), self.news:
            await self.news.wait_for(lambda: self.asked >= times)

    async def close(self) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        async with self.news:
            self.asked += 1
            self.news.notify_all()
        if self.hold:
            await self.hold.wait()
        body = self.body if self.body is not None else encode(self.report)
        return web.Response(body=body, status=self.status, headers=self.headers)

    async def _control(self, request: web.Request) -> web.Response:
        self.messages.append((request.path, await request.read(), dict(request.headers)))
        return await self._answer(request)


@pytest.fixture
async def launcher():
    launcher = FakeLauncher()
    await launcher.start()
    yield launcher
    await launcher.close()


@pytest.fixture
async def reports(launcher):
    changed: asyncio.Queue[str] = asyncio.Queue()
    intervals = {"pod-1": 0.01}
    reports = Reports(intervals.get, changed.put_nowait, port=launcher.port, timeout=30, clock=lambda: 7.0)
    reports.changed, reports.intervals = changed, intervals
    yield reports
    await reports.close()


async def change(reports) -> str:
    return await asyncio.wait_for(reports.changed.get(), 60)


REDIRECTS = (301, 302, 303, 307, 308)


@pytest.fixture
async def victim():
    """What a pod would have the operator ask, from the operator's place in the network."""
    victim = FakeLauncher()
    await victim.start()
    yield victim
    await victim.close()
