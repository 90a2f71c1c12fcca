"""A store that members cannot reach is lost, however well its pod looks; a healthy one is not replaced for ever."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from plan_jobs import NOW, Job, a_job, a_pod, a_spec, a_template, of
from plan_world import World

from dtj_api.names import Cause, Component, Condition, LauncherState, Phase, Reason
from dtj_api.wire import STORE_PROTOCOL, Failure, Meet, Release
from dtj_operator.observe.view import STORE_INDEX
from dtj_operator.plan import CreateStore, CreateWorker, DeletePod, SendMeet, SendRelease, plan

HUNG = "the store 10.0.0.0:29400 has not answered for 5 s; waits for the next meeting"
LOST: dict[str, Any] = {"state": LauncherState.MEETING, "error": HUNG}
GOES_ON: dict[str, Any] = {"state": LauncherState.TRAINING, "error": HUNG}
"""Its ranks do not need the store."""


@pytest.mark.parametrize(
    ("says", "pod", "lost"),
    [
        (LOST, {}, True),
        (GOES_ON, {}, True),
        ({"state": LauncherState.MEETING}, {}, False),
        ({**LOST, "incarnation": 0}, {}, False),
        ({**LOST, "state": LauncherState.DRAINING}, {}, False),
        ({**LOST, "state": LauncherState.FAILED}, {}, False),
        (LOST, {"deletion_at": NOW + 100}, False),
    ],
    ids=[
        "lost",
        "lost while it trains",
        "meets",
        "of another incarnation",
        "leaves",
        "failed by itself",
        "its pod leaves",
    ],
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


@pytest.mark.parametrize(
    ("others", "released"),
    [
        ({}, False),
        ({1: {"state": LauncherState.DRAINING}}, False),
        ({1: {"state": LauncherState.DONE}}, False),
        ({1: {"state": LauncherState.MEETING, "error": HUNG}}, True),
    ],
    ids=["all train", "one saves before it leaves", "one is through", "the ranks of one are gone"],
)
@pytest.mark.parametrize("end", ["hangs", "is gone"])
def test_healthy_ranks_go_on_until_they_meet_anew(end: str, others: dict[int, dict[str, Any]], released: bool) -> None:
    job = a_job().replicas(3).running()
    for index in range(3):
        job.says(index, **{"world_size": 3, **(GOES_ON if end == "hangs" else {}), **others.get(index, {})})
    if end == "is gone":
        job.end(STORE_INDEX, 137)
    made = plan(job.view())
    assert made.status.restarts.by_cause == {Cause.STORE_LOST: 1}
    assert made.status.incarnation == 2
    assert {act.uid for act in of(made, SendRelease)} == ({"pod-0-1", "pod-2-1"} if released else set())


def test_those_who_lost_a_peer_too_are_released() -> None:
    job = a_job().replicas(3).running().end(STORE_INDEX, 137).end(1, 137)
    for index in range(3):
        job.says(index, world_size=3)
    assert {act.uid for act in of(plan(job.view()), SendRelease)} == {"pod-0-1", "pod-2-1"}


def test_a_rank_that_fails_while_the_store_is_lost_is_counted_beside_it() -> None:
    failure = Failure(1, 1, 0, 0, NOW, 3, "", "", False)
    job = a_job().replicas(2).running().says(0, **LOST, failures=(failure,)).says(1, **GOES_ON)
    made = plan(job.view())
    assert made.status.restarts.by_cause == {Cause.STORE_LOST: 1}
    after = a_job().replicas(2).running(incarnation=2).status(counted=made.status.counted, incarnation=2)
    later = plan(after.says(0, failures=(failure,)).view())
    assert later.status.restarts.by_cause == {Cause.PROCESS_EXIT: 1}


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


@pytest.mark.parametrize(
    ("unreached", "speaks", "image", "replaced"),
    [
        (0, 0, "train:1", False),
        (1, 0, "train:1", True),
        (1, STORE_PROTOCOL, "train:1", False),
        (1, 0, "registry.example.com/dtj-trainer:0.1.0", False),
    ],
    ids=["the first time", "the second time", "it speaks as the store does", "its store comes from the same image"],
)
def test_a_launcher_of_the_version_before_that_no_new_store_helps_is_replaced(
    unreached: int, speaks: int, image: str, replaced: bool
) -> None:
    template = a_template()
    template["spec"]["containers"][0]["image"] = image
    job = (
        _after(unreached, 10)
        .template(template)
        .says(0, **LOST, store_protocol=speaks)
        .says(1, store_protocol=STORE_PROTOCOL)
    )
    made = plan(job.view())
    assert made.status.incarnation == 2
    gone = {each.name for each in of(made, DeletePod)}
    assert gone == ({"ner-worker-0000"} if replaced else {"ner-store"})
    assert made.status.restarts.counted == 0
    if replaced:
        assert any("was started by an earlier version" in each.message for each in made.events)
        (delete,) = of(made, DeletePod)
        assert delete.why == "its launcher is of an earlier version, which cannot speak with the store of this one"
        later = plan(job.stored(made.status).without(0).view())
        assert [each.index for each in of(later, CreateWorker)] == [0]


@pytest.mark.parametrize(
    ("since", "leaving", "lost"),
    [(1, (), False), (3, (), True), (3, (1,), False), (100, (1,), False)],
    ids=["just now", "alone", "with a worker", "with a worker that saves for long"],
)
def test_a_store_that_is_deleted_goes_once_no_worker_leaves_with_it(
    since: float, leaving: tuple[int, ...], lost: bool
) -> None:
    """It stays for those that are connected, and all are: the others would wait for the end of its grace."""
    job = a_job().replicas(3).running().change(STORE_INDEX, deletion_at=NOW + 120 - since, deleted_at=NOW - since)
    for index in leaving:
        job.change(index, deletion_at=NOW + 120 - since)
    made = plan(job.view())
    assert made.status.restarts.by_cause == ({Cause.STORE_LOST: 1} if lost else {})
    gone = [(each.name, each.grace) for each in of(made, DeletePod) if each.name == "ner-store"]
    assert gone == ([("ner-store", 0)] if lost else [])
    if since < 2:
        assert made.requeue_after == pytest.approx(1.0)


@pytest.mark.parametrize("grace", [1, 5, 600])
def test_a_grace_period_that_whoever_drains_has_chosen_leaves_workers_the_same_time_to_be_told(grace: int) -> None:
    def of_store(since: float) -> dict[str, int]:
        changes = {"deletion_at": NOW + grace - since, "deleted_at": NOW - since}
        made = plan(a_job().replicas(3).running().change(STORE_INDEX, **changes).view())
        return made.status.restarts.by_cause

    assert of_store(1) == {}, "the deletion of a worker may follow in a moment"
    assert of_store(3) == {Cause.STORE_LOST: 1}


def _drained() -> Job:
    """The worker of a node that was drained has saved and gone; the store that was there too stays for the others."""
    job = a_job().replicas(2).running().status(trained=1).end(1, 143, disruption="EvictionByEvictionAPI")
    job.change(STORE_INDEX, deletion_at=NOW + 119, deleted_at=NOW - 1)
    return job.stored(plan(job.view()).status)


def test_a_store_that_leaves_is_lost_also_where_the_worker_beside_it_was_counted_before() -> None:
    job = _drained()
    made = plan(job.view(NOW + 1))
    assert made.status.restarts.by_cause == {Cause.POD_EVICTED: 1, Cause.STORE_LOST: 1}
    assert made.status.restarts.counted == 0
    assert made.status.incarnation == 2, "nobody was told of it yet"
    assert [(each.name, each.grace) for each in of(made, DeletePod) if each.name == "ner-store"] == [("ner-store", 0)]
    later = plan(job.stored(made.status).without(STORE_INDEX).view())
    assert CreateStore("ner-store", 2) in later.actions


def test_nobody_meets_at_a_store_that_leaves() -> None:
    job = _drained().stands_ready(a_pod(1, incarnation=2))
    made = plan(job.view())
    assert of(made, SendMeet) == []
    assert made.requeue_after == pytest.approx(1.0)
    progressing = made.status.condition(Condition.PROGRESSING)
    assert progressing is not None
    assert (progressing.reason, "ner-store is leaving" in progressing.message) == (Reason.WAITING_FOR_STORE, True)


def _trains(world: World) -> bool:
    return world.status.phase == Phase.RUNNING


def _store(world: World) -> str:
    return next(uid for uid, pod in world.pods.items() if pod.component == Component.STORE)


def test_a_drain_of_store_and_worker_is_one_meeting_at_another_store() -> None:
    world = World(a_spec(workers={"replicas": 3}), steps=10**6)
    world.run(lambda: _trains(world))
    store, leaves = _store(world), next(iter(world.launchers))
    for uid in (store, leaves):
        changes: dict[str, Any] = {"deletion_at": world.now + 120, "deleted_at": world.now}
        world.pods[uid] = replace(world.pods[uid], disruption="EvictionByEvictionAPI", **changes)
    world.tick()
    world.run(lambda: _trains(world) and world.status.incarnation > 1, seconds=30)
    assert _trains(world)
    assert world.status.incarnation == 2
    assert world.status.restarts.by_cause == {Cause.POD_EVICTED: 1, Cause.STORE_LOST: 1}
    assert {message.store for _, message in world.meets if message.incarnation == 2} == {
        f"{world.pods[_store(world)].ip}:29400"
    }


def test_a_hung_store_is_replaced_in_seconds_and_the_workers_stay() -> None:
    world = World(a_spec(workers={"replicas": 3}), steps=10**6)
    world.run(lambda: _trains(world))
    workers = set(world.launchers)
    hung_at = world.now
    world.hung.add(_store(world))
    world.tick()
    world.run(lambda: _trains(world) and world.status.incarnation == 2, seconds=10)
    assert _trains(world)
    assert world.now - hung_at <= 8, "three of them are the kubelet's"
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
