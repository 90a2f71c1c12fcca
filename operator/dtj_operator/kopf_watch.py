"""kopf, a supervised part: login, start-up and clean-up, probes, and a second ear for changes of jobs.

The `Reflector` is the only store: what kopf hears wakes the job and is handed to the Reflector, which takes it only if
it is newer. For kopf 1.45.2 tells of no deletion in a 410 gap, ends its watch at a 404, a 410 as an answer, a date in
Retry-After or an error within the stream, and at its end cancels every task of the loop that it did not find there. So
it has a thread with a loop of its own, and whatever ends it is logged, counted, and begun anew after a pause.

Its settings avoid its traps: no index and no worker limit (together they never start), no high-level handler (they
write annotations and finalizers), no scanning of all CRDs (two more streams whose errors end it), no peering (it is not
leader election), no SIGKILL of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Any, cast

import aiohttp
import kopf

from dtj_api import names
from dtj_api.ports import free_ports
from dtj_operator.kube.client import Object
from dtj_operator.kube.credentials import Credentials
from dtj_operator.kube.resources import JOBS
from dtj_operator.kube.streams import session_for

logger = logging.getLogger(__name__)

_LOGIN_LIFE = timedelta(minutes=1)
PAUSE, MAX_PAUSE = 1.0, 60.0
"""Seconds between its end and its next start: the first and the longest."""
STEADY = 60.0
"""Seconds after which one that ran counts as well again."""
STOP_SECONDS = 5.0
PROBE_SECONDS = 1.0
PAGE = 5
"""Jobs that it lists at once: so many of the largest that the server takes are one answer that is read."""

Hears = Callable[[str | None, Object], None]
"""Told the type of a change (None: it was listed) and the raw job."""
Figures = Callable[[], dict[str, Any]]
"""What /healthz shows beside "ok"; asked in the operator's own loop."""


@dataclass(frozen=True)
class Handlers:
    """What kopf calls, each in kopf's own thread."""

    login: Callable[[], Awaitable[kopf.AiohttpSession]]
    heard: Hears
    probe: Callable[[], Awaitable[dict[str, Any]]]


def registry(handlers: Handlers) -> kopf.OperatorRegistry:
    """The handlers, in a registry of their own so that importing this module has no effect."""
    chosen = kopf.OperatorRegistry()

    @kopf.on.startup(registry=chosen)
    async def started(**_: Any) -> None:
        logger.info("kopf %s listens too", version("kopf"))

    @kopf.on.cleanup(registry=chosen)
    async def ended(**_: Any) -> None:
        logger.info("kopf has ended in order")

    @kopf.on.login(registry=chosen)
    async def login(**_: Any) -> kopf.AiohttpSession:
        return await handlers.login()

    @kopf.on.probe(registry=chosen, id="operator")
    async def probe(**_: Any) -> dict[str, Any]:
        return await handlers.probe()

    @kopf.on.event(names.GROUP, names.VERSION, names.PLURAL, registry=chosen)
    async def job_changed(event: kopf.RawEvent, **_: Any) -> None:
        handlers.heard(event["type"], cast(Object, event["object"]))

    return chosen


class _NoDiff(kopf.DiffBaseStorage):
    """What a job was before, for handlers of differences, of which there are none: kopf would copy each job for it."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> Any:
        return {}

    def fetch(self, *, body: kopf.Body) -> None:
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: Any) -> None:
        """Never called: nothing is handled to its end."""


def settings() -> kopf.OperatorSettings:
    """kopf's settings, each with its reason in the module's docstring or beside it."""
    chosen: Any = kopf.OperatorSettings()
    chosen.peering.standalone = True
    chosen.scanning.disabled = True
    chosen.posting.enabled = False
    chosen.persistence.diffbase_storage = _NoDiff()
    chosen.process.ultimate_exiting_timeout = None
    chosen.watching.server_timeout = 300
    chosen.watching.client_timeout = 310
    chosen.watching.connect_timeout = 10
    chosen.watching.chunk_size = PAGE
    chosen.queueing.exit_timeout = 2
    chosen.networking.request_timeout = 30
    chosen.networking.error_backoffs = (0.5, 1, 2, 4)
    chosen.networking.enforce_retry_after = True
    return cast(kopf.OperatorSettings, chosen)


class Ear:
    """Runs kopf for as long as `run` runs, however often it ends.

    Args:
        credentials: shared with the operator's own client, and refreshed in its loop only.
        namespaces: those to serve; empty: all.
        identity: of this process. Left to itself kopf asks for the user's name, which a container's uid need not have.
        heard: told of each change, in the loop that runs `run`.
        figures: for the probe.
        restarted: told why it is begun anew: `ended` or `error`.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        namespaces: Sequence[str],
        identity: str,
        heard: Hears,
        figures: Figures,
        restarted: Callable[[str], None],
    ) -> None:
        self._credentials = credentials
        self._namespaces = tuple(namespaces)
        self._identity = identity
        self._heard = heard
        self._figures = figures
        self._restarted = restarted
        self._endpoint = ""

    async def run(self) -> None:
        """Listen until cancelled; whatever ends kopf ends nothing else."""
        pause = PAUSE
        # It says at each start that it takes no signals, which is the intention.
        logging.getLogger("kopf._core.reactor.running").setLevel(logging.ERROR)
        while True:
            began = time.monotonic()
            error = await self._listen()
            if time.monotonic() - began >= STEADY:
                pause = PAUSE
            wait = pause * random.uniform(0.8, 1.0)
            pause = min(MAX_PAUSE, pause * 2)
            logger.warning("kopf ended: %s; begun anew in %.0f s", _words(error), wait)
            self._restarted("error" if error else "ended")
            await asyncio.sleep(wait)

    async def probe(self) -> str:
        """What kopf's probe says, as JSON, or why it says nothing."""
        try:
            timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS)
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(self._endpoint) as response:
                return json.dumps((await response.json())["operator"])
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
            return f"kopf: no answer ({type(error).__name__})"

    async def _listen(self) -> BaseException | None:
        """Run kopf once; the answer is what ended it."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[BaseException | None] = loop.create_future()

        def settle(error: BaseException | None) -> None:
            # Our loop may be closed by then: one that did not end in time is waited for no longer.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, ended, error)

        kopfs = _Thread(self._operator(loop), settle)
        try:
            return await asyncio.shield(ended)
        finally:
            kopfs.stop()
            await asyncio.wait([ended], timeout=STOP_SECONDS)

    def _operator(self, loop: asyncio.AbstractEventLoop) -> Callable[[asyncio.Event], Awaitable[None]]:
        """kopf's main coroutine, to be run in another loop than ours until the event is set."""

        async def in_our_loop(work: Any) -> Any:
            return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))

        async def figures() -> dict[str, Any]:
            return self._figures()

        async def probe() -> dict[str, Any]:
            return cast(dict[str, Any], await in_our_loop(figures()))

        async def login() -> kopf.AiohttpSession:
            return session(cast(Credentials, await in_our_loop(self._fresh())))

        def heard(kind: str | None, job: Object) -> None:
            loop.call_soon_threadsafe(self._heard, kind, job)

        # kopf takes a number only; whoever takes the port in between costs it one start.
        (port,) = free_ports(1)
        self._endpoint = f"http://127.0.0.1:{port}/probe"
        chosen = registry(Handlers(login, heard, probe))

        def operate(stop: asyncio.Event) -> Awaitable[None]:
            return kopf.operator(
                registry=chosen,
                settings=settings(),
                identity=cast(Any, self._identity),
                standalone=True,
                clusterwide=not self._namespaces,
                namespaces=self._namespaces,
                liveness_endpoint=self._endpoint,
                stop_flag=stop,
            )

        return operate

    async def _fresh(self) -> Credentials:
        # kopf asks again when what it has is rejected.
        await self._credentials.refresh(rejected=not self._credentials.in_cluster)
        return replace(self._credentials)


def session(credentials: Credentials) -> kopf.AiohttpSession:
    """A connection for kopf that hands it nothing which its parser cannot bear. Made in kopf's loop."""
    authorization = {"Authorization": credentials.authorization} if credentials.authorization else {}
    return kopf.AiohttpSession(
        server=credentials.server,
        default_namespace=credentials.namespace,
        expiration=datetime.now(UTC) + _LOGIN_LIFE if credentials.in_cluster else None,
        aiohttp_session=session_for(
            JOBS,
            connector=aiohttp.TCPConnector(limit=0, ssl=credentials.tls or True),
            headers={**authorization, "Accept-Encoding": "identity"},
        ),
    )


class _Thread:
    """One run of a coroutine in a thread and a loop of its own. Nothing waits for the thread at the process's end."""

    def __init__(
        self, main: Callable[[asyncio.Event], Awaitable[None]], ended: Callable[[BaseException | None], Any]
    ) -> None:
        self._main = main
        self._ended = ended
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._stopped = False
        threading.Thread(target=self._run, name="kopf", daemon=True).start()

    def stop(self) -> None:
        """Ask it to end."""
        self._stopped = True
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # It has closed its loop by itself.
                self._loop.call_soon_threadsafe(self._stop.set)

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            asyncio.run(self._until_stop())
        except BaseException as why:
            error = why
        self._ended(error)

    async def _until_stop(self) -> None:
        self._stop = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if not self._stopped:
            await self._main(self._stop)


def _settle(future: asyncio.Future[BaseException | None], error: BaseException | None) -> None:
    if not future.done():
        future.set_result(error)


def _words(error: BaseException | None) -> str:
    return "without an error" if error is None else f"{type(error).__name__}: {error}"[:500]
