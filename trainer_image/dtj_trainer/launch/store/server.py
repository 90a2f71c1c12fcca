"""The rendezvous store's server: one thread, one table, clients that have proved to hold the job's key.

A client that sends what is not allowed, or does not read its answers, is let go, and all others are served on.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import socket
from collections.abc import Callable
from typing import Any

from dtj_trainer.launch.settings import BadConfigError
from dtj_trainer.launch.store import wire as store_wire
from dtj_trainer.launch.store.table import RefusedError, Space, Table
from dtj_trainer.launch.store.wire import FrameError, Frames, Operation

MAX_CLIENTS = 12_000
"""Each launcher has one connection, and for a moment two."""
FEWEST_STRANGERS = 512
"""Connections that have not proved anything yet: as many as there are places left for clients, and at least so many.
The oldest goes when there are more."""
MAX_UNREAD = 2 * store_wire.MAX_FRAME
"""Bytes of answers that a client has not taken; more, and it is let go."""
MAX_WATCHES = 64
"""Keys that one client watches at once."""
_IDLE = 20
"""Seconds without a word after which the kernel asks whether the other side is there."""


class StoreServer:
    """Serves a table.

    Args:
        read_key: the job's key as it is now: it may be changed while the store runs. Raises BadConfigError.

    Raises:
        BadConfigError: there is no key.
    """

    def __init__(self, read_key: Callable[[], bytes]) -> None:
        self._read_key = read_key
        self._key = read_key()
        self.table = Table()
        self.clients: set[Connection] = set()
        self.strangers: dict[Connection, None] = {}
        self._server: asyncio.Server | None = None
        self._empty = asyncio.Event()
        self._empty.set()

    async def start(self, host: str | None, port: int) -> int:
        """Listen; the port, which is a free one where 0 was asked for.

        Raises:
            OSError: the port is taken.
        """
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self), host, port, backlog=4096, reuse_address=True
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self, patience: float) -> None:
        """Serve on while there are clients, so long at most; then end all connections."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._empty.wait(), patience)
        assert self._server is not None
        self._server.close()
        for each in (*self.clients, *self.strangers):
            each.end()

    def came(self, connection: Connection) -> None:
        """Somebody connects."""
        self.strangers[connection] = None
        if len(self.strangers) > max(FEWEST_STRANGERS, MAX_CLIENTS - len(self.clients)):
            oldest = next(iter(self.strangers))
            del self.strangers[oldest]
            oldest.end()

    def key_of(self, incarnation: int, stores: str, clients: str, proof: str) -> bytes:
        """The job's key, which the client holds too.

        Raises:
            RefusedError: it does not.
        """
        if not _is_proved(self._key, incarnation, stores, clients, proof):
            try:
                self._key = self._read_key()
            except BadConfigError as error:
                raise RefusedError(f"the store has no key: {error}") from error
            if not _is_proved(self._key, incarnation, stores, clients, proof):
                raise RefusedError("the proof is not of this job's key")
        return self._key

    def proved(self, connection: Connection) -> None:
        """It is one of ours.

        Raises:
            RefusedError: there are too many.
        """
        if len(self.clients) >= MAX_CLIENTS:
            raise RefusedError(f"{len(self.clients)} clients are connected; the most is {MAX_CLIENTS}")
        self.strangers.pop(connection, None)
        self.clients.add(connection)
        self._empty.clear()

    def left(self, connection: Connection) -> None:
        """A connection has ended."""
        self.strangers.pop(connection, None)
        self.clients.discard(connection)
        if not self.clients:
            self._empty.set()


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, server: StoreServer) -> None:
        self._server = server
        self._frames = Frames(store_wire.MAX_OPENING)
        self._nonce = store_wire.nonce()
        self._space: Space | None = None
        self._watched: dict[int, tuple[str, Callable[[], None]]] = {}
        self._transport: asyncio.Transport
        self._patience: asyncio.TimerHandle

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See base class."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        _keep_alive(transport.get_extra_info("socket"))
        self._patience = asyncio.get_running_loop().call_later(store_wire.OPENING_PATIENCE, self.end)
        self._server.came(self)
        self._send({"nonce": self._nonce})

    def data_received(self, data: bytes) -> None:
        """See base class."""
        try:
            for value in self._frames.feed(data):
                if self._space is None:
                    self._open(value)
                else:
                    self._serve(value)
        except (FrameError, RefusedError) as error:
            self._send({"refused": str(error)})
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """See base class."""
        self._patience.cancel()
        if self._space is not None:
            for key, told in self._watched.values():
                self._server.table.unwatch(self._space, key, told)
            self._server.table.leave(self._space, self.end)
        self._server.left(self)

    def end(self) -> None:
        """Let it go at once."""
        self._transport.abort()

    def _open(self, value: Any) -> None:
        match value:
            case {"nonce": str(nonce), "incarnation": int(number), "proof": str(proof)} if (nonce + proof).isascii():
                pass
            case _:
                raise FrameError("the first frame of a client has nonce, incarnation and proof, in ASCII")
        key = self._server.key_of(number, self._nonce, nonce, proof)
        self._space = self._server.table.enter(number, self.end)
        self._server.proved(self)
        self._patience.cancel()
        self._frames.most = store_wire.MAX_FRAME
        self._send({"proof": store_wire.store_proof(key, self._nonce, nonce, number)})

    def _serve(self, value: Any) -> None:
        match value:
            case [int(number), str(operation), str(key)]:
                argument = None
            case [int(number), str(operation), str(key), argument]:
                pass
            case _:
                raise FrameError("a request is [number, operation, key] or [number, operation, key, value]")
        try:
            self._answer(number, operation, key, argument)
        except RefusedError as error:
            self._send([number, None, str(error)])

    def _answer(self, number: int, operation: str, key: str, argument: Any) -> None:
        table, space = self._server.table, self._space
        assert space is not None
        match operation:
            case Operation.CHECK:
                answer: object = table.get(space, key) is not None
            case Operation.GET:
                answer = table.get(space, key)
            case Operation.SET:
                table.set(space, key, argument)
                answer = None
            case Operation.ADD:
                answer = table.add(space, key, argument)
            case Operation.CREATE:
                answer = table.create(space, key, argument)
            case Operation.DROP:
                answer = table.drop(space, key)
            case Operation.WATCH:
                self._watch(space, number, key)
                return
            case _:
                raise RefusedError(f"{operation!r} is no operation; there are {', '.join(Operation)}")
        self._send([number, answer])

    def _watch(self, space: Space, number: int, key: str) -> None:
        if len(self._watched) >= MAX_WATCHES:
            raise RefusedError(f"{len(self._watched)} keys are watched; the most is {MAX_WATCHES}")

        def told() -> None:
            self._watched.pop(number, None)
            self._send([number, True])

        self._watched[number] = (key, told)
        self._server.table.watch(space, key, told)

    def _send(self, value: object) -> None:
        if self._transport.is_closing():
            return
        self._transport.write(store_wire.frame(value))
        if self._transport.get_write_buffer_size() > MAX_UNREAD:
            self.end()


def _is_proved(key: bytes, incarnation: int, stores: str, clients: str, proof: str) -> bool:
    return hmac.compare_digest(proof, store_wire.client_proof(key, stores, clients, incarnation))


def _keep_alive(connection: socket.socket) -> None:
    """Notice a client whose machine is gone: it counts as one that the store stays for."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
