"""Answers as bytes, within bounds; and a session that keeps them for whoever parses answers by itself."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import aiohttp

from dtj_api import bounds
from dtj_operator.kube import bounded, errors
from dtj_operator.kube.resources import Resource

logger = logging.getLogger(__name__)


async def body(call: str, response: aiohttp.ClientResponse, most: int | None = None) -> bytes:
    """The whole of an answer.

    Args:
        call: what was asked, for the error.
        response: where it comes from.
        most: bytes; None: as many as one object can have.

    Raises:
        TooLarge: it is longer.
    """
    most = bounds.OBJECT_BYTES if most is None else most
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        chunks.append(chunk)
        size += len(chunk)
        if size > most:
            raise errors.TooLarge(call, f"the answer is longer than {most} bytes", code=response.status)
    return b"".join(chunks)


async def lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines, also those above aiohttp's buffer, which its own iteration refuses: a pod easily is one.

    What is longer than is read at once is left out: one such object must not hide the others.
    """
    rest = b""
    left_out = False
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line and not left_out:
                yield line
            left_out = False
        if len(rest) > bounds.OBJECT_BYTES:
            logger.warning("a watch brought an object of more than %d bytes, which is left out", bounds.OBJECT_BYTES)
            left_out = True
        if left_out:
            rest = b""


def session_for(resource: Resource, **settings: Any) -> aiohttp.ClientSession:
    """A session whose answers about a resource have no part that is too large, whoever reads them.

    kopf hands every answer to Python's parser: a thousand levels end its watch each time anew, and a page of the
    largest objects takes half a gigabyte.
    """

    class Bounded(aiohttp.ClientResponse):
        async def start(self, connection: Any) -> aiohttp.ClientResponse:
            await super().start(connection)
            if "watch" in self.url.query:
                self.content = _Events(resource, self.content)  # type: ignore[assignment]
            return self

        async def json(self, **_: Any) -> Any:
            text = await body(f"{self.method} {self.url.path}", self)
            if len(text) <= bounds.SPEC_BYTES and self.url.path.rpartition("/")[2] != resource.plural:
                return json.loads(text)
            page = bounded.read_page(resource, text)
            return {**page, "items": list(page["items"])}

    return aiohttp.ClientSession(response_class=Bounded, **settings)


class _Events:
    """The stream of a watch in which each event is within bounds; all else is as of the stream itself."""

    def __init__(self, resource: Resource, stream: aiohttp.StreamReader) -> None:
        self._resource = resource
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    async def iter_chunked(self, _: int) -> AsyncIterator[bytes]:
        """A line at a time, however long a chunk may be."""
        async for line in lines(self._stream):
            yield json.dumps(bounded.read_event(self._resource, line)).encode() + b"\n"
