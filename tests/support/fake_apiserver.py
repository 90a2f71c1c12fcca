"""The in-memory API server behind a real socket: for what only bytes on a wire can show (the client, kopf, the CLI)."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from aiohttp import web
from api_objects import resource_of
from fake_kube import FakeKube
from operator_process import OperatorProcess, a_job, until

from dtj_api import names
from dtj_operator.kube import errors
from dtj_operator.kube.resources import ALL, JOBS, OWN_ACCESS_REVIEWS, PODS, Resource

SERVED = (*ALL, Resource("", "v1", "Namespace", "namespaces", namespaced=False))
"""kopf does not begin before it has seen that namespaces are served."""

Start = Callable[..., OperatorProcess]
"""Begins one more operator, with these arguments."""
Answer = tuple[int, Any, dict[str, str]]
"""HTTP status, body, headers."""
BREAK = b""
"""Sent to watches: their connections break, as by a proxy that has had enough of them."""


def pod(name: str, **metadata: Any) -> dict[str, Any]:
    """A pod as it is sent."""
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": {}}


class FakeApiServer:
    """Serves one `FakeKube` on 127.0.0.1. `script` may answer a request itself."""

    def __init__(self, kube: FakeKube | None = None) -> None:
        self.kube = kube or FakeKube()
        self.requests: list[web.Request] = []
        self.token: str | None = None
        """When set, requests must carry it."""
        self.forbidden: Callable[[dict[str, str]], bool] = lambda attributes: False
        """What whoever asks is told that he may not do, by the `resourceAttributes` of his question."""
        self.script: Callable[[web.Request], Answer | None] = lambda request: None
        self.silent = False
        """It takes requests and answers none, as behind a network that swallows packets."""
        self.on_the_wire: dict[str, str] = {}
        """Strings within objects, and the JSON that is sent in their place: what no Python value could hold."""
        self._extra: list[tuple[str, asyncio.Queue[dict[str, Any] | bytes | None]]] = []
        self._runner: web.AppRunner | None = None
        self._port = 0
        self.url = ""

    async def start(self) -> str:
        """Listen, after `close` on the same port again; the answer is the URL."""
        app = web.Application(client_max_size=10 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True).start()
        self._port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}"
        return self.url

    async def close(self) -> None:
        """Stop: what is open breaks, and who comes is refused."""
        if self._runner is not None:
            await self._runner.cleanup()

    def send_to_watches(self, event: dict[str, Any] | bytes, agent: str = "") -> None:
        """Put an event into all open watches of some client, whatever they watch; bytes: a line as it stands."""
        for who, queue in self._extra:
            if agent in who:
                queue.put_nowait(event)

    def kubeconfig(self) -> str:
        """A kubeconfig for this server."""
        user: dict[str, str] = {"token": self.token} if self.token else {}
        return json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "fake",
                "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake", "namespace": "default"}}],
                "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
                "users": [{"name": "fake", "user": user}],
            }
        )

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request)
        if self.silent:
            await asyncio.Event().wait()
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized", "Unauthorized")
        if answer := self.script(request):
            code, body, headers = answer
            return web.json_response(body, status=code, headers=headers)
        parts = request.match_info["path"].strip("/").split("/")
        if (found := _discover(parts)) is not None:
            return web.json_response(found)
        if parts[-1] == OWN_ACCESS_REVIEWS.plural:
            asked = (await request.json())["spec"]["resourceAttributes"]
            return web.json_response({"status": {"allowed": not self.forbidden(asked)}}, status=201)
        try:
            return await self._object(request, parts)
        except errors.KubeError as error:
            return _status(error.code, type(error).__name__, error.message)

    async def _object(self, request: web.Request, parts: list[str]) -> web.StreamResponse:
        group, version, rest = ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
        namespace = None
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        resource = resource_of(group, version, rest[0])
        if resource is None:
            return _status(404, "NotFound", "the server could not find the requested resource")
        name = rest[1] if len(rest) > 1 else ""
        subresource = rest[2] if len(rest) > 2 else None
        query, labels = request.query, request.query.get("labelSelector", "")
        if request.method == "GET" and query.get("watch"):
            return await self._watch(request, resource, namespace, labels)
        if request.method == "GET" and not name:
            page = await self.kube.list_page(
                resource, namespace, labels=labels, limit=int(query.get("limit", 500)), token=query.get("continue", "")
            )
            return self._answer({"apiVersion": resource.api_version, "kind": f"{resource.kind}List", **page})
        if request.method == "GET":
            return self._answer(await self.kube.get(resource, namespace, name))
        body = json.loads(await request.read())
        if request.method == "POST":
            created = await self.kube.create(resource, namespace, body, dry_run="dryRun" in query)
            return self._answer(created, status=201)
        if request.method == "PUT":
            return self._answer(await self.kube.replace(resource, namespace, name, body, subresource=subresource))
        if request.method == "DELETE":
            uid, grace = body["preconditions"]["uid"], body.get("gracePeriodSeconds")
            await self.kube.delete(resource, namespace, name, uid=uid, grace_seconds=grace)
            return _status(200, "", "")
        return _status(405, "MethodNotAllowed", request.method)

    def _answer(self, body: Any, status: int = 200) -> web.Response:
        return web.json_response(body, status=status, dumps=self._dumps)

    def _dumps(self, body: Any) -> str:
        text = json.dumps(body)
        for each in "<>&":
            # Go's encoder writes them so, for HTML: a byte that is stored is six on the wire.
            text = text.replace(each, f"\\u{ord(each):04x}")
        for name, value in self.on_the_wire.items():
            text = text.replace(f'"{name}"', value)
        return text

    async def _watch(
        self, request: web.Request, resource: Resource, namespace: str | None, labels: str
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        news: asyncio.Queue[dict[str, Any] | bytes | None] = asyncio.Queue()
        mine = (request.headers.get("User-Agent", ""), news)
        self._extra.append(mine)

        async def pump() -> None:
            version = request.query.get("resourceVersion", "0")
            try:
                async for event in self.kube.watch(resource, namespace, version=version, labels=labels):
                    news.put_nowait(event)
            except errors.KubeError as error:
                news.put_nowait({"type": "ERROR", "object": {"kind": "Status", "code": error.code, "message": "gone"}})
            news.put_nowait(None)

        task = asyncio.create_task(pump())
        try:
            await response.prepare(request)
            while (event := await news.get()) is not None:
                if event == BREAK and request.transport is not None:
                    request.transport.abort()
                    break
                await response.write((event if isinstance(event, bytes) else self._dumps(event).encode()) + b"\n")
        except ConnectionResetError:
            return response
        finally:
            self._extra.remove(mine)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        return response


def _status(code: int, reason: str, message: str) -> web.Response:
    return web.json_response(
        {"kind": "Status", "apiVersion": "v1", "code": code, "reason": reason, "message": message}, status=code
    )


def _discover(parts: list[str]) -> Any:
    groups = sorted({resource.group for resource in ALL if resource.group})
    match parts:
        case ["version"]:
            return {"major": "1", "minor": "35", "gitVersion": "v1.35.4"}
        case ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"]}
        case ["apis"]:
            return {"kind": "APIGroupList", "groups": [_group(group) for group in groups]}
        case ["apis", group] if group in groups:
            return _group(group)
        case ["api", version]:
            return _resources("", version)
        case ["apis", group, version] if group in groups:
            return _resources(group, version)
    return None


def _group(group: str) -> dict[str, Any]:
    versions = sorted({each.version for each in ALL if each.group == group})
    listed = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
    return {"kind": "APIGroup", "name": group, "versions": listed, "preferredVersion": listed[0]}


def _resources(group: str, version: str) -> dict[str, Any]:
    found = [each for each in SERVED if (each.group, each.version) == (group, version)]
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    return {
        "kind": "APIResourceList",
        "groupVersion": f"{group}/{version}" if group else version,
        "resources": [
            {
                "name": each.plural,
                "singularName": each.kind.lower(),
                "kind": each.kind,
                "namespaced": each.namespaced,
                "verbs": verbs,
            }
            for each in found
        ],
    }


@contextlib.asynccontextmanager
async def a_fake_cluster(folder: Path) -> AsyncIterator[tuple[FakeApiServer, Start]]:
    """A server that is up, and what starts operators on it; all are gone afterwards.

    Args:
        folder: gets `kubeconfig` and the operators' logs.
    """
    server = FakeApiServer()
    await server.start()
    kubeconfig = folder / "kubeconfig"
    kubeconfig.write_text(server.kubeconfig())
    try:
        with contextlib.ExitStack() as started:

            def begin(*args: str) -> OperatorProcess:
                log = folder / f"log-{len(list(folder.glob('log-*')))}"
                return started.enter_context(OperatorProcess(kubeconfig, "default", log, *args))

            yield server, begin
    finally:
        await server.close()


def put_job(server: FakeApiServer, name: str, workers: int = 2, **spec: Any) -> None:
    """Somebody makes a job."""
    job = a_job(name, workers, **spec)
    job["metadata"]["namespace"] = "default"
    server.kube.put(JOBS, job)


async def pods_are_there(server: FakeApiServer, count: int) -> None:
    """Wait until there are so many pods, of all jobs."""

    async def there() -> bool:
        return len(server.kube.all(PODS)) == count

    await until(there)


def fail_pod(server: FakeApiServer, pod: str) -> Callable[[], Awaitable[bool]]:
    """Have a worker's pod fail; what comes true when another one has its name."""
    uid = server.kube.read(PODS, pod)["metadata"]["uid"]
    state = {"terminated": {"exitCode": 1, "message": "boom"}}
    failed = {"phase": "Failed", "containerStatuses": [{"name": names.TRAINER_CONTAINER, "state": state}]}
    server.kube.edit(PODS, pod, lambda item: item.update(status=failed))

    async def is_back() -> bool:
        there = {item["metadata"]["name"]: item["metadata"]["uid"] for item in server.kube.all(PODS)}
        return there.get(pod, uid) != uid

    return is_back
