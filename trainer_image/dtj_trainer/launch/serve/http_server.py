"""A small HTTP server: requests bounded in size, time and number, so that no client can hold up a training process.

The standard library's own gives each client a thread and as much time as it likes; a framework is not there in foreign
images. Each connection carries one request.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus

from dtj_api.wire import MAX_BODY

MAX_HEAD = 16 * 1024
DEADLINE = 5.0
"""Seconds for one request, from connection to the last byte of the answer."""
MAX_CLIENTS = 64


@dataclass(frozen=True)
class Request:
    """One request; header names are in lower case."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """One answer."""

    status: HTTPStatus
    body: bytes
    content_type: str = "application/json"


class _BadRequest(Exception):
    def __init__(self, status: HTTPStatus) -> None:
        self.status = status


class HttpServer:
    """Serves one port; `handle` must answer at once.

    Args:
        handle: from request to answer.
        host: address to listen on; None: all.
        port: TCP port.
    """

    def __init__(self, handle: Callable[[Request], Answer], host: str | None, port: int) -> None:
        self._handle = handle
        self._host = host
        self._port = port
        self._clients = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the port is taken.
        """
        self._server = await asyncio.start_server(self._serve, self._host, self._port, limit=MAX_HEAD)

    async def close(self) -> None:
        """Stop listening."""
        if self._server:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            if self._clients <= MAX_CLIENTS:
                async with asyncio.timeout(DEADLINE):
                    await self._answer(reader, writer)
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            return
        finally:
            self._clients -= 1
            writer.close()
            with contextlib.suppress(OSError):
                writer.transport.abort() if writer.transport.get_write_buffer_size() else None

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer = self._handle(await _read(reader))
        except _BadRequest as bad:
            answer = Answer(bad.status, b"", "text/plain")
        head = (
            f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\nContent-Type: {answer.content_type}\r\n"
            f"Content-Length: {len(answer.body)}\r\nConnection: close\r\n\r\n"
        )
        writer.write(head.encode() + answer.body)
        await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Request:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise _BadRequest(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE) from None
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    words = first.split(" ")
    if len(words) != 3:
        raise _BadRequest(HTTPStatus.BAD_REQUEST)
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    length = headers.get("content-length", "0")
    if not length.isdecimal() or "transfer-encoding" in headers:
        raise _BadRequest(HTTPStatus.BAD_REQUEST)
    if int(length) > MAX_BODY:
        raise _BadRequest(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    body = await reader.readexactly(int(length))
    return Request(words[0], words[1].partition("?")[0], headers, body)
