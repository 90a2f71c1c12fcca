"""Meetings of launchers, held in a test over a store of its own."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

from store_thread import StoreThread

from dtj_trainer.launch.meeting.meeting import Meeting
from dtj_trainer.launch.meeting.round import Member, Round, Terms
from dtj_trainer.launch.store.link import StoreLink

_counter = iter(range(1_000_000))


class Held:
    """Meetings of one incarnation, each for a thread of its own."""

    meetings: ClassVar[list[Meeting]] = []

    def __init__(self, store: StoreThread, fewest: int, most: int, **terms: Any) -> None:
        defaults: dict[str, Any] = {"join_timeout": 20.0, "last_call": 0.3, "heartbeat": 0.1, "heartbeat_misses": 5}
        self.incarnation = next(_counter)
        self.terms = Terms(f"run-{self.incarnation}", fewest, most, **(defaults | terms))
        self.store = store
        self.stopped = threading.Event()

    def link(self) -> StoreLink:
        """A link to the store."""
        return self.store.link(self.incarnation)

    def pause(self, seconds: float) -> None:
        """Wait, unless all are to stop."""
        if self.stopped.wait(seconds):
            raise InterruptedError

    def meeting(self, index: int, ranks: int = 1, uid: str = "u") -> Meeting:
        """A meeting of one more launcher."""
        name = f"job-worker-{index:04d}"
        me = Member(name, f"{name}/{uid}", "127.0.0.1", 0, ranks, False)
        self.meetings.append(Meeting(self.terms, self.link, me, self.pause))
        return self.meetings[-1]

    def join(self, *meetings: Meeting, after: list[float] | None = None) -> list[Round]:
        """Have them all join, each in a thread; their rounds."""

        def join_one(meeting: Meeting, delay: float) -> Round:
            time.sleep(delay)
            meeting.next_rendezvous()
            assert meeting.round is not None
            return meeting.round

        with ThreadPoolExecutor(len(meetings)) as pool:
            return list(pool.map(join_one, meetings, after or [0.0] * len(meetings)))
