"""Slots for calls: a job that wants a thousand does not hold up one that wants one."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtj_operator.act.slots import FairSlots, Slots


async def test_one_call_of_a_job_does_not_wait_for_a_thousand_of_another():
    slots, order = FairSlots(10), []

    async def call(who: str) -> None:
        async with slots.slot(who):
            await asyncio.sleep(0)
            order.append(who)

    big = [asyncio.create_task(call("big")) for _ in range(1000)]
    await asyncio.sleep(0)
    await call("small")
    assert order.index("small") <= 20
    await asyncio.gather(*big)
    assert order.count("big") == 1000


@given(
    total=st.integers(1, 4),
    calls=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["ends", "cancelled", "fails"])), max_size=30),
)
def test_never_more_than_the_total_and_no_slot_is_lost(total, calls):
    async def play() -> None:
        slots, held = FairSlots(total), 0

        async def call(who: str, end: str) -> None:
            nonlocal held
            async with slots.slot(who):
                held += 1
                assert held <= total
                try:
                    await asyncio.sleep(0)
                    if end == "fails":
                        raise ValueError
                finally:
                    held -= 1

        tasks = []
        for who, end in calls:
            tasks.append(asyncio.create_task(call(who, end)))
            await asyncio.sleep(0)
            if end == "cancelled":
                tasks[-1].cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
        async with asyncio.timeout(60):
            for _ in range(total):
                await slots.slot("later").__aenter__()
        assert slots._free == 0
        assert not slots._waiting

    asyncio.run(play())


async def test_who_is_cancelled_in_the_moment_of_its_turn_passes_it_on():
    slots = FairSlots(1)
    first = slots.slot("a")
    await first.__aenter__()
    second = asyncio.create_task(slots.slot("b").__aenter__())
    third = asyncio.create_task(slots.slot("c").__aenter__())
    await asyncio.sleep(0)
    await first.__aexit__(None, None, None)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    assert second.cancelled()
    await asyncio.wait_for(third, 60)


async def test_a_slot_is_given_back_by_whoever_fails():
    slots = FairSlots(1)
    with pytest.raises(ValueError, match="boom"):
        async with slots.slot("a"):
            raise ValueError("boom")
    async with asyncio.timeout(60), slots.slot("b"):
        pass


async def test_calls_that_hang_in_one_namespace_hold_up_none_in_another():
    slots, never = Slots(each=10, total=40), asyncio.Event()

    async def hang(number: int) -> None:
        async with slots.slot("theirs", number % 3):
            await never.wait()

    hanging = [asyncio.create_task(hang(number)) for number in range(100)]
    await asyncio.sleep(0)
    async with asyncio.timeout(60), slots.slot("mine", "job"):
        pass
    for task in hanging:
        task.cancel()
    await asyncio.gather(*hanging, return_exceptions=True)


async def test_of_all_namespaces_together_no_more_calls_than_the_total_are_made():
    slots, held, most = Slots(each=2, total=3), 0, 0

    async def call(namespace: str, job: int) -> None:
        nonlocal held, most
        async with slots.slot(namespace, job):
            held += 1
            most = max(most, held)
            await asyncio.sleep(0)
            held -= 1

    await asyncio.gather(*(call(namespace, job) for namespace in "abc" for job in range(4)))
    assert most == 3
    assert not slots._of, "nothing is kept of a namespace that wants nothing"


async def test_who_waits_and_is_cancelled_together_with_who_holds_a_slot_takes_it_for_nothing_else():
    """As all calls of a leader are that loses its lease."""
    slots, never = Slots(each=1, total=40), asyncio.Event()

    async def call() -> None:
        async with slots.slot("theirs", "job"):
            await never.wait()

    calls = [asyncio.create_task(call()) for _ in range(3)]
    await asyncio.sleep(0)
    for each in calls:
        each.cancel()
    ends = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(each) for each in ends] == [asyncio.CancelledError] * 3
    assert not slots._of
