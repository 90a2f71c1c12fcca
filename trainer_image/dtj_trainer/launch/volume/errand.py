"""Work on the volume that may take for ever: in a thread of its own, which is left behind when it does.

A mount that hangs holds whatever touches it. Who decides on this pod must never be held.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

_TICK = 0.01

T = TypeVar("T")


def begin(name: str, work: Callable[[], T]) -> Future[T]:
    """Begin the work.

    Args:
        name: of the thread.
        work: what it raises, the future has.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return done


def within(seconds: float, work: Callable[[], T], pause: Callable[[float], None], late: T) -> T:
    """Do the work, and wait for it for so many seconds.

    Args:
        seconds: at most.
        work: to be done; an OSError of it is as good as no answer.
        pause: waits so many seconds, or raises when the launcher is wanted elsewhere.
        late: the answer where there is none in time.
    """
    done = begin("volume-errand", work)
    deadline = time.monotonic() + seconds
    while not done.done():
        if time.monotonic() >= deadline:
            return late
        pause(_TICK)
    return late if isinstance(done.exception(), OSError) else done.result()
