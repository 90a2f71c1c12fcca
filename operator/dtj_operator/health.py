"""/healthz and /readyz, on a port of their own: kubelets show no token.

Healthy means that the event loop answers: a restart would not mend an API server that is away, nor kopf, whose probe is
shown beside it. Ready means that all watches are complete and bring something; a standby that could take over at once
is ready.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web


class HealthServer:
    """Serves until `close`.

    Args:
        ready: why the process is not ready, or "" when it is.
        probe: figures for whoever reads /healthz.
    """

    def __init__(self, ready: Callable[[], str], probe: Callable[[], Awaitable[str]]) -> None:
        self._ready = ready
        self._probe = probe
        app = web.Application()
        app.add_routes(
            [
                web.get("/healthz", self._healthz),
                web.get("/readyz", self._readyz),
            ]
        )
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self, host: str, port: int) -> int:
        """Listen; the answer is the port, which matters when 0 was asked for.

        Raises:
            OSError: the port is taken or may not be used.
        """
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def close(self) -> None:
        """Stop listening."""
        await self._runner.cleanup()

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.Response(text=f"ok\n{await self._probe()}\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        why_not = self._ready()
        return web.Response(text=f"{why_not or 'ok'}\n", status=503 if why_not else 200)
