"""What is made anew again and again without ever training is made later and later, whoever is to blame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from plan_jobs import NOT_UP, NOW, a_job, a_pod, a_spec, of
from plan_world import World

from dtj_api.names import Cause, Component, Condition, Phase, Reason
from dtj_api.scalars import Timestamp
from dtj_operator.observe.view import STORE_INDEX
from dtj_operator.plan import CreateStore, CreateWorker, plan

BACKOFF = {"initial": "2s", "max": "60s"}
NO_TORCH = "ModuleNotFoundError: No module named 'torch'"


def _world(**spec: Any) -> World:
    return World(a_spec(failurePolicy={"backoff": BACKOFF, "maxRestarts": 0}, **spec), steps=10**6)


def _made(world: World, kind: type) -> int:
    return sum(len(of(made, kind)) for made in world.plans)


def _break_stores(world: World) -> None:
    for uid, pod in list(world.pods.items()):
        if pod.component == Component.STORE and pod.phase == "Running":
            world.end_pod(uid, 1)


def test_a_store_that_never_stands_is_made_ever_later_and_costs_nothing_of_the_budget() -> None:
    world = _world(workers={"replicas": 2})
    for _ in range(600):
        world.reconcile()
        world.tick()
        _break_stores(world)
    assert 5 <= _made(world, CreateStore) <= 20, "a pause of a minute in the end"
    assert world.status.restarts.counted == 0
    assert world.status.phase in (Phase.PENDING, Phase.STARTING)


def test_its_end_is_told_with_its_words_in_the_condition_and_where_the_start_is_given_up() -> None:
    job = a_job().replicas(2).up().spec(schedule={"startTimeout": "60s"}).end(STORE_INDEX, 1, NO_TORCH)
    made = plan(job.status(resumed_at=NOW).view())
    job.stored(made.status).without(STORE_INDEX)
    again = plan(job.view(NOW + 1))
    progressing = again.status.condition(Condition.PROGRESSING)
    assert progressing is not None
    assert progressing.reason == Reason.WAITING_FOR_STORE
    assert NO_TORCH in progressing.message
    failed = plan(job.stored(again.status).view(NOW + 60)).status.condition(Condition.FAILED)
    assert failed is not None
    assert failed.reason == Reason.START_TIMEOUT
    assert NO_TORCH in failed.message


def test_one_that_ended_before_anybody_knew_it_is_told_too() -> None:
    job = a_job().replicas(2).up().end(STORE_INDEX, 1, NO_TORCH)
    job.status(store=job.view().status.store.model_copy(update={"uid": ""}))
    made = plan(job.view())
    assert [event.message for event in made.events if event.reason == Reason.STORE_LOST] == [
        f"pod ner-store ended before anybody met there: {NO_TORCH}"
    ]
    assert made.status.restarts.by_cause == {}
    assert made.status.in_vain == 1


def test_the_first_one_is_replaced_at_once_and_so_is_each_one_after_the_job_has_trained() -> None:
    world = _world(workers={"replicas": 2})
    for _ in range(4):
        world.run(lambda: world.status.phase == Phase.RUNNING)
        before, at = _made(world, CreateStore), world.now
        _break_stores(world)
        world.run(lambda before=before: _made(world, CreateStore) > before)
        assert world.now - at <= 2
    assert world.status.in_vain <= 1


def test_pods_that_are_evicted_again_and_again_before_they_train_wait_ever_longer() -> None:
    world = _world(workers={"replicas": 1})
    for _ in range(600):
        world.reconcile()
        world.tick()
        for uid, pod in list(world.pods.items()):
            if pod.component == Component.WORKER and pod.phase == "Running":
                world.end_pod(uid, 137, reason="Evicted", message="The node was low on resource: memory.")
    assert 5 <= _made(world, CreateWorker) <= 20
    assert world.status.restarts.counted == 0
    assert set(world.status.restarts.by_cause) <= {Cause.POD_EVICTED}


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (
            "The node was low on resource: memory. Threshold quantity: 1Gi, available: 2Mi.",
            Cause.POD_EVICTED,
        ),
        ("Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ", Cause.POD_FAILED),
        ('Container trainer exceeded its local ephemeral storage limit "1Gi". ', Cause.POD_FAILED),
        ('Usage of EmptyDir volume "scratch" exceeds the limit "1Gi". ', Cause.POD_FAILED),
    ],
)
def test_an_eviction_for_a_limit_of_the_pods_own_is_charged(message: str, cause: Cause) -> None:
    made = plan(a_job().replicas(2).running().end(1, 137, reason="Evicted").change(1, message=message).view())
    assert made.status.restarts.by_cause == {cause: 1}
    assert made.status.restarts.counted == (cause is Cause.POD_FAILED)
    assert made.status.restarts.last_message.endswith(message.strip())


def _evicted(world: World, uid: str) -> None:
    world.end_pod(uid, 137, reason="Evicted", message="The node was low on resource: memory.")


def _refused_by_the_kubelet(world: World, uid: str) -> None:
    world.pods[uid] = replace(world.pods[uid], phase="Failed", reason="UnexpectedAdmissionError", **NOT_RUN)


def _exits_0(world: World, uid: str) -> None:
    world.end_pod(uid, 0)


NOT_RUN: dict[str, Any] = {"running_since": None, "ready": False}
ENDS: dict[str, Callable[[World, str], None]] = {
    "it is evicted": _evicted,
    "its kubelet refuses it": _refused_by_the_kubelet,
    "somebody deletes it at once": World.vanish,
    "its image exits 0": _exits_0,
}
WITHOUT: dict[str, dict[str, Any]] = {
    "the others train on": {"replicas": 3, "minReplicas": 2},
    "it is a spare": {"replicas": 2, "spares": 1},
}


def _workers_of(world: World, index: int) -> list[str]:
    return [uid for uid, pod in world.pods.items() if pod.index == index and pod.component == Component.WORKER]


def _pod_of(world: World, index: int) -> str:
    (uid,) = _workers_of(world, index)
    return uid


def _made_of(world: World, index: int) -> int:
    return sum(each == index for each, _ in world.created)


def _let_end(world: World, index: int, how: Callable[[World, str], None], seconds: int) -> None:
    """The pods of a worker end as soon as they run."""
    for _ in range(seconds):
        world.reconcile()
        world.tick()
        for uid in _workers_of(world, index):
            if world.pods[uid].phase == "Running" and world.pods[uid].terminated is None:
                how(world, uid)


@pytest.mark.parametrize("workers", WITHOUT.values(), ids=WITHOUT)
@pytest.mark.parametrize("how", ENDS.values(), ids=ENDS)
def test_one_that_the_job_trains_without_is_made_ever_later(
    workers: dict[str, Any], how: Callable[[World, str], None]
) -> None:
    world = _world(workers=workers)
    world.run(lambda: world.status.phase == Phase.RUNNING)
    world.vanish(_pod_of(world, 2))
    before, step = _made_of(world, 2), world.step
    _let_end(world, 2, how, 600)
    assert 5 <= _made_of(world, 2) - before <= 20, "a pause of a minute in the end"
    assert world.step > step + 300
    assert world.status.phase == Phase.RUNNING
    assert world.status.restarts.counted == 0


@pytest.mark.parametrize("workers", WITHOUT.values(), ids=WITHOUT)
def test_its_row_holds_up_no_worker_that_has_trained(workers: dict[str, Any]) -> None:
    world = _world(workers=workers)
    world.run(lambda: world.status.phase == Phase.RUNNING)
    world.vanish(_pod_of(world, 2))
    _let_end(world, 2, _evicted, 300)
    world.evicted.add(2)
    for index in (0, 1):
        world.run(lambda: world.status.phase == Phase.RUNNING)
        before, at = _made_of(world, index), world.now
        world.end_pod(_pod_of(world, index), 143, disruption="EvictionByEvictionAPI")
        world.run(lambda index=index, before=before: _made_of(world, index) > before)
        assert world.now - at <= 2


@pytest.mark.parametrize("workers", WITHOUT.values(), ids=WITHOUT)
def test_once_it_comes_it_takes_part_and_what_is_lost_then_is_replaced_at_once(workers: dict[str, Any]) -> None:
    world = _world(workers=workers)
    world.run(lambda: world.status.phase == Phase.RUNNING)
    world.vanish(_pod_of(world, 2))
    _let_end(world, 2, _evicted, 200)
    if "spares" in workers:
        world.spec["workers"]["spares"] = 0
        world.spec["workers"]["replicas"] = 3
        world.generation += 1
    world.run(lambda: world.status.phase == Phase.RUNNING and len(world.status.members) == 3)
    for _ in range(2):
        before, at = _made_of(world, 2), world.now
        world.end_pod(_pod_of(world, 2), 143, disruption="EvictionByEvictionAPI")
        world.run(lambda before=before: _made_of(world, 2) > before)
        assert world.now - at <= 2


def test_one_that_comes_and_is_lost_before_it_trains_stays_in_its_row() -> None:
    world = _world(workers={"replicas": 3, "minReplicas": 2})
    world.run(lambda: world.status.phase == Phase.RUNNING)
    world.vanish(_pod_of(world, 2))
    before = _made_of(world, 2)
    for _ in range(1200):
        world.reconcile()
        for uid in _workers_of(world, 2):
            launcher = world.launchers.get(uid)
            if launcher is not None and launcher.incarnation and uid not in world.trained:
                _evicted(world, uid)
        world.tick()
    assert 10 <= _made_of(world, 2) - before <= 30
    assert world.step > 300


def test_the_row_of_many_ends_when_one_of_them_trains() -> None:
    world = _world(workers={"replicas": 4, "minReplicas": 2})
    world.run(lambda: world.status.phase == Phase.RUNNING)
    world.evicted |= {2, 3}
    world.run(lambda: world.status.newcomers.in_vain >= 5)
    world.evicted.discard(2)
    world.run(lambda: world.status.phase == Phase.RUNNING and world.status.members == (0, 1, 2))
    assert world.status.newcomers.in_vain == 0


@pytest.mark.parametrize("crash_after", [0, 1, 2, 3])
def test_each_loss_is_counted_once_whenever_the_operator_dies(crash_after: int) -> None:
    world = _world(workers={"replicas": 3, "minReplicas": 2})
    world.run(lambda: world.status.phase == Phase.RUNNING)
    world.evicted.add(2)
    evicted: set[str] = set()
    for _ in range(300):
        world.reconcile(conflict=True)
        world.reconcile(crash_after=crash_after)
        world.reconcile()
        world.tick()
        evicted |= {uid for uid in _workers_of(world, 2) if world.pods[uid].reason == "Evicted"} - world.trained
    world.reconcile()
    assert len(evicted) >= 5
    assert world.status.newcomers.in_vain == len(evicted)


def test_a_spare_that_stood_for_longer_than_the_longest_pause_is_replaced_at_once() -> None:
    world = _world(workers={"replicas": 2, "spares": 1})
    world.run(lambda: world.status.phase == Phase.RUNNING)
    for _ in range(6):
        world.run(lambda: False, seconds=90)
        before, at = _made_of(world, 2), world.now
        _evicted(world, _pod_of(world, 2))
        world.run(lambda before=before: _made_of(world, 2) > before)
        assert world.now - at <= 2


def test_members_that_exit_0_before_they_train_are_made_ever_later_and_that_is_said() -> None:
    world = _world(workers={"replicas": 2})
    _let_end(world, 1, _exits_0, 600)
    assert 5 <= _made_of(world, 1) <= 20
    assert any("exited 0" in event.message for made in world.plans for event in made.events)


def test_who_trains_is_not_held_up_by_what_went_before() -> None:
    job = a_job().replicas(2).running().status(in_vain=6, create_after=Timestamp(NOW + 50))
    trains = plan(job.view()).status
    assert (trains.in_vain, trains.create_after, trains.newcomers.create_after) == (0, None, NOW + 50)
    job.stored(trains).end(1, 143, disruption="EvictionByEvictionAPI")
    lost = plan(job.view(NOW + 1)).status
    made = plan(job.stored(lost).without(1).view(NOW + 2))
    assert [each.index for each in of(made, CreateWorker)] == [1]


def test_who_is_held_back_and_until_when_is_said() -> None:
    job = a_job().replicas(3, least=2).running().status(members=(0, 1), trained=1, min_members=2)
    job.pod(a_pod(2, **{**NOT_UP, "phase": "Failed", "reason": "Evicted"}))
    made = plan(job.view())
    again = plan(job.stored(made.status).without(2).view(NOW + 1))
    degraded = again.status.condition(Condition.DEGRADED)
    assert degraded is not None
    assert "1 of 3 worker pods are to be made, not before 2027-01-15T08:00:05" in degraded.message
