"""Connections at once: never more than the bounds, none lost, and the oldest who may is next."""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dtj_operator.connections import Connections
from dtj_operator.observe.reports import Reports


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Room:
    """Who came in, in order; `end` one and the next may come."""

    def __init__(self, in_all: int, each: int) -> None:
        self.connections = Connections(in_all, each)
        self.entered: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    def come(self, *names: str) -> None:
        """The party is the first letter."""
        for name in names:
            self.tasks[name] = asyncio.create_task(self._stay(name))

    async def _stay(self, name: str) -> None:
        self.ends[name] = asyncio.Event()
        async with self.connections.connection(name[0]):
            self.entered.append(name)
            await self.ends[name].wait()

    async def end(self, name: str) -> None:
        self.ends[name].set()
        await turns()


async def test_the_oldest_who_may_is_next():
    room = Room(3, 2)
    room.come("a1", "a2", "a3", "a4", "b1", "c1", "a5", "b2")
    await turns()
    assert room.entered == ["a1", "a2", "b1"]
    await room.end("b1")
    assert room.entered[3:] == ["c1"], "a has its share"
    await room.end("a1")
    assert room.entered[4:] == ["a3"], "older than b2"
    await room.end("c1")
    assert room.entered[5:] == ["b2"]
    for task in room.tasks.values():
        task.cancel()
    await asyncio.gather(*room.tasks.values(), return_exceptions=True)
    assert room.connections.idle


@given(
    in_all=st.integers(1, 4),
    each=st.integers(1, 3),
    calls=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["ends", "fails", "is cut off"])), max_size=25),
)
def test_never_more_than_the_bounds_and_none_is_lost(in_all, each, calls):
    async def play() -> None:
        connections, served = Connections(in_all, each), 0
        held: Counter[str] = Counter()

        async def call(who: str, how: str) -> None:
            nonlocal served
            async with connections.connection(who):
                held[who] += 1
                served += 1
                assert held[who] <= each
                assert held.total() <= in_all
                try:
                    await asyncio.sleep(0)
                    if how == "fails":
                        raise ValueError
                finally:
                    held[who] -= 1

        tasks = [asyncio.create_task(call(who, how)) for who, how in calls]
        await asyncio.sleep(0)
        cut = [task for task, (_, how) in zip(tasks, calls, strict=True) if how == "is cut off"]
        for task in cut:
            task.cancel()
        async with asyncio.timeout(60):
            await asyncio.gather(*tasks, return_exceptions=True)
        assert served >= len(calls) - len(cut)
        assert connections.idle
        async with asyncio.timeout(60), connections.connection("d"):
            pass

    asyncio.run(play())


async def test_reports_are_asked_for_by_32_connections_a_job_and_512_in_all(monkeypatch):
    begun = []

    async def fetch(_: Reports, uid: str, __: str) -> None:
        begun.append(uid)
        await asyncio.Event().wait()

    monkeypatch.setattr(Reports, "_fetch", fetch)
    reports = Reports(lambda uid: 3600.0, lambda uid: None)
    for number in range(100):
        reports.follow(f"large-{number}", "127.0.0.1", "large")
    await turns()
    assert begun == [f"large-{number}" for number in range(32)]
    for job in range(40):
        for number in range(20):
            reports.follow(f"{job}-{number}", "127.0.0.1", f"job-{job}")
    await turns()
    assert len(begun) == 512
    await reports.close()
