"""/metrics, on a port of its own: made by a thread, and shown to those who may see it.

A page of a thousand jobs takes some tenths of a second. Made in the event loop, it would hold up every job's recovery.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from http import HTTPStatus

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from .access import PATH, Access
from .certificate import Certificate

_WHY = {
    HTTPStatus.UNAUTHORIZED: "send a token that the API server knows, as `Authorization: Bearer ...`",
    HTTPStatus.FORBIDDEN: f"bind a ClusterRole to your account that may get the nonResourceURL {PATH}",
    HTTPStatus.SERVICE_UNAVAILABLE: "the API server cannot be asked who you are; try again later",
}


class PageServer:
    """Serves until `close`.

    Args:
        registry: what the page shows.
        look: called in the event loop before a thread collects: what belongs to the loop is copied there.
        access: who may read it; None: everybody who reaches the port.
        certificate: None: plain HTTP.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        look: Callable[[], None],
        access: Access | None = None,
        certificate: Certificate | None = None,
    ) -> None:
        self._registry = registry
        self._look = look
        self._access = access
        self._certificate = certificate
        self._follower: asyncio.Task[None] | None = None
        self._one_at_a_time = asyncio.Lock()
        app = web.Application()
        app.add_routes([web.get(PATH, self._page)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self, host: str, port: int) -> int:
        """Listen; the answer is the port, which matters when 0 was asked for.

        Raises:
            OSError: the port is taken or may not be used.
        """
        await self._runner.setup()
        tls = self._certificate.context if self._certificate else None
        await web.TCPSite(self._runner, host, port, ssl_context=tls).start()
        if self._certificate is not None:
            self._follower = asyncio.create_task(self._certificate.follow(), name="certificate of the metrics")
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Stop listening."""
        if self._follower is not None:
            self._follower.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._follower
        await self._runner.cleanup()

    async def _page(self, request: web.Request) -> web.Response:
        if self._access is not None:
            answer = await self._access.answer(request.headers.get("Authorization", ""), request.remote or "")
            if answer is not HTTPStatus.OK:
                more = {"WWW-Authenticate": "Bearer"} if answer is HTTPStatus.UNAUTHORIZED else {}
                return web.Response(text=f"{_WHY[answer]}\n", status=answer, headers=more)
        async with self._one_at_a_time:
            self._look()
            body = await asyncio.to_thread(generate_latest, self._registry)
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})
