"""Parts that run side by side, of which the first that fails ends the others.

A part is a thread, and its time goes into programs that it started: compilers, image builders. So giving up means
ending those, with all that they started in turn, and letting no part start another. What failed first is then the last
to be told, and is told within seconds, not when the slowest part has come to its end.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import ContextVar, copy_context
from typing import Any

from dtj_cluster.errors import ClusterError
from dtj_cluster.identity import ProcessIdentity, descendants

GRACE = 3.0
"""Seconds between asking programs to end and killing them."""
_MOST_THREADS = 16


class GivenUp(ClusterError):
    """Another part failed, so this one was ended."""

    def __init__(self) -> None:
        super().__init__("given up, since another part failed or the command was interrupted")


class Parts:
    """The parts of one `together`, and the programs that they run at the moment."""

    def __init__(self) -> None:
        self._given_up = threading.Event()
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[Any]] = set()

    def check(self) -> None:
        """Raise GivenUp when these parts are to end."""
        if self._given_up.is_set():
            raise GivenUp

    @contextlib.contextmanager
    def running(self, process: subprocess.Popen[Any]) -> Iterator[None]:
        """End ``process`` with the others if one fails while the body runs."""
        with self._lock:
            self._running.add(process)
        if self._given_up.is_set():
            _end([process])
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(process)

    def give_up(self) -> None:
        """Let nothing start any more."""
        self._given_up.set()

    def end(self) -> None:
        """End what runs."""
        with self._lock:
            running = list(self._running)
        _end(running)


_parts: ContextVar[Parts] = ContextVar("parts", default=Parts())  # noqa: B039  (never given up: the whole process's)


def current() -> Parts:
    """The parts that the caller is one of; without `together`, those that nobody gives up."""
    return _parts.get()


def together(work: Iterable[Callable[[], None]], give_up: Callable[[], None] = lambda: None) -> None:
    """Run all side by side. The first failure, or an interruption, ends the others and is raised when they have ended.

    ``give_up`` is called then, for what the parts do beside running programs.
    """
    parts = Parts()

    def run(one: Callable[[], None]) -> None:
        _parts.set(parts)
        one()

    with ThreadPoolExecutor(_MOST_THREADS) as pool:
        try:
            for future in as_completed([pool.submit(copy_context().run, run, one) for one in work]):
                future.result()
        except BaseException:
            parts.give_up()
            give_up()
            parts.end()
            raise


def _end(processes: Iterable[subprocess.Popen[Any]]) -> None:
    """End the programs and all that they started: a compiler's own compilers work on when only the first is asked."""
    found = [ProcessIdentity.of(process.pid) for process in processes if process.returncode is None]
    tree = [one for top in found if top is not None for one in (top, *descendants(top))]
    for number, seconds in ((signal.SIGTERM, GRACE), (signal.SIGKILL, 1.0)):
        deadline = time.monotonic() + seconds
        for one in tree:
            one.send(number)
        for one in tree:
            one.wait(max(0.0, deadline - time.monotonic()))
