"""A connection to the rendezvous store that notices when the store hangs.

An operation of torch's TCPStore on a stopped or partitioned store never returns, whatever its timeout (measured with
torch 2.15). So each runs in a thread of the link, which is left behind when it does not answer in time. Only operations
that the store answers at once are used: a blocking `wait` or `get` would look like a hang.
"""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future, wait
from datetime import timedelta
from typing import Any

from torch.distributed import TCPStore

READ_TIMEOUT = 5.0


class StoreLostError(Exception):
    """The store is gone or hangs."""


class StoreLink:
    """One connection, with all keys under one prefix. Not for two threads at once.

    Raises:
        StoreLostError: from any method, the constructor too; from then on at once, since the link is of no use.
    """

    def __init__(self, host: str, port: int, prefix: str, timeout: float = READ_TIMEOUT) -> None:
        self._prefix = prefix
        self._timeout = timeout
        self._where = f"{host}:{port}"
        self._requests: queue.SimpleQueue[tuple[str, tuple[Any, ...], Future[Any]] | None] = queue.SimpleQueue()
        self._lost: StoreLostError | None = None
        connected: Future[Any] = Future()
        threading.Thread(
            target=self._run, args=(host, port, connected), name=f"store-{self._where}", daemon=True
        ).start()
        try:
            self._wait(connected, timeout + 1)
        except StoreLostError:
            self.close()
            raise

    def get(self, key: str) -> str | None:
        """The value, or None where there is none yet."""
        if not self._call("check", [self._prefix + key]):
            return None
        value: bytes = self._call("get", self._prefix + key)
        return value.decode()

    def exists(self, key: str) -> bool:
        """Whether the key has a value."""
        return bool(self._call("check", [self._prefix + key]))

    def set(self, key: str, value: str) -> None:
        """Write a value."""
        self._call("set", self._prefix + key, value)

    def add(self, key: str, amount: int) -> int:
        """Add to a counter; its new value."""
        return int(self._call("add", self._prefix + key, amount))

    def create(self, key: str, value: str) -> str:
        """Write a value where there is none yet; the value that stands then, ours or the earlier one."""
        stands: bytes = self._call("compare_set", self._prefix + key, "", value)
        return stands.decode()

    def close(self) -> None:
        """Let the connection go."""
        self._requests.put(None)

    def _call(self, operation: str, *args: Any) -> Any:
        if self._lost:
            raise self._lost
        done: Future[Any] = Future()
        self._requests.put((operation, args, done))
        try:
            return self._wait(done, self._timeout)
        except StoreLostError as error:
            self._lost = error
            raise

    def _wait(self, done: Future[Any], timeout: float) -> Any:
        wait((done,), timeout)
        if not done.done():
            raise StoreLostError(f"the store {self._where} has not answered for {timeout:g} s")
        try:
            return done.result()
        except (RuntimeError, ValueError) as error:
            raise StoreLostError(f"the store {self._where} is gone: {str(error).splitlines()[0]}") from error

    def _run(self, host: str, port: int, connected: Future[Any]) -> None:
        timeout = timedelta(seconds=self._timeout)
        try:
            store = TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=timeout)
        except Exception as error:
            connected.set_exception(error)
            return
        connected.set_result(None)
        while (request := self._requests.get()) is not None:
            operation, args, done = request
            try:
                done.set_result(getattr(store, operation)(*args))
            except Exception as error:
                done.set_exception(error)
