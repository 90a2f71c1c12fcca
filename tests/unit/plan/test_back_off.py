"""A row of pods lost in vain ends by time, and by one of them that trains; no hold is longer than the longest pause."""

from __future__ import annotations

from typing import Any

import pytest
from plan_jobs import NOW, Job, a_job, a_pod, a_spec, of
from plan_world import World

from dtj_api.known_pods import KnownPod
from dtj_api.names import Component, Phase
from dtj_api.scalars import Timestamp
from dtj_api.status import NewcomerStatus, StoreStatus
from dtj_operator.observe.view import STORE_INDEX
from dtj_operator.plan import CreateStore, CreateWorker, plan

LONGEST = 60
BACKOFF = {"initial": "2s", "max": f"{LONGEST}s"}
A_DAY = 86_400.0


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


def _knows(*indices: int) -> tuple[KnownPod, ...]:
    return tuple(KnownPod(index=index, uid=a_pod(index).uid, incarnation=1) for index in indices)


def _to_be_made(index: int, until: float) -> Job:
    """All but one stand there, and that one, which is not to be made before this, the status counts on no more."""
    hold = Timestamp(until)
    if index == STORE_INDEX:
        return a_job().replicas(2).up().without(index).status(store=StoreStatus(create_after=hold))
    if index == 2:
        spare = {"newcomers": NewcomerStatus(in_vain=3, create_after=hold)}
        return a_job().replicas(2).running().spec_workers(spares=1).status(trained=1, **spare)
    return a_job().replicas(2).up().without(index).status(pods=_knows(0), in_vain=3, create_after=hold)


@pytest.mark.parametrize(("longest", "seconds"), [("60s", 60), ("10s", 10), ("2s", 5)])
@pytest.mark.parametrize("index", [2, 1, STORE_INDEX], ids=["a spare", "a member", "the store"])
def test_no_hold_is_longer_than_the_longest_pause_whoever_wrote_it(index: int, longest: str, seconds: float) -> None:
    backoff = {"initial": "2s", "max": longest}
    job = _to_be_made(index, NOW + A_DAY).spec(failurePolicy={"backoff": backoff})
    first = plan(job.view())
    assert first.write
    assert first.requeue_after is not None
    assert first.requeue_after <= seconds
    job.stored(first.status)
    assert not _makes(job, index, NOW + seconds - 1)
    assert _makes(job, index, NOW + seconds)


@pytest.mark.parametrize("index", [2, 1, STORE_INDEX], ids=["a spare", "a member", "the store"])
def test_one_that_is_as_long_stays_as_it_is(index: int) -> None:
    job = _to_be_made(index, NOW + LONGEST).spec(failurePolicy={"backoff": BACKOFF})
    assert not _makes(job, index, NOW)
    assert not _makes(job, index, NOW + LONGEST - 1)
    assert _makes(job, index, NOW + LONGEST)


def _makes(job: Job, index: int, now: float) -> bool:
    made = plan(job.view(now))
    return bool(of(made, CreateStore)) if index == STORE_INDEX else index in [x.index for x in of(made, CreateWorker)]


def test_what_a_row_leaves_behind_that_ends_is_no_longer_either() -> None:
    job = a_job().replicas(2).running().spec(failurePolicy={"backoff": BACKOFF})
    status = plan(job.status(in_vain=6, create_after=Timestamp(NOW + A_DAY)).view()).status
    assert (status.create_after, status.newcomers.create_after) == (None, NOW + LONGEST)


def test_the_row_ends_with_one_that_came_while_the_others_had_lost_a_worker() -> None:
    world = _world(workers={"replicas": 4, "minReplicas": 2}, schedule={"startTimeout": "10m"})
    world.run(lambda: world.status.phase == Phase.RUNNING)
    trained = world.status.incarnation
    world.evicted |= {2, 3}
    world.run(lambda: world.status.newcomers.in_vain >= 5 and world.status.trained > trained, seconds=2000)
    trained, lost = world.status.trained, _pod_of(world, 1)
    assert lost is not None
    world.vanish(lost)
    world.reconcile()
    assert world.status.incarnation > trained
    world.evicted = {1, 3}
    world.run(lambda: any(world.pods[uid].ready for uid in world.launchers if world.pods[uid].index == 2))
    world.evicted = {3}
    world.run(lambda: bool(world.status.store.address))
    again = _pod_of(world, 1)
    assert again is not None
    world.end_pod(again, 143, disruption="EvictionByEvictionAPI")
    world.run(lambda: world.status.phase == Phase.RUNNING)
    assert world.status.members == (0, 1, 2)
    came = world.pods[_pod_of(world, 2) or ""].incarnation
    assert trained < came < world.status.trained
    assert world.status.newcomers.in_vain == 0
