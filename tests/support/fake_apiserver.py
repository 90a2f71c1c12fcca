"""The in-memory API server behind a real socket: for what only bytes on a wire can show (the client, kopf, the CLI)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web
from fake_kube import FakeKube, resource_of

from dtj_operator.kube import errors
from dtj_operator.kube.resources import ALL, Resource

SERVED = (*ALL, Resource("", "v1", "Namespace", "namespaces", namespaced=False))
"""kopf does not begin before it has seen that namespaces are served."""

Answer = tuple[int, Any, dict[str, str]]
"""HTTP status, body, headers."""


class FakeApiServer:
    """Serves one `FakeKube` on 127.0.0.1. `script` may answer a request itself."""

    def __init__(self, kube: FakeKube | None = None) -> None:
        self.kube = kube or FakeKube()
        self.requests: list[web.Request] = []
        self.token: str | None = None
        """When set, requests must carry it."""
        self.script: Callable[[web.Request], Answer | None] = lambda request: None
        self._extra: list[asyncio.Queue[dict[str, Any]]] = []
        app = web.Application(client_max_size=10 * 2**20)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        self.url = ""

    async def start(self) -> str:
        """Listen; the answer is the URL."""
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self.url

    async def close(self) -> None:
        """Stop."""
        await self._runner.cleanup()

    def send_to_watches(self, event: dict[str, Any]) -> None:
        """Put an event into all open watches, whatever they watch."""
        for queue in self._extra:
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
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized", "Unauthorized")
        if answer := self.script(request):
            code, body, headers = answer
            return web.json_response(body, status=code, headers=headers)
        parts = request.match_info["path"].strip("/").split("/")
        if (found := _discover(parts)) is not None:
            return web.json_response(found)
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
            return web.json_response({"apiVersion": resource.api_version, "kind": f"{resource.kind}List", **page})
        if request.method == "GET":
            return web.json_response(await self.kube.get(resource, namespace, name))
        body = json.loads(await request.read())
        if request.method == "POST":
            created = await self.kube.create(resource, namespace, body, dry_run="dryRun" in query)
            return web.json_response(created, status=201)
        if request.method == "PUT":
            return web.json_response(await self.kube.replace(resource, namespace, name, body, subresource=subresource))
        if request.method == "DELETE":
            uid, grace = body["preconditions"]["uid"], body.get("gracePeriodSeconds")
            await self.kube.delete(resource, namespace, name, uid=uid, grace_seconds=grace)
            return _status(200, "", "")
        return _status(405, "MethodNotAllowed", request.method)

    async def _watch(
        self, request: web.Request, resource: Resource, namespace: str | None, labels: str
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        news: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
        self._extra.append(news)  # type: ignore[arg-type]

        async def pump() -> None:
            version = request.query.get("resourceVersion", "0")
            async for event in self.kube.watch(resource, namespace, version=version, labels=labels):
                news.put_nowait(event)
            news.put_nowait(None)

        task = asyncio.create_task(pump())
        try:
            await response.prepare(request)
            while (event := await news.get()) is not None:
                await response.write(json.dumps(event).encode() + b"\n")
        finally:
            self._extra.remove(news)  # type: ignore[arg-type]
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
