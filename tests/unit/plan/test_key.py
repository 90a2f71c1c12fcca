"""Launchers that hold another key than the operator: whoever is needed for a meeting is replaced, and it is said."""

from __future__ import annotations

from plan_jobs import NAME, Job, a_job, a_pod, a_report, a_spec, deleted, of
from plan_world import World

from dtj_api import names
from dtj_api.names import Condition, LauncherState, Phase, Reason
from dtj_operator.plan import CreateWorker, SendMeet, plan


def _meeting() -> Job:
    """Worker 1 was lost and stands ready again; worker 0 has not taken the message to meet."""
    job = a_job().replicas(2).running(incarnation=2).status(phase=Phase.RECOVERING)
    job.says(0, incarnation=1)
    return job.says(1, incarnation=2, round=0, state=LauncherState.MEETING)


def test_a_launcher_that_refuses_our_key_and_is_to_meet_is_replaced() -> None:
    made = plan(_meeting().fields(refusing=("pod-0-2",)).view())
    assert deleted(made) == ["pod-0-2"]
    assert of(made, SendMeet) == [], "it would refuse that too"
    assert "pod-0-2" in made.status.counted_pods
    assert made.status.incarnation == 3
    told = {event.reason: (event.type, event.message) for event in made.events}
    kind, message = told[Reason.KEY_REFUSED]
    assert kind == "Warning"
    assert names.worker_name(NAME, 0) in message
    assert "Secret ner-key" in message
    degraded = made.status.condition(Condition.DEGRADED)
    assert degraded is not None
    assert (degraded.status, degraded.reason) == ("True", Reason.KEY_REFUSED)
    assert made.status.restarts.by_cause == {}, "nothing was lost by it"


def test_once_it_has_gone_another_one_comes() -> None:
    job = _meeting().fields(refusing=("pod-0-2",))
    first = plan(job.view())
    second = plan(job.stored(first.status).without(0).fields(refusing=()).view())
    assert [each.index for each in of(second, CreateWorker)] == [0]
    pod = a_pod(0, uid="another", incarnation=3)
    job.stored(second.status).pod(pod, a_report(pod, incarnation=0, round_=0, state=LauncherState.WAITING))
    third = plan(job.view())
    assert {each.uid for each in of(third, SendMeet)} == {"another", "pod-1-2"}
    assert third.status.restarts.by_cause == {}


def test_a_spare_takes_the_place_of_one_that_refuses() -> None:
    job = _meeting().spec_workers(spares=1).fields(refusing=("pod-0-2",))
    spare = a_pod(2, incarnation=2)
    job.pod(spare, a_report(spare, incarnation=0, round_=0, state=LauncherState.WAITING))
    assert plan(job.view()).status.members == (1, 2)


def test_training_is_not_disturbed_by_a_launcher_that_refuses() -> None:
    made = plan(a_job().replicas(2).running().fields(refusing=("pod-0-1", "pod-1-1")).view())
    assert (made.actions, made.status.phase) == ((), Phase.RUNNING)


def _world() -> World:
    policy = {"backoff": {"initial": "2s", "max": "60s"}, "maxRestarts": 0}
    return World(a_spec(workers={"replicas": 2}, failurePolicy=policy), steps=10**6)


def test_launchers_that_never_take_the_jobs_key_are_replaced_ever_later() -> None:
    world = _world()
    world.other_key.add(1)
    world.run(lambda: False, seconds=600)
    assert 5 <= sum(index == 1 for index, _ in world.created) <= 20
    assert world.status.restarts.counted == 0
    world.other_key.clear()
    world.run(lambda: world.status.phase == Phase.RUNNING)
    assert (world.status.in_vain, world.status.newcomers.in_vain) == (0, 0)


def test_a_launcher_that_has_trained_and_does_not_take_the_key_any_more_is_replaced_at_once() -> None:
    world = _world()
    paces: set[float] = set()
    for _ in range(4):
        world.run(lambda: world.status.phase == Phase.RUNNING)
        for launcher in world.launchers.values():
            launcher.other_key = True
        before, at = len(world.created), world.now
        world.vanish(next(uid for uid, pod in world.pods.items() if pod.index == 1))
        world.run(lambda before=before: len(world.created) >= before + 2)
        paces.add(world.now - at)
    assert len(paces) == 1
    assert max(paces) <= 10
