"""A connection to the rendezvous store that notices when the store hangs.

Each operation is answered at once by a store that is well, so one that is not answered within the timeout means that it
hangs or cannot be reached. Only a watch may wait for ever, and it holds nobody up: a thread of the link calls back.
"""

from __future__ import annotations

import contextlib
import hmac
import itertools
import math
import socket
import struct
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from dtj_trainer.launch.store import wire as store_wire
from dtj_trainer.launch.store.wire import FrameError, Frames, Operation

READ_TIMEOUT = 5.0
_BLOCK = 256 * 1024


class StoreLostError(Exception):
    """The store is gone or hangs, or is none of this job."""


class StoreLink:
    """One connection to the store, in one incarnation.

    Args:
        host, port: of the store.
        incarnation: whose keys are meant.
        key: of the job.
        timeout: seconds for the store to answer.

    Raises:
        StoreLostError: from any method, the constructor too; from then on at once, since the link is of no use.
    """

    def __init__(self, host: str, port: int, incarnation: int, key: bytes, timeout: float = READ_TIMEOUT) -> None:
        self._where = f"{host}:{port}"
        self._timeout = timeout
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._pending: dict[int, Callable[[Any, str | None], None]] = {}
        self._lost: StoreLostError | None = None
        self._frames = Frames(store_wire.MAX_FRAME)
        self._read: list[Any] = []
        try:
            self._socket = socket.create_connection((host, port), timeout)
        except OSError as error:
            raise StoreLostError(f"the store {self._where} is gone: {_words(error)}") from error
        try:
            self._open(incarnation, key)
        except BaseException:
            self._socket.close()
            raise
        # Receiving is for the thread, and may wait for ever; to send blocks only where the store does not read.
        self._socket.settimeout(None)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", math.ceil(timeout), 0))
        threading.Thread(target=self._receive, name=f"store-{self._where}", daemon=True).start()

    def get(self, key: str) -> str | None:
        """The value, or None where there is none yet."""
        value = self._call(Operation.GET, key)
        return None if value is None else str(value)

    def exists(self, key: str) -> bool:
        """Whether the key has a value."""
        return bool(self._call(Operation.CHECK, key))

    def set(self, key: str, value: str) -> None:
        """Write a value."""
        self._call(Operation.SET, key, value)

    def add(self, key: str, amount: int) -> int:
        """Add to a counter; its new value."""
        return int(self._call(Operation.ADD, key, amount))

    def create(self, key: str, value: str) -> str:
        """Write a value where there is none yet; the value that stands then, ours or the earlier one."""
        return str(self._call(Operation.CREATE, key, value))

    def drop(self, prefix: str) -> None:
        """Have the store forget all keys that begin so."""
        self._call(Operation.DROP, prefix)

    def watch(self, key: str, told: Callable[[], None]) -> None:
        """Call `told` once, in a thread of the link, when the key has a value; never where the link is lost first."""
        self._send(Operation.WATCH, key, lambda answer, _: told() if answer else None)

    def check(self) -> None:
        """Raise if the connection is known to be lost. Asks nobody."""
        if self._lost:
            raise self._lost

    def close(self) -> None:
        """Let the connection go."""
        self._lose(StoreLostError(f"the link to the store {self._where} has been closed"))

    def _open(self, incarnation: int, key: bytes) -> None:
        deadline = time.monotonic() + self._timeout
        clients = store_wire.nonce()
        try:
            stores = self._opening(deadline, "nonce")
            proof = store_wire.client_proof(key, stores, clients, incarnation)
            self._socket.sendall(store_wire.frame({"nonce": clients, "incarnation": incarnation, "proof": proof}))
            answer = self._opening(deadline, "proof")
        except TimeoutError as error:
            raise self._silent() from error
        except (OSError, FrameError) as error:
            raise StoreLostError(f"the store {self._where} is gone: {_words(error)}") from error
        if not hmac.compare_digest(answer, store_wire.store_proof(key, stores, clients, incarnation)):
            raise StoreLostError(f"who answers at {self._where} does not hold the key of this job: it is another store")

    def _opening(self, deadline: float, field: str) -> str:
        while not self._read:
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            self._read = self._frames.feed(self._block())
        match self._read.pop(0):
            case {"refused": str(why)}:
                raise FrameError(f"it refuses us: {why}")
            case dict(said) if isinstance(text := said.get(field), str) and text.isascii():
                return text
        raise FrameError(f"it does not open with {field}: it is no store of dtj")

    def _block(self) -> bytes:
        block = self._socket.recv(_BLOCK)
        if not block:
            raise ConnectionResetError("it has closed the connection")
        return block

    def _call(self, operation: Operation, key: str, *value: object) -> Any:
        done: Future[tuple[Any, str | None]] = Future()
        self._send(operation, key, lambda answer, why: done.set_result((answer, why)), *value)
        try:
            answer, why = done.result(self._timeout)
        except TimeoutError:
            self._lose(self._silent())
        else:
            if why is None:
                return answer
            self._lose(StoreLostError(f"the store {self._where} refuses {operation} {key}: {why}"))
        assert self._lost
        raise self._lost

    def _send(self, operation: Operation, key: str, told: Callable[[Any, str | None], None], *value: object) -> None:
        with self._lock:
            self.check()
            number = next(self._numbers)
            self._pending[number] = told
            try:
                self._socket.sendall(store_wire.frame([number, operation, key, *value]))
            except BlockingIOError:
                lost = self._silent()
            except OSError as error:
                lost = StoreLostError(f"the store {self._where} is gone: {_words(error)}")
            else:
                return
        self._lose(lost)
        raise lost

    def _receive(self) -> None:
        try:
            while True:
                for value in (*self._read, *self._frames.feed(self._block())):
                    self._hear(value)
                self._read = []
        except (OSError, FrameError) as error:
            self._lose(StoreLostError(f"the store {self._where} is gone: {_words(error)}"))

    def _hear(self, value: Any) -> None:
        match value:
            case [int(number), answer]:
                why = None
            case [int(number), answer, str(why)]:
                pass
            case {"refused": str(why)}:
                raise FrameError(f"it refuses us: {why}")
            case _:
                raise FrameError("it sends what is no answer")
        with self._lock:
            told = self._pending.pop(number, None)
        if told:
            told(answer, why)

    def _lose(self, why: StoreLostError) -> None:
        """The first reason stands. Whoever waits for an answer is told."""
        with self._lock:
            if self._lost:
                return
            self._lost = why
            waiting, self._pending = self._pending, {}
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for told in waiting.values():
            told(None, str(why))

    def _silent(self) -> StoreLostError:
        return StoreLostError(f"the store {self._where} has not answered for {self._timeout:g} s")


def _words(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).splitlines()[0]
