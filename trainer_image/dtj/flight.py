"""A save that goes on in a thread while training does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Flight:
    """Begins with its making.

    Args:
        step: of the checkpoint.
        work: what the thread does.
    """

    def __init__(self, step: int, work: Callable[[], None]) -> None:
        self.step = step
        self.error: BaseException | None = None
        """Why nothing was published."""
        self.began = time.monotonic()
        self.stall = 0.0
        """Seconds that training stood still for it."""
        self._ended = self.began
        self._work = work
        # A thread that waits for peers that are gone must not keep its process from ending.
        self._thread = threading.Thread(target=self._run, name=f"dtj-save-{step}", daemon=True)
        self._thread.start()

    @property
    def over(self) -> bool:
        """It has ended, well or not."""
        return not self._thread.is_alive()

    @property
    def seconds(self) -> float:
        """From its beginning to its end."""
        return self._ended - self.began

    def wait(self) -> None:
        """Return when it is over."""
        self._thread.join()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            # For the script to meet on its own thread; see `land`.
            self.error = error
        self._ended = time.monotonic()
