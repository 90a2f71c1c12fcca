"""What a plan has to do at a certain time is not late because a call failed: the back-off ends where the plan looks."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from plan_jobs import NAME, NAMESPACE, NOW, a_job
from prometheus_client import CollectorRegistry

from dtj_operator.act.control import ControlError
from dtj_operator.act.executor import ActError
from dtj_operator.act.progress import ProgressShare
from dtj_operator.kube import errors
from dtj_operator.queue import MAX_DELAY, WorkQueue
from dtj_operator.reconcile import Reconciler, Unfinished
from dtj_operator.telemetry.runtime import RuntimeMetrics
from dtj_operator.work import Work

KEY = (NAMESPACE, NAME)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def work(clock: Clock, failure: Exception) -> Work:
    async def fails(_: Any) -> None:
        raise failure

    reconciler: Any = SimpleNamespace(reconcile=fails)
    return Work(
        WorkQueue(clock=clock, jitter=lambda low, high: high),
        reconciler,
        list,
        RuntimeMetrics(CollectorRegistry()),
        workers=1,
        resync_seconds=300,
    )


async def next_look(work: Work, clock: Clock) -> float:
    """Seconds from one more failure, after many, to the next reconcile."""
    queue = work._queue
    queue.add(KEY)
    for _ in range(20):
        clock.now += MAX_DELAY
        await work.reconcile(await queue.get())
    begun = clock.now
    while True:
        waiter = asyncio.create_task(queue.get())
        for _ in range(5):
            await asyncio.sleep(0)
        if waiter.done():
            return clock.now - begun
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        clock.now += 1.0


@pytest.mark.parametrize(
    ("failure", "seconds"),
    [
        (Unfinished("ner-worker-0001 does not answer", 2.0), 2),
        (Unfinished("ner-worker-0001 does not answer", 3600.0), 300),
        (Unfinished("ner-worker-0001 does not answer", None), 300),
        (errors.Unavailable("GET", "nobody knows what the plan would have been"), 15),
        (errors.Forbidden("GET", "it will not pass by itself"), 300),
        (ValueError("a defect"), 300),
    ],
    ids=["a stop is due", "a deadline far away", "no date", "no plan", "not allowed", "a defect"],
)
async def test_a_failing_job_is_looked_at_when_its_plan_says_so_or_when_the_back_off_ends(failure, seconds):
    clock = Clock()
    assert await next_look(work(clock, failure), clock) == seconds


@pytest.mark.parametrize(
    "failure",
    [ActError([ControlError("ner-worker-0000 does not answer")]), errors.Unavailable("PUT", "timed out")],
    ids=["an action", "the status"],
)
async def test_what_could_not_be_done_says_when_the_plan_wanted_to_look_again(failure):
    late = a_job().replicas(1).spec(lifecycle={"activeDeadline": "110s"}).running().view(NOW)

    async def view(_: Any) -> Any:
        return late

    async def execute(*_: Any, **__: Any) -> Any:
        raise failure

    world: Any = SimpleNamespace(view=view, expectations=SimpleNamespace(wait=lambda _: 0.0))
    executor: Any = SimpleNamespace(execute=execute, compare=lambda each: each)
    with pytest.raises(Unfinished, match=str(failure)) as raised:
        await Reconciler(world, executor, ProgressShare()).reconcile(KEY)
    assert raised.value.requeue_after == 10
