"""The Unix socket on which ranks report and are asked to save.

One message is one packet (SOCK_SEQPACKET): a rank never blocks on half a message, and drops a report rather than wait.
Messages are JSON objects with a `type`:

    rank -> launcher   hello {rank, local_rank, round, incarnation, library}, report {...}, phase {phase, patience},
                       pace {seconds}, ready {} (it has asked whether to save, so it can),
                       saved {step, seconds, stall, ids, digests}, save_failed {step, errno, why},
                       kept {memory_step}, restored {step}, damaged {checkpoint, why}, cadence {save_interval}, done {}
    launcher -> rank   save {id}
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dtj.link import LIBRARY
from dtj_trainer.launch.progress.board import Board

MAX_MESSAGE = 64 * 1024
KEPT_IDS = 64


class RankSocket:
    """Serves the ranks of this pod; lives in the event loop of the servers.

    Args:
        path: of the socket, in a private folder.
        board: takes what ranks report.
        say: writes a line to the pod's log.
    """

    def __init__(self, path: Path, board: Board, say: Callable[[str], None]) -> None:
        self.path = path
        self._board = board
        self._say = say
        self._libraries = {LIBRARY}
        """Copies of the library that ranks import, as far as that has been said."""
        self._ready: dict[int, socket.socket] = {}
        self._saved_by: dict[str, set[int]] = {}
        self._wanted: dict[str, int | None] = {}
        """What is asked for and not saved: the last step that ranks of this pod had reported when it was."""
        self._agreed: list[int] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._listener: socket.socket | None = None

    async def start(self) -> None:
        """Listen."""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(self.path))
        self._listener.listen(64)
        self._listener.setblocking(False)
        self._own(asyncio.create_task(self._accept(self._listener), name="ranks"))

    async def close(self) -> None:
        """Stop listening, and close the connections."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._listener:
            self._listener.close()

    def request_save(self, id: str) -> None:
        """Have the ranks save at the next step that they agree on. The same id twice is one save."""
        if id in self._wanted or id in self._saved_by:
            return
        if zlib.crc32(id.encode()) in self._agreed:
            # The ranks have agreed on this very save already: another pod was asked a moment earlier.
            self._saved_by[id] = set(self._ready)
            self._board.saved(id)
            return
        self._wanted[id] = self._board.training.step()
        while len(self._wanted) > KEPT_IDS:
            del self._wanted[next(iter(self._wanted))]
        for connection in self._ready.values():
            self._ask(connection, id)

    async def save(self, id: str) -> bool:
        """Ask for a save, and wait for it; what is cancelled is not asked for any more.

        Returns:
            Whether all ranks that can save have published it; False: none can, or they are gone.
        """
        self.request_save(id)
        try:
            return await self._saved(id)
        finally:
            self._wanted.pop(id, None)

    async def _saved(self, id: str) -> bool:
        while True:
            if not self._ready:
                return False
            if self._ready.keys() <= self._saved_by.get(id, set()):
                return True
            self._changed.clear()
            await self._changed.wait()

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(listener)
            self._own(asyncio.create_task(self._serve(connection), name="rank"))

    def _own(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        local_rank = -1
        try:
            while body := await loop.sock_recv(connection, MAX_MESSAGE):
                said = _parse(body)
                if said.get("type") == "hello" and self._is_current(said):
                    local_rank = int(said["local_rank"])
                    self._note_library(said)
                elif local_rank >= 0:
                    self._take(local_rank, connection, said)
        except OSError:
            return
        finally:
            if self._ready.get(local_rank) is connection:
                del self._ready[local_rank]
                self._changed.set()
            connection.close()

    def _is_current(self, hello: dict[str, Any]) -> bool:
        """A rank of an earlier round may still be dying; what it says is not heard."""
        report = self._board.report()
        return (hello.get("incarnation"), hello.get("round")) == (report.incarnation, report.round) and isinstance(
            hello.get("local_rank"), int
        )

    def _note_library(self, hello: dict[str, Any]) -> None:
        """Say, once, that a rank speaks by another copy of the library, which may be of another version."""
        library = str(hello.get("library", ""))
        if library not in self._libraries:
            self._libraries.add(library)
            found = library or "a copy of an earlier version"
            self._say(
                f"rank {hello.get('rank')} imports dtj from {found}, and this launcher's is {LIBRARY}: where they are "
                "of two versions, take the other one out of the image, or from beside the script"
            )

    def _take(self, local_rank: int, connection: socket.socket, said: dict[str, Any]) -> None:
        if said.get("type") == "ready":
            self._ready[local_rank] = connection
            self._changed.set()
            for id in self._wanted:
                self._ask(connection, id)
        elif said.get("type") == "saved":
            self._agreed = [*self._agreed, *said.get("digests", [])][-KEPT_IDS:]
            self._publish(local_rank, self._answered(said))
            self._board.published()
            facts = {"checkpoint_step": said.get("step"), "checkpoint_at": time.time()}
            times = {"checkpoint_seconds": said.get("seconds"), "checkpoint_stall_seconds": said.get("stall")}
            self._board.training.take(local_rank, facts | times)
        elif said.get("type") == "save_failed":
            self._board.save_failed(local_rank, said)
        elif said.get("type") == "damaged":
            self._board.found_damaged(f"{said.get('checkpoint')}: {said.get('why')}")
        else:
            self._board.training.take(local_rank, said)

    def _answered(self, said: dict[str, Any]) -> list[str]:
        """Which of our requests a published save answers: those that its ranks had read, that they had agreed on by
        another pod's word, or that came when the step that it holds was the last one."""
        ids = [id for id in said.get("ids", []) if isinstance(id, str)]
        step, agreed = said.get("step"), said.get("digests", [])
        for id, since in self._wanted.items():
            holds_all = type(step) is int and since is not None and step >= since
            if id not in ids and (holds_all or zlib.crc32(id.encode()) in agreed):
                ids.append(id)
        return ids

    def _publish(self, local_rank: int, ids: list[str]) -> None:
        for id in ids:
            self._saved_by.setdefault(id, set()).add(local_rank)
            if self._ready.keys() <= self._saved_by[id]:
                self._wanted.pop(id, None)
                self._board.saved(id)
        while len(self._saved_by) > KEPT_IDS:
            del self._saved_by[next(iter(self._saved_by))]
        self._changed.set()

    @staticmethod
    def _ask(connection: socket.socket, id: str) -> None:
        # A rank whose queue is full of requests has not asked for a long time; one more changes nothing.
        with contextlib.suppress(OSError):
            connection.send(json.dumps({"type": "save", "id": id}).encode())


def _parse(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
