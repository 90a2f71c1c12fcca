"""The seam to the API server: what the operator asks of it, and the one implementation over aiohttp.

Objects are plain dicts. Calls that answer 429, 5xx or nothing are tried again within the client (a create that comes
back `AlreadyExists` after that is the caller's to judge); every other error is raised at once, as a type of `errors`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any, Protocol

import aiohttp

from dtj_api import bounds, names
from dtj_operator.kube import bounded, errors, streams
from dtj_operator.kube.bounded import Object as Object
from dtj_operator.kube.credentials import Credentials, CredentialsError
from dtj_operator.kube.limits import TokenBucket
from dtj_operator.kube.resources import Resource

Observer = Callable[[str, int, float], None]
"""Told of each answer: verb, HTTP status (0: none), seconds."""

ATTEMPTS = 4
BACKOFF = 0.25
BACKOFF_CAP = 4.0
CALL_TIMEOUT = 30.0
WATCH_SECONDS = 290
"""How long the server is asked to keep a watch open."""
WATCH_SILENCE = 75.0
"""Bookmarks come about once a minute; a stream silent for longer is dead although the socket is open."""


class KubeClient(Protocol):
    """What the operator asks of the API server."""

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """One object.

        Raises:
            KubeError: of the type that fits the answer, here and in all methods below.
        """
        ...

    async def list_page(
        self, resource: Resource, namespace: str | None, *, labels: str = "", limit: int = 500, token: str = ""
    ) -> Object:
        """One page of a consistent list, of at most `limit` objects. `metadata.continue` is the next page's token.

        Its `items` are read one by one when they are iterated over.

        Raises:
            TooLarge: so many objects are more than is read at once; ask for fewer.
        """
        ...

    def watch(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        version: str,
        labels: str = "",
        opened: Callable[[], None] = ...,
    ) -> AsyncIterator[Object]:
        """Events `{type, object}` after `version`, bookmarks included, until the server ends the stream.

        `opened` is called once the server has begun to answer, though there may be no event for long.
        """
        ...

    async def create(self, resource: Resource, namespace: str | None, body: Object, *, dry_run: bool = False) -> Object:
        """Create; with `dry_run` the server checks it and stores nothing."""
        ...

    async def replace(
        self, resource: Resource, namespace: str | None, name: str, body: Object, *, subresource: str | None = None
    ) -> Object:
        """Replace the object or its `status` if its resourceVersion is still the one in `body`."""
        ...

    async def delete(
        self, resource: Resource, namespace: str | None, name: str, *, uid: str, grace_seconds: int | None = None
    ) -> None:
        """Delete the object of this name if it has this uid. None: its own grace period; 0: at once."""
        ...


def _ignore(*_: Any) -> None:
    """Observe nothing."""


class HttpKubeClient:
    """`KubeClient` over one aiohttp session. Close it with `close`."""

    def __init__(
        self,
        credentials: Credentials,
        *,
        observer: Observer = _ignore,
        qps: float = 500,
        burst: int = 1000,
        call_timeout: float = CALL_TIMEOUT,
        watch_silence: float = WATCH_SILENCE,
    ) -> None:
        self.credentials = credentials
        self._observer = observer
        self._bucket = TokenBucket(qps, burst)
        self._timeout = aiohttp.ClientTimeout(total=call_timeout, sock_connect=5)
        self._watch_timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=watch_silence)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),
            # Unpacked, an answer could be a thousand times what came over the wire.
            headers={"User-Agent": names.MANAGED_BY, "Accept": "application/json", "Accept-Encoding": "identity"},
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """See `KubeClient`."""
        return await self._call("GET", resource.path(namespace, name), partial(bounded.read_object, resource))

    async def list_page(
        self, resource: Resource, namespace: str | None, *, labels: str = "", limit: int = 500, token: str = ""
    ) -> Object:
        """See `KubeClient`."""
        params = {"labelSelector": labels, "limit": str(limit), "continue": token}
        read = partial(bounded.read_page, resource)
        # A single object cannot be asked for in parts: what the server could store is read.
        most = bounds.PAGE_BYTES if limit > 1 else bounds.OBJECT_BYTES
        return await self._call("GET", resource.path(namespace), read, params=params, most=most)

    async def create(self, resource: Resource, namespace: str | None, body: Object, *, dry_run: bool = False) -> Object:
        """See `KubeClient`."""
        params = {"dryRun": "All" if dry_run else "", "fieldManager": names.MANAGED_BY}
        read = partial(bounded.read_object, resource)
        return await self._call("POST", resource.path(namespace), read, body=body, params=params)

    async def replace(
        self, resource: Resource, namespace: str | None, name: str, body: Object, *, subresource: str | None = None
    ) -> Object:
        """See `KubeClient`."""
        path = resource.path(namespace, name, subresource)
        read = partial(bounded.read_object, resource)
        return await self._call("PUT", path, read, body=body, params={"fieldManager": names.MANAGED_BY})

    async def delete(
        self, resource: Resource, namespace: str | None, name: str, *, uid: str, grace_seconds: int | None = None
    ) -> None:
        """See `KubeClient`."""
        body: Object = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Background",
        }
        if grace_seconds is not None:
            body["gracePeriodSeconds"] = grace_seconds
        await self._call("DELETE", resource.path(namespace, name), lambda _: {}, body=body)

    async def watch(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        version: str,
        labels: str = "",
        opened: Callable[[], None] = _ignore,
    ) -> AsyncIterator[Object]:
        """See `KubeClient`."""
        params = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
            "labelSelector": labels,
        }
        call = f"WATCH {resource.path(namespace)}"
        await self._refresh(call)
        await self._bucket.take()
        started = time.monotonic()
        try:
            async with self._session.get(
                self._url(resource.path(namespace)),
                params=_given(params),
                headers=self._headers(),
                timeout=self._watch_timeout,
                ssl=self.credentials.tls or True,
            ) as response:
                self._observer("WATCH", response.status, time.monotonic() - started)
                if response.status != 200:
                    raise await self._error(call, response)
                opened()
                async for line in streams.lines(response.content):
                    yield _event(call, resource, line)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            await self._look_at_certificates(error)
            raise errors.Unavailable(call, f"stream broke: {error or type(error).__name__}", code=0) from error

    async def _call(
        self,
        verb: str,
        path: str,
        read: Callable[[bytes], Object],
        *,
        body: Object | None = None,
        params: dict[str, str] | None = None,
        most: int | None = None,
    ) -> Object:
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._once(verb, path, read, data, params or {}, most)
            except errors.Unauthorized:
                if attempt > 1:
                    raise
                with contextlib.suppress(CredentialsError):
                    await self.credentials.refresh(rejected=True)
            except errors.KubeError as error:
                if not error.passing or attempt == ATTEMPTS:
                    raise
                pause = min(BACKOFF_CAP, BACKOFF * 2 ** (attempt - 1)) * random.uniform(0.5, 1.0)
                await asyncio.sleep(max(pause, error.retry_after or 0.0))
        raise AssertionError("the last attempt returns or raises")

    async def _once(
        self,
        verb: str,
        path: str,
        read: Callable[[bytes], Object],
        data: bytes | None,
        params: dict[str, str],
        most: int | None,
    ) -> Object:
        call = f"{verb} {path}"
        await self._refresh(call)
        await self._bucket.take()
        started = time.monotonic()
        code = 0
        try:
            async with self._session.request(
                verb,
                self._url(path),
                data=data,
                params=_given(params),
                headers=self._headers(),
                timeout=self._timeout,
                ssl=self.credentials.tls or True,
            ) as response:
                code = response.status
                if code >= 400:
                    raise await self._error(call, response)
                return read(await streams.body(call, response, most))
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            await self._look_at_certificates(error)
            raise errors.Unavailable(call, f"no answer: {error or type(error).__name__}", code=0) from error
        finally:
            self._observer(verb, code, time.monotonic() - started)

    async def _refresh(self, call: str) -> None:
        try:
            await self.credentials.refresh()
        except CredentialsError as error:
            raise errors.NoCredentials(call, str(error)) from error

    async def _look_at_certificates(self, error: Exception) -> None:
        """The server's certificate is not of the authority that we know: ours may have been changed with it."""
        if isinstance(error, aiohttp.ClientSSLError):
            with contextlib.suppress(CredentialsError):
                await self.credentials.refresh(rejected=True)

    def _url(self, path: str) -> str:
        return self.credentials.server + path

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if self.credentials.authorization:
            headers["Authorization"] = self.credentials.authorization
        return headers

    @staticmethod
    async def _error(call: str, response: aiohttp.ClientResponse) -> errors.KubeError:
        text = (await streams.body(call, response)).decode(errors="replace")
        try:
            status: Any = json.loads(text)
        except ValueError:
            status = text
        return errors.from_answer(call, response.status, status, response.headers.get("Retry-After"))


def _event(call: str, resource: Resource, line: bytes) -> Object:
    try:
        return bounded.read_event(resource, line)
    except ValueError as error:
        # Begun again at the same version, a watch would meet this line again. A list hides one object at most.
        raise errors.Gone(call, f"an event cannot be read: {error}") from error


def _given(params: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in params.items() if value}
