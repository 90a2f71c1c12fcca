"""The rank's end of the launcher's socket: it never blocks, and a launcher that is gone is no error."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from typing import Any

from dtj.places import number
from dtj_api.names import Env

MAX_MESSAGE = 64 * 1024
LIBRARY = os.path.dirname(os.path.realpath(__file__))
"""The folder of this copy of the library: an image may hold one beside that which came with the launcher."""


class Link:
    """Opened by the first message; without a launcher, every message is dropped."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = -1
        self._socket: socket.socket | None = None

    def send(self, message: dict[str, Any]) -> bool:
        """Send one message, unless that would block; whether it was sent."""
        body = json.dumps(message).encode()
        with self._lock:
            connection = self._connection()
            if connection is None or len(body) > MAX_MESSAGE:
                return False
            try:
                connection.send(body)
            except BlockingIOError:
                return False
            except OSError:
                self._drop()
                return False
            return True

    def requests(self) -> list[str]:
        """Ids of the saves that the launcher has asked for since the last call."""
        ids: list[str] = []
        with self._lock:
            connection = self._connection()
            with contextlib.suppress(BlockingIOError):
                while connection is not None:
                    try:
                        body = connection.recv(MAX_MESSAGE)
                    except BlockingIOError:
                        raise
                    except OSError:
                        body = b""
                    if not body:
                        self._drop()
                        break
                    said = json.loads(body)
                    if said.get("type") == "save":
                        ids.append(str(said["id"]))
        return ids

    def _connection(self) -> socket.socket | None:
        # A data loader forked from this rank must not speak for it.
        if self._pid == os.getpid():
            return self._socket
        if self._pid != -1:
            return None
        self._pid = os.getpid()
        path = os.environ.get(Env.RANK_SOCKET)
        if not path:
            return None
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        hello = {
            "type": "hello",
            "rank": number("RANK", 0),
            "local_rank": number("LOCAL_RANK", 0),
            "incarnation": number(Env.INCARNATION, 0),
            "round": number(Env.ROUND, 0),
            "library": LIBRARY,
        }
        try:
            connection.connect(path)
            connection.setblocking(False)
            connection.send(json.dumps(hello).encode())
        except OSError:
            connection.close()
            return None
        self._socket = connection
        return connection

    def _drop(self) -> None:
        if self._socket:
            self._socket.close()
        self._socket = None


link = Link()
"""The one of this process."""
