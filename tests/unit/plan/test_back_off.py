"""A row of pods that are lost in vain ends by time too."""

from __future__ import annotations

from typing import Any

import pytest
from plan_jobs import NOW, a_job, a_spec
from plan_world import World

from dtj_api.names import Component, Phase
from dtj_api.status import NewcomerStatus
from dtj_operator.observe.view import STORE_INDEX
from dtj_operator.plan import plan

LONGEST = 60
BACKOFF = {"initial": "2s", "max": f"{LONGEST}s"}


def _world(**spec: Any) -> World:
    return World(a_spec(failurePolicy={"backoff": BACKOFF, "maxRestarts": 0}, **spec), steps=10**6)


def _pod_of(world: World, index: int) -> str | None:
    component = Component.STORE if index == STORE_INDEX else Component.WORKER
    return next((uid for uid, pod in world.pods.items() if (pod.component, pod.index) == (component, index)), None)


def _pauses(world: World, index: int, *, stands: int, times: int) -> list[float]:
    """Seconds from each deletion of a pod, that then is no object any more, until another one is made."""
    pauses = []
    for _ in range(times):
        world.run(lambda: False, seconds=stands)
        uid = _pod_of(world, index)
        assert uid is not None
        world.vanish(uid)
        at = world.now
        world.run(lambda: _pod_of(world, index) is not None)
        pauses.append(world.now - at)
    return pauses


WITHOUT: dict[str, dict[str, Any]] = {
    "the others train on": {"replicas": 3, "minReplicas": 2},
    "it is a spare": {"replicas": 2, "spares": 1},
}


@pytest.mark.parametrize("workers", WITHOUT.values(), ids=WITHOUT)
def test_one_that_stood_for_long_is_made_anew_at_once_though_its_object_is_gone(workers: dict[str, Any]) -> None:
    world = _world(workers=workers)
    if "minReplicas" in workers:
        world.run(lambda: world.status.phase == Phase.RUNNING)
        world.schedulable = False
        uid = _pod_of(world, 2)
        assert uid is not None
        world.vanish(uid)
    world.run(lambda: world.status.phase == Phase.RUNNING)
    assert max(_pauses(world, 2, stands=90, times=7)) <= 2
    assert world.status.newcomers.in_vain == 1


@pytest.mark.parametrize("index", [1, STORE_INDEX], ids=["a member", "the store"])
def test_so_is_what_a_job_waits_for_that_has_no_room_for_days(index: int) -> None:
    world = _world(workers={"replicas": 2}, schedule={"startTimeout": "100h"})
    world.schedulable = False
    world.run(lambda: _pod_of(world, index) is not None)
    assert max(_pauses(world, index, stands=90, times=7)) <= 2
    assert world.status.in_vain == 1


@pytest.mark.parametrize("index", [2, 1, STORE_INDEX], ids=["a spare", "a member", "the store"])
def test_what_stands_for_less_is_made_ever_later_and_longest_pauses_end_no_row(index: int) -> None:
    world = _world(workers={"replicas": 2, "spares": 1}, schedule={"startTimeout": "100h"})
    world.schedulable = False
    world.run(lambda: _pod_of(world, index) is not None)
    pauses = _pauses(world, index, stands=40, times=9)
    assert pauses == sorted(pauses)
    assert pauses[-3:] == [pytest.approx(LONGEST, abs=2)] * 3


def test_a_row_without_a_time_goes_on_as_one_of_the_operator_before() -> None:
    job = a_job().replicas(2).up().without(1).status(in_vain=4, newcomers=NewcomerStatus(in_vain=4))
    status = plan(job.view()).status
    assert (status.in_vain, status.newcomers.in_vain) == (5, 5)
    assert (status.in_vain_at, status.newcomers.in_vain_at) == (NOW, NOW)
