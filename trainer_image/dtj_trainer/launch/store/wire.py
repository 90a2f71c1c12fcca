"""What goes between the rendezvous store and its clients: frames of JSON, an opening that both sides prove, and bounds.

A frame is its length in four bytes, big-endian, and that many bytes of JSON. The store opens with a number that is used
once; the client answers with one of its own, its incarnation, and a proof that it holds the job's key; the store proves
the same in turn. Nothing secret is sent, and what was overheard opens nothing later. After that:

    client   [number, operation, key]  or  [number, operation, key, value]
    store    [number, answer]          or  [number, null, why it was refused]

`watch` is answered once its key has a value, however long that takes. All others are answered at once.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dtj_api.wire import sign

LENGTH_BYTES = 4
MAX_OPENING = 1024
"""Bytes of a frame before a client has proved itself."""
MAX_FRAME = 4 * 1024 * 1024
"""Bytes of a frame: the list of the members of a round with ten thousand of them is half of it."""
MAX_KEY = 512
"""Characters of a key."""
OPENING_PATIENCE = 5.0
"""Seconds that a client may take to prove itself."""

_CLIENT, _STORE = "/store/client", "/store/store"


class Operation(StrEnum):
    """What a client may ask."""

    CHECK = "check"
    GET = "get"
    SET = "set"
    ADD = "add"
    CREATE = "create"
    DROP = "drop"
    WATCH = "watch"


class FrameError(Exception):
    """The other side does not keep to the protocol; the text says how."""


@dataclass
class Frames:
    """Cuts what comes in into frames. `most`: bytes of the longest one that is taken."""

    most: int
    _rest: bytes = b""

    def feed(self, data: bytes) -> list[Any]:
        """The values of all frames that are whole now.

        Raises:
            FrameError: a frame is too long, or is no JSON.
        """
        data, start = self._rest + data, 0
        found: list[Any] = []
        while (first := start + LENGTH_BYTES) <= len(data):
            length = int.from_bytes(data[start:first])
            if length > self.most:
                raise FrameError(f"a frame of {length} bytes; the most is {self.most}")
            if len(data) < first + length:
                break
            start = first + length
            try:
                found.append(json.loads(data[first:start]))
            except (ValueError, RecursionError) as error:
                raise FrameError(f"a frame that is no JSON: {type(error).__name__}") from error
        self._rest = data[start:]
        return found


def frame(value: object) -> bytes:
    """One frame."""
    text = json.dumps(value, separators=(",", ":")).encode()
    return len(text).to_bytes(LENGTH_BYTES) + text


def nonce() -> str:
    """A number that is used once."""
    return secrets.token_hex(16)


def client_proof(key: bytes, stores: str, clients: str, incarnation: int) -> str:
    """That a client holds the key: from the numbers of both sides, and for this incarnation alone."""
    return sign(key, _CLIENT, str(incarnation), f"{stores} {clients}".encode())


def store_proof(key: bytes, stores: str, clients: str, incarnation: int) -> str:
    """That the store holds the key, so that nobody else under its address is taken for it."""
    return sign(key, _STORE, str(incarnation), f"{stores} {clients}".encode())
