"""What is made anew again and again without ever training is made later and later, whoever is to blame."""

from __future__ import annotations

from typing import Any

import pytest
from plan_jobs import NOW, a_job, a_spec, of
from plan_world import World

from dtj_api.names import Cause, Component, Condition, Phase, Reason
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
