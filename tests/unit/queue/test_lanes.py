"""Who takes long holds up nobody who does not: by bounds on workers, whatever happens in which order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from dtj_operator.config import Config
from dtj_operator.lanes import QUICK, Lanes
from dtj_operator.queue import WorkQueue
from dtj_operator.telemetry.runtime import RuntimeMetrics
from dtj_operator.work import Work

WORKERS = Config().workers
Key = tuple[str, str]


def lanes(workers: int | None = 8) -> Lanes[Key]:
    return Lanes(workers, lambda key: key[0])


def taken(lanes: Lanes[Key]) -> list[Key]:
    """All that may be taken now."""
    found = []
    while (key := lanes.take()) is not None:
        found.append(key)
    return found


def test_new_keys_of_one_namespace_take_half_of_the_workers():
    waiting = lanes(8)
    for number in range(20):
        waiting.add(("theirs", str(number)))
    assert len(taken(waiting)) == 4
    waiting.add(("mine", "job"))
    assert taken(waiting) == [("mine", "job")]


def test_slow_keys_of_all_namespaces_leave_workers_to_the_quick_ones():
    waiting = lanes(8)
    for number in range(20):
        waiting.add((f"namespace-{number}", "job"))
    assert len(taken(waiting)) == 6
    waiting.done(("namespace-0", "job"), QUICK)
    waiting.add(("namespace-0", "job"))
    assert len(taken(waiting)) == 2, "one that was quick, and one that waited for its worker"


def quick_ones(waiting: Lanes[Key], namespace: str, number: int) -> list[Key]:
    """Keys that are known to be quick, and wait."""
    keys = [(namespace, str(each)) for each in range(number)]
    for key in keys:
        waiting.add(key)
        while (got := waiting.take()) is not None:
            waiting.done(got, QUICK)
    for key in keys:
        waiting.add(key)
    return keys


def test_a_namespace_whose_calls_hang_from_now_on_leaves_workers_to_the_others():
    waiting = lanes(8)
    theirs = quick_ones(waiting, "theirs", 100)
    assert taken(waiting) == theirs[:6]
    (mine,) = quick_ones(waiting, "mine", 1)
    assert taken(waiting) == [mine]


def test_namespaces_take_turns_among_quick_keys_too():
    waiting = lanes()
    theirs = quick_ones(waiting, "theirs", 100)
    waiting.add(("mine", "job"))
    assert waiting.take() == theirs[0]
    waiting.take()
    waiting.done(("mine", "job"), QUICK)
    waiting.add(("mine", "job"))
    assert [waiting.take() for _ in range(2)] == [theirs[1], ("mine", "job")]


@pytest.mark.parametrize(("seconds", "at_once"), [(QUICK, True), (QUICK * 2, False)], ids=["quick", "slow"])
def test_the_last_time_decides_which_lane_a_key_is_in(seconds, at_once):
    waiting = lanes(4)
    waiting.add(("theirs", "job"))
    waiting.take()
    waiting.done(("theirs", "job"), 0)
    waiting.add(("theirs", "job"))
    waiting.take()
    waiting.done(("theirs", "job"), seconds)
    for other in ("one", "two"):
        waiting.add(("theirs", other))
        waiting.take()
    waiting.add(("theirs", "job"))
    assert bool(taken(waiting)) == at_once, "what the namespace has of the slow lane's workers is taken"


def test_namespaces_take_turns_and_so_do_the_lanes():
    waiting = lanes(8)
    waiting.add(("a", "quick"))
    waiting.take()
    waiting.done(("a", "quick"), 0)
    for each in (("a", "1"), ("a", "2"), ("b", "1"), ("a", "quick")):
        waiting.add(each)
    assert taken(waiting) == [("a", "quick"), ("a", "1"), ("b", "1"), ("a", "2")]


@pytest.mark.parametrize("workers", [1, 2, 3, 8, None])
def test_with_any_number_of_workers_somebody_is_served(workers):
    waiting = lanes(workers)
    waiting.add(("a", "1"))
    assert taken(waiting) == [("a", "1")]


def test_nothing_is_kept_of_a_key_that_is_gone():
    waiting = lanes()
    waiting.add(("a", "1"))
    waiting.take()
    waiting.done(("a", "1"), 0)
    waiting.keep([])
    assert not waiting._known_quick
    assert not waiting._held
    assert not waiting._slow


@given(st.data())
def test_every_key_is_taken_once_and_the_bounds_hold(data):
    waiting, wait, held = lanes(8), set[Key](), dict[Key, bool]()
    quick = set[Key]()
    keys = st.tuples(st.sampled_from("abc"), st.sampled_from("0123456789"))
    for _ in range(data.draw(st.integers(0, 60))):
        key = data.draw(keys)
        if key not in wait and key not in held:
            waiting.add(key)
            wait.add(key)
        elif key in held:
            seconds = data.draw(st.sampled_from([0.0, QUICK * 3]))
            waiting.done(key, seconds)
            (quick.add if seconds == 0 else quick.discard)(key)
            del held[key]
        if data.draw(st.booleans()) and (got := waiting.take()) is not None:
            wait.remove(got)
            held[got] = got not in quick
        slow = [each for each, is_slow in held.items() if is_slow]
        assert len(slow) <= 6
        assert max((sum(each[0] == who for each in slow) for who in "abc"), default=0) <= 4
        assert len(waiting) == len(wait)
    for key in list(held):
        waiting.done(key, QUICK * 3)
    left = set[Key]()
    while got := waiting.take():
        left.add(got)
        waiting.done(got, QUICK * 3)
    assert left == wait


class Reconciler:
    """Looks at jobs: at those of one namespace without end, once its webhook hangs."""

    def __init__(self) -> None:
        self.hangs = asyncio.Event()
        self.seen: asyncio.Queue[Key] = asyncio.Queue()

    async def reconcile(self, key: Key) -> None:
        await self.seen.put(key)
        if self.hangs.is_set() and key[1].startswith("hangs"):
            await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("honest", "known"), [(("theirs", "honest"), True), (("mine", "honest"), False)], ids=["known", "new elsewhere"]
)
async def test_jobs_whose_calls_hang_do_not_keep_an_honest_one_from_its_worker(honest, known):
    reconciler: Any = Reconciler()
    # A clock that stands: on a busy machine what is quick may take long.
    queue: WorkQueue[Key] = WorkQueue(workers=WORKERS, party=lambda key: key[0], clock=lambda: 0.0)
    there = [honest] if known else []
    metrics = RuntimeMetrics(CollectorRegistry())
    work = Work(queue, reconciler, lambda: there, metrics, workers=WORKERS, resync_seconds=3600)
    running = asyncio.create_task(work.run())
    try:
        async with asyncio.timeout(60):
            for _ in there:
                await reconciler.seen.get()
            for _ in range(10):
                await asyncio.sleep(0)
            assert not queue.processing
            reconciler.hangs.set()
            for number in range(3 * WORKERS):
                queue.add(("theirs", f"hangs-{number}"))
            await reconciler.seen.get()
            queue.add(honest)
            while await reconciler.seen.get() != honest:
                pass
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
