"""The queue between watches and reconciles keeps its promises under any order of calls."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from dtj_operator.queue import Shutdown, WorkQueue

KEYS = st.sampled_from(["a", "b", "c"])


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class QueueMachine(RuleBasedStateMachine):
    """A model: a set of dirty keys, a set of held keys, and due times."""

    def __init__(self):
        super().__init__()
        self.clock = Clock()
        self.loop = asyncio.new_event_loop()
        self.queue: WorkQueue[str] = WorkQueue(clock=self.clock, jitter=lambda low, high: high)
        self.dirty: set[str] = set()
        self.held: set[str] = set()
        self.due: dict[str, float] = {}

    def teardown(self):
        self.loop.close()

    def _promote(self):
        for key, at in list(self.due.items()):
            if at <= self.clock.now:
                self.dirty.add(key)
                del self.due[key]

    @rule(key=KEYS)
    def add(self, key):
        self.queue.add(key)
        self.dirty.add(key)

    @rule(key=KEYS, seconds=st.sampled_from([0.0, 1.0, 5.0]))
    def add_after(self, key, seconds):
        self.queue.add_after(key, seconds)
        if seconds == 0:
            self.dirty.add(key)
        else:
            self.due[key] = min(self.due.get(key, float("inf")), self.clock.now + seconds)

    @rule(seconds=st.sampled_from([0.5, 1.0, 10.0]))
    def wait(self, seconds):
        self.clock.now += seconds

    @rule()
    def get(self):
        self._promote()
        available = self.dirty - self.held

        async def take():
            async with asyncio.timeout(0 if not available else 60):
                return await self.queue.get()

        try:
            key = self.loop.run_until_complete(take())
        except TimeoutError:
            assert not available
            return
        assert key in available
        self.dirty.discard(key)
        self.held.add(key)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def done(self, data):
        key = data.draw(st.sampled_from(sorted(self.held)))
        self.queue.done(key)
        self.held.discard(key)

    @invariant()
    def never_two_workers_on_a_key(self):
        assert self.queue.processing == self.held
        assert len(self.queue) <= len({"a", "b", "c"} - self.held)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


async def test_a_key_added_many_times_is_handed_out_once():
    queue: WorkQueue[str] = WorkQueue()
    for _ in range(5):
        queue.add("a")
    assert await queue.get() == "a"
    assert len(queue) == 0


async def test_a_key_added_while_it_is_held_comes_back_after_done_and_not_before():
    queue: WorkQueue[str] = WorkQueue()
    queue.add("a")
    await queue.get()
    queue.add("a")
    assert len(queue) == 0
    queue.done("a")
    assert await queue.get() == "a"


async def test_failures_come_back_later_and_later_up_to_a_limit_until_forgotten():
    queue: WorkQueue[str] = WorkQueue(base_delay=1, max_delay=10, clock=Clock(), jitter=lambda low, high: high)
    assert [queue.add_failed("a") for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    queue.forget("a")
    assert queue.add_failed("a") == 1


async def test_jitter_stays_between_half_and_whole():
    seen = []
    queue: WorkQueue[str] = WorkQueue(base_delay=1, jitter=lambda low, high: seen.append((low, high)) or low)
    queue.add_failed("a")
    assert seen == [(0.5, 1.0)]


async def test_a_failing_key_does_not_hold_up_the_others():
    queue: WorkQueue[str] = WorkQueue(base_delay=1000)
    queue.add("bad")
    await queue.get()
    queue.add_failed("bad")
    queue.done("bad")
    queue.add("good")
    assert await queue.get() == "good"


async def test_of_several_times_the_earliest_counts():
    clock = Clock()
    queue: WorkQueue[str] = WorkQueue(clock=clock)
    queue.add_after("a", 10)
    queue.add_after("a", 1)
    queue.add_after("a", 5)
    clock.now += 1
    assert await queue.get() == "a"
    queue.done("a")
    clock.now += 20
    queue.add("b")
    assert await queue.get() == "b", "the later times of `a` are void"


async def test_a_waiting_worker_wakes_for_a_key_that_becomes_due():
    queue: WorkQueue[str] = WorkQueue()
    worker = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.add_after("a", 0.01)
    assert await asyncio.wait_for(worker, 60) == "a"


async def test_all_waiting_workers_get_work():
    queue: WorkQueue[str] = WorkQueue()
    workers = [asyncio.create_task(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    for key in "abc":
        queue.add(key)
    assert sorted(await asyncio.wait_for(asyncio.gather(*workers), 60)) == ["a", "b", "c"]


async def test_shutdown_ends_waiting_workers_and_hands_out_nothing_more():
    queue: WorkQueue[str] = WorkQueue()
    worker = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    queue.shutdown()
    with pytest.raises(Shutdown):
        await worker
    queue.add("a")
    with pytest.raises(Shutdown):
        await queue.get()
