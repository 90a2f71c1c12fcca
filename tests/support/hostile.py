"""What a hostile tenant has: odd, large and deep manifests, launchers of all kinds; and an honest one beside them."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, Self

import aiohttp
from aiohttp import web
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from operator_process import a_job, edit, until

from dtj_api import names
from dtj_api.wire import Failure, Meet, Progress, Report, decode, encode
from dtj_operator.kube.client import HttpKubeClient, Object
from dtj_operator.kube.resources import JOBS, PODS

HONEST_IP = "127.0.2.1"
PATIENCE = 240
"""Seconds: an API server that checks what a hostile tenant sends may keep a busy core for a minute."""
ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=3),
    max_leaves=8,
)
ODD_FIELDS = ("image", "ports", "volumeMounts", "securityContext", "resources", "env", "args", "livenessProbe")
ODD_POD = ("volumes", "initContainers", "affinity", "tolerations", "securityContext", "nodeSelector", "hostAliases")
BY_HAND: tuple[dict[str, Any], ...] = (
    {"image": None},
    {"image": ""},
    {"ports": [8080]},
    {"ports": [None]},
    {"volumeMounts": [{"name": "v", "mountPath": None}]},
    {"securityContext": None, "image": "x/dtj-trainer:1"},
    {"resources": {"limits": {"nvidia.com/gpu": "9" * 5000}}},
    {"resources": {"limits": {"memory": "1e308E"}}},
)


def odd_manifests(count: int) -> list[Object]:
    """Jobs with odd templates: those by hand, and as many of hypothesis as are missing."""
    made: list[tuple[dict[str, Any], dict[str, Any]]] = [(each, {}) for each in BY_HAND]

    def some(fields: Sequence[str]) -> st.SearchStrategy[dict[str, Any]]:
        return st.fixed_dictionaries({}, optional=dict.fromkeys(fields, ODD | st.lists(ODD, max_size=2)))

    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(some(ODD_FIELDS), some(ODD_POD))
    def collect(container: dict[str, Any], pod: dict[str, Any]) -> None:
        made.append((container, pod))

    collect()
    return [_with(f"odd-{number}", *parts) for number, parts in enumerate(made[:count])]


def _with(name: str, container: dict[str, Any], pod: dict[str, Any]) -> Object:
    job = a_job(name, 1)
    spec = job["spec"]["workers"]["template"]["spec"]
    spec["containers"][0] |= container
    spec |= {key: value for key, value in pod.items() if key not in spec}
    return job


def large(name: str) -> bytes:
    """A job of 1.4 MB: thirty in Python."""
    return _on_the_wire(_with(name, {}, {"volumes": "@"}), b"[" + b",".join([b"{}"] * 460_000) + b"]")


def deep(name: str) -> bytes:
    """A job of 9,000 levels."""
    return _on_the_wire(_with(name, {}, {"affinity": "@"}), b'{"a":' * 9000 + b"1" + b"}" * 9000)


def _on_the_wire(job: Object, value: bytes) -> bytes:
    return json.dumps(job).encode().replace(b'"@"', value)


async def post(client: HttpKubeClient, namespace: str, body: bytes) -> None:
    """Create a job from bytes that no Python value could hold; a tenant waits for an API server that is busy."""
    async with client._session.post(
        client._url(JOBS.path(namespace)),
        data=io.BytesIO(body),
        headers=client._headers(),
        ssl=client.credentials.tls or True,
        timeout=aiohttp.ClientTimeout(total=PATIENCE),
    ) as response:
        assert response.status == 201, f"{response.status}: {(await response.read())[:500]!r}"


def _report(**fields: Any) -> Report:
    base = Report("nobody", 0, names.LauncherState.WAITING, 0, 0, 0, -1)
    return replace(base, **fields)


_PLAIN = json.loads(encode(_report()))
ANSWERS: tuple[tuple[dict[str, str], bytes], ...] = (
    ({"Location": "http://127.0.1.1:9400/progress"}, b""),
    ({}, json.dumps(_PLAIN | {"progress": {"step": 10**400, "loss": float("nan")}}).encode()),
    ({"Content-Encoding": "gzip"}, gzip.compress(b" " * 50_000_000)),
    ({}, json.dumps(_PLAIN | {"paces": [{"rank": 1, "seconds": 1}] * 2000}).encode()),
    ({}, b"[" * 60_000),
    ({}, encode(_report(state=names.LauncherState.DONE))),
    ({"Set-Cookie": "a=" + "x" * 3000}, b"x" * 10_000_000),
)


@contextlib.asynccontextmanager
async def hostile_launchers(addresses: Sequence[str]) -> AsyncIterator[None]:
    """On each address a launcher: slow, endless, redirecting, lying, packed, deep, too long ..."""
    servers: list[asyncio.Server] = []
    serving: set[asyncio.Task[None]] = set()

    def handler(kind: int) -> Any:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            serving.add(task)
            try:
                with contextlib.suppress(ConnectionError, asyncio.CancelledError):
                    await _answer(kind, reader, writer)
            finally:
                serving.discard(task)
                writer.close()

        return serve

    try:
        for kind, address in enumerate(addresses):
            for port in (names.METRICS_PORT, names.CONTROL_PORT):
                servers.append(await asyncio.start_server(handler(kind), address, port))
        yield
    finally:
        for server in servers:
            server.close()
        for task in serving.copy():
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def _answer(kind: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    match kind % (len(ANSWERS) + 2):
        case 0:
            await reader.read()
        case 1:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while not reader.at_eof():
                writer.write(b"1\r\n \r\n")
                await writer.drain()
                await asyncio.sleep(0.05)
        case number:
            headers, body = ANSWERS[number - 2]
            status = "302 Found" if "Location" in headers else "200 OK"
            lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items())]
            writer.write("\r\n".join([*lines, f"Content-Length: {len(body)}", "Connection: close", "", ""]).encode())
            writer.write(body)
            await writer.drain()


class HonestLauncher:
    """What a launcher of one rank does, at the index of its report: it meets, trains, and tells of a killed rank."""

    def __init__(self, address: str = HONEST_IP) -> None:
        self.report = _report()
        self.address = address
        self.told: asyncio.Future[float] | None = None
        """The moment (of the loop) at which an answer first told of the last death."""
        self._app = web.Application()
        self._app.add_routes([web.get("/progress", self._tell), web.post("/v1/meet", self._meet)])
        self._runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=0.1)

    async def __aenter__(self) -> Self:
        await self._runner.setup()
        for port in (names.METRICS_PORT, names.CONTROL_PORT):
            await web.TCPSite(self._runner, self.address, port).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def kill_rank(self) -> None:
        """Its rank dies by SIGKILL, and the next round forms."""
        loop = asyncio.get_running_loop()
        now, step = loop.time(), self.report.progress.step
        self.told = loop.create_future()
        died = Failure(self.report.incarnation, self.report.round, 0, 0, now, -9, "", "", user_error=False, step=step)
        self.report = replace(
            self.report,
            failures=(*self.report.failures[-3:], died),
            round=self.report.round + 1,
            progress=Progress(step=(step or 0) + 1, updated_at=now),
        )

    def body(self) -> bytes:
        """The report as it is sent."""
        return encode(self.report)

    async def _tell(self, _: web.Request) -> web.Response:
        if self.told is not None and not self.told.done():
            self.told.set_result(asyncio.get_running_loop().time())
        return web.Response(body=self.body())

    async def _meet(self, request: web.Request) -> web.Response:
        told = decode(Meet, await request.read())
        self.report = replace(
            self.report,
            state=names.LauncherState.TRAINING,
            incarnation=told.incarnation,
            round=1,
            world_size=told.max_nodes,
            group_rank=self.report.index,
            reports=True,
            progress=Progress(step=1, updated_at=asyncio.get_running_loop().time()),
        )
        return await self._tell(request)


def running(pod: Object, address: str) -> Object:
    """What a kubelet says of a pod that runs and is ready."""
    now = "2026-01-01T00:00:00Z"
    containers = [
        {
            "name": each["name"],
            "image": "x",
            "imageID": "x",
            "ready": True,
            "restartCount": 0,
            "state": {"running": {"startedAt": now}},
        }
        for each in pod["spec"]["containers"]
    ]
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": now}
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [ready],
        "containerStatuses": containers,
    }


async def run_pod(client: HttpKubeClient, namespace: str, name: str, address: str) -> str:
    """Say of a pod what a kubelet says of one that runs and is ready; the answer is its uid."""

    async def there() -> list[Object]:
        page = await client.list_page(PODS, namespace)
        return [each for each in page["items"] if each["metadata"]["name"] == name]

    pod: Object = (await until(there))[0]
    status = running(pod, address)
    await edit(client, PODS, namespace, name, lambda item: item.update(status=status), "status")
    return str(pod["metadata"]["uid"])


def quantile(page: str, metric: str, share: float) -> float:
    """The bound of the histogram's bucket in which a share of all that was observed is."""
    buckets: dict[float, float] = {}
    for line in page.splitlines():
        if line.startswith(f"{metric}_bucket"):
            bound = float(line.split('le="')[1].split('"')[0])
            buckets[bound] = buckets.get(bound, 0.0) + float(line.rsplit(" ", 1)[1])
    total = max(buckets.values())
    return min(bound for bound, count in buckets.items() if count >= share * total)
