"""The event loop of a launcher: control on 9401, report and metrics on 9400, and the ranks' socket, in one thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from http import HTTPStatus
from pathlib import Path
from typing import Any

from dtj_api.wire import (
    OTHER_KEY,
    PATHS,
    POD_HEADER,
    SIGNATURE_HEADER,
    Meet,
    Message,
    Release,
    Save,
    Stop,
    WireError,
    decode,
    encode,
    verify,
)
from dtj_trainer.launch.progress.board import Board, Refused
from dtj_trainer.launch.progress.metrics import CONTENT_TYPE, render
from dtj_trainer.launch.serve.http_server import Answer, HttpServer, Request
from dtj_trainer.launch.serve.rank_socket import RankSocket
from dtj_trainer.launch.settings import Settings


class Servers:
    """All that others may ask of this launcher.

    Args:
        settings: of the launcher.
        board: what is shown.
        scratch: private folder for the ranks' socket.
        on_message: told of each new `meet`, `release` and `stop`, in the thread of the loop.
        say: writes a line to the pod's log.
    """

    def __init__(
        self,
        settings: Settings,
        board: Board,
        scratch: Path,
        on_message: Callable[[Meet | Release | Stop], None],
        say: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._board = board
        self._on_message = on_message
        self.ranks = RankSocket(scratch / "ranks.sock", board, say)
        self._report = HttpServer(self._show, settings.bind, settings.metrics_port)
        self._control = HttpServer(self._obey, settings.bind, settings.control_port)
        self._loop = asyncio.new_event_loop()
        self._seen = threading.Event()

    def start(self) -> None:
        """Listen on all of them.

        Raises:
            OSError: a port is taken.
        """
        threading.Thread(target=self._run, name="servers", daemon=True).start()
        # The report last: the operator answers the first one with a message.
        for part in (self.ranks, self._control, self._report):
            self.call(part.start(), timeout=10.0)

    def call(self, work: Coroutine[Any, Any, bool | None], timeout: float) -> bool | None:
        """Run a coroutine in the loop and wait for it from another thread; None when the time is over."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            return None

    def save(self, id: str) -> Future[bool]:
        """Have the ranks of this pod save; see `RankSocket.save`."""
        return asyncio.run_coroutine_threadsafe(self.ranks.save(id), self._loop)

    def wait_until_shown(self, timeout: float) -> None:
        """Wait until somebody has fetched the report as it is now."""
        self._seen.clear()
        self._seen.wait(timeout)

    def close(self) -> None:
        """Stop listening."""
        for part in (self._report, self._control, self.ranks):
            self.call(part.close(), timeout=1.0)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _show(self, request: Request) -> Answer:
        if request.method != "GET":
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"", "text/plain")
        if request.path == "/progress":
            self._seen.set()
            return Answer(HTTPStatus.OK, encode(self._board.report()))
        if request.path == "/metrics":
            return Answer(HTTPStatus.OK, render(self._settings.job, self._board), CONTENT_TYPE)
        if request.path == "/healthz":
            return Answer(HTTPStatus.OK, b"ok\n", "text/plain")
        return Answer(HTTPStatus.NOT_FOUND, b"", "text/plain")

    def _obey(self, request: Request) -> Answer:
        kind = PATHS.get(request.path)
        if kind is None or request.method != "POST":
            return Answer(HTTPStatus.NOT_FOUND, b"", "text/plain")
        signature = request.headers.get(SIGNATURE_HEADER.lower(), "")
        uid = self._settings.pod_uid
        # The header tells a message for another pod under the same address; what is signed is our own uid.
        if request.headers.get(POD_HEADER.lower()) != uid:
            return Answer(HTTPStatus.FORBIDDEN, b"this is another pod than the message is for\n", "text/plain")
        if not verify(self._settings.key, request.path, uid, request.body, signature):
            return Answer(HTTPStatus.FORBIDDEN, OTHER_KEY + b"\n", "text/plain")
        try:
            self._take(decode(kind, request.body))
        except WireError as error:
            return Answer(HTTPStatus.BAD_REQUEST, str(error).encode(), "text/plain")
        except Refused as refused:
            return Answer(HTTPStatus.CONFLICT, str(refused).encode(), "text/plain")
        return Answer(HTTPStatus.OK, encode(self._board.report()))

    def _take(self, message: Message) -> None:
        if isinstance(message, Meet):
            if message.min_nodes < 1 or message.max_nodes < message.min_nodes or ":" not in message.store:
                raise WireError(f"Meet: {message}: needs 1 <= min_nodes <= max_nodes and a store as <ip>:<port>")
            if self._board.accept(message):
                self._on_message(message)
            return
        # While its ranks save before they move it is in one, and has been told to meet under the next.
        known = {self._board.incarnation, self._board.wanted}
        if message.incarnation not in known:
            current = " and ".join(map(str, sorted(known)))
            raise Refused(f"{type(message).__name__} for incarnation {message.incarnation}, and this is {current}")
        if isinstance(message, Save):
            self.ranks.request_save(message.id)
        else:
            self._on_message(message)
