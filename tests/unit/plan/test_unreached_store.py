"""A store that members cannot reach is lost, however well its pod looks; a healthy one is not replaced for ever."""

from __future__ import annotations

from typing import Any

import pytest
from plan_jobs import NOW, Job, a_job, a_spec, of
from plan_world import World

from dtj_api.names import Cause, Component, Condition, LauncherState, Phase, Reason
from dtj_api.wire import Meet, Release
from dtj_operator.observe.view import STORE_INDEX
from dtj_operator.plan import CreateStore, DeletePod, SendMeet, SendRelease, plan

HUNG = "the store 10.0.0.0:29400 has not answered for 5 s; waits for the next meeting"
LOST: dict[str, Any] = {"state": LauncherState.MEETING, "error": HUNG}


@pytest.mark.parametrize(
    ("says", "pod", "lost"),
    [
        (LOST, {}, True),
        ({"state": LauncherState.MEETING}, {}, False),
        ({**LOST, "incarnation": 0}, {}, False),
        ({**LOST, "state": LauncherState.DRAINING}, {}, False),
        ({**LOST, "state": LauncherState.FAILED}, {}, False),
        (LOST, {"deletion_at": NOW + 100}, False),
    ],
    ids=["lost", "meets", "of another incarnation", "leaves", "failed by itself", "its pod leaves"],
)
def test_whose_word_counts(says: dict[str, Any], pod: dict[str, Any], lost: bool) -> None:
    made = plan(a_job().replicas(3).running().says(1, **says).change(1, **pod).view())
    assert made.status.restarts.by_cause == ({Cause.STORE_LOST: 1} if lost else {})
    assert made.status.restarts.counted == 0
    assert made.status.incarnation == (2 if lost else 1)


def test_it_goes_by_force_and_the_others_are_released_at_once() -> None:
    """A process that is stopped or cut off hears no SIGTERM, and its name is needed for the next one."""
    job = a_job().replicas(3).running().says(1, **LOST)
    made = plan(job.view())
    (gone,) = of(made, DeletePod)
    assert (gone.name, gone.uid, gone.grace) == ("ner-store", "store-1", 0)
    assert [(act.uid, act.message) for act in of(made, SendRelease)] == [
        ("pod-0-1", Release(1, 1)),
        ("pod-2-1", Release(1, 1)),
    ]
    assert made.status.phase == Phase.RECOVERING
    degraded = made.status.condition(Condition.DEGRADED)
    assert degraded is not None
    assert (degraded.reason, HUNG in degraded.message) == (Reason.STORE_LOST, True)
    assert "ner-worker-0001" in degraded.message
    job.stored(made.status).without(STORE_INDEX)
    assert CreateStore("ner-store", 2) in plan(job.view()).actions


def test_a_kubelet_that_says_so_too_counts_nothing_more() -> None:
    job = a_job().replicas(2).running().says(0, **LOST)
    made = plan(job.view())
    later = plan(job.stored(made.status).end(STORE_INDEX, 137).view())
    assert later.status.restarts == made.status.restarts
    assert later.status.incarnation == 2


def test_a_store_that_the_kubelet_lost_first_is_not_lost_once_more() -> None:
    job = a_job().replicas(2).running().end(STORE_INDEX, 137).says(0, **LOST)
    made = plan(job.view())
    assert made.status.restarts.by_cause == {Cause.STORE_LOST: 1}
    assert made.status.store.unreached == 0


def _after(unreached: int, age: float) -> Job:
    job = a_job().replicas(2).running().status(incarnation_at=NOW - age)
    store = job.view().status.store.model_copy(update={"unreached": unreached})
    return job.status(store=store).says(0, **LOST)


@pytest.mark.parametrize(
    ("unreached", "age", "waits"),
    [(0, 0, 0), (1, 0, 5), (1, 4, 1), (1, 5, 0), (2, 0, 10), (3, 0, 20), (5, 0, 60), (50, 0, 60), (50, 60, 0)],
)
def test_one_that_is_lost_again_soon_is_replaced_later_and_later(unreached: int, age: float, waits: float) -> None:
    made = plan(_after(unreached, age).view())
    assert made.status.incarnation == (1 if waits else 2)
    if waits:
        assert made.requeue_after == waits
        progressing = made.status.condition(Condition.PROGRESSING)
        assert progressing is not None
        assert (progressing.reason, HUNG in progressing.message) == (Reason.STORE_LOST, True)
    else:
        assert made.status.store.unreached == unreached + 1


def test_the_row_ends_with_an_incarnation_that_lasted() -> None:
    assert plan(_after(50, 120).view()).status.store.unreached == 1


def _trains(world: World) -> bool:
    return world.status.phase == Phase.RUNNING


def _store(world: World) -> str:
    return next(uid for uid, pod in world.pods.items() if pod.component == Component.STORE)


def test_a_hung_store_is_replaced_in_seconds_and_the_workers_stay() -> None:
    world = World(a_spec(workers={"replicas": 3}), steps=10**6)
    world.run(lambda: _trains(world))
    workers = set(world.launchers)
    hung_at = world.now
    world.hung.add(_store(world))
    world.tick()
    world.run(lambda: _trains(world) and world.status.incarnation == 2, seconds=10)
    assert _trains(world)
    assert world.now - hung_at <= 5
    assert set(world.launchers) == workers
    assert world.status.restarts.by_cause == {Cause.STORE_LOST: 1}
    messages = {message for _, message in world.meets if message.incarnation == 2}
    assert messages == {Meet(2, 3, 3, f"{world.pods[_store(world)].ip}:29400")}


def test_one_worker_that_loses_its_way_again_and_again_does_not_cost_a_store_each_time() -> None:
    world = World(a_spec(workers={"replicas": 3}), steps=10**6)
    stores: set[str] = set()
    flaky = 1
    for _ in range(1200):
        world.reconcile()
        stores |= {uid for uid, pod in world.pods.items() if pod.component == Component.STORE}
        uid = next((uid for uid, pod in world.pods.items() if pod.index == flaky), "")
        launcher = world.launchers.get(uid)
        world.cut_off = {uid} if launcher and launcher.state == LauncherState.TRAINING else set()
        world.tick()
    assert len(stores) <= 25
    assert world.status.restarts.by_cause == {Cause.STORE_LOST: world.status.restarts.excused}
    world.cut_off = set()
    world.run(lambda: _trains(world), seconds=120)
    assert _trains(world)
    assert SendMeet in {type(action) for made in world.plans for action in made.actions}
