"""With maxRestarts 0 nothing starts twice: the word for another start comes when all that failed before is counted."""

from __future__ import annotations

from typing import Any

import pytest
from plan_jobs import a_failure, a_job, a_spec, of
from plan_world import World

from dtj_api.names import Cause, Component, LauncherState, Phase
from dtj_api.wire import Meet
from dtj_operator.plan import SendMeet, plan

EXCUSED = [{"onSignals": ["SIGKILL"], "action": "RestartExcused"}]


def a_world(**policy: Any) -> World:
    spec = a_spec(workers={"replicas": 2}, failurePolicy={"maxRestarts": 0, **policy})
    world = World(spec, steps=10**6)
    world.run(lambda: world.status.phase == Phase.RUNNING)
    assert world.status.phase == Phase.RUNNING
    return world


def crash(world: World, **fields: Any) -> None:
    uid = next(uid for uid, pod in world.pods.items() if pod.component == Component.WORKER)
    assert world.crash_rank(uid, **fields)


def is_held(world: World) -> bool:
    return all(each.held for each in world.launchers.values())


def trains(world: World) -> bool:
    return world.status.phase == Phase.RUNNING and not any(each.held for each in world.launchers.values())


def lose_store(world: World) -> None:
    uid = next(uid for uid, pod in world.pods.items() if pod.component == Component.STORE)
    world.end_pod(uid, 1)


def test_the_first_round_of_a_job_starts_at_once() -> None:
    world = a_world()
    assert {message.rounds for _, message in world.meets} == {1}


def test_after_a_charged_failure_no_word_comes_and_the_job_fails() -> None:
    world = a_world()
    before = list(world.starts)
    crash(world)
    world.run(seconds=30)
    assert world.status.phase == Phase.FAILED
    assert world.starts == before


@pytest.mark.parametrize("rules", [[], EXCUSED])
def test_while_the_operator_is_away_nothing_starts_whatever_it_will_find(rules: list[dict[str, Any]]) -> None:
    world = a_world(rules=rules)
    before = list(world.starts)
    crash(world)
    for _ in range(600):
        world.tick()
    assert is_held(world)
    assert world.starts == before
    world._forget()
    world.run(lambda: world.status.done or trains(world), seconds=30)
    assert (world.status.phase == Phase.FAILED) == (not rules)
    assert len(world.starts) - len(before) == (2 if rules else 0)


def test_an_excused_failure_is_followed_by_the_word() -> None:
    world = a_world(rules=EXCUSED)
    for number in range(1, 4):
        crash(world)
        world.run(lambda: world.status.restarts.excused == number and trains(world), seconds=30)  # noqa: B023
        assert trains(world)
        assert world.status.restarts.counted == 0
    assert world.status.incarnation == 1, "it goes on in the same pods, under the same meeting"


@pytest.mark.parametrize("after", range(4))
def test_an_operator_that_dies_over_it_says_the_word_all_the_same(after: int) -> None:
    world = a_world(rules=EXCUSED)
    crash(world)
    world.tick()
    assert is_held(world)
    world.reconcile(crash_after=after)
    world.run(lambda: trains(world), seconds=30)
    assert trains(world)
    assert world.status.restarts.excused == 1


def test_a_round_that_begins_anew_for_no_failure_starts_as_soon_as_it_is_heard_of() -> None:
    world = a_world()
    for launcher in world.launchers.values():
        world._end_ranks(launcher)
    world.tick()
    assert is_held(world)
    world.reconcile()
    assert not any(each.held for each in world.launchers.values())


@pytest.mark.parametrize("lost", [True, False])
def test_a_failure_together_with_the_store_is_counted_before_the_next_meeting_starts(lost: bool) -> None:
    """It waits for its count across the incarnation. The store alone is nobody's fault: then the word comes."""
    world = a_world()
    before = list(world.starts)
    if lost:
        crash(world)
    lose_store(world)
    world.run(lambda: world.status.done or (world.status.incarnation > 1 and trains(world)), seconds=60)
    assert (world.status.phase == Phase.FAILED) is lost
    assert [incarnation for _, incarnation, _ in world.starts[len(before) :]] == ([] if lost else [2, 2])


def held(job: Any, *indices: int, round_: int = 2, **fields: Any) -> Any:
    for index in indices:
        job.says(index, round=round_, state=LauncherState.STARTING, held=2, world_size=2, **fields)
    return job


def words(job: Any) -> dict[str, int | None]:
    return {sent.pod: sent.message.rounds for sent in of(plan(job.view()), SendMeet)}


def a_held_job(**policy: Any) -> Any:
    policy = {"maxRestarts": 0, **policy}
    return a_job().replicas(2).spec(failurePolicy=policy).running()


def test_the_word_waits_for_all_pods_of_the_round() -> None:
    """One that was not heard of in it may have seen what failed."""
    assert words(held(a_held_job(), 0)) == {}
    assert words(held(a_held_job(), 0, 1)) == {"ner-worker-0000": 2, "ner-worker-0001": 2}
    again = held(a_held_job(), 0).says(1, round=2, state=LauncherState.TRAINING)
    assert words(again) == {"ner-worker-0000": 2}, "it was lost on its way to this one"


def test_the_word_is_the_same_meeting_with_the_round_that_may_start() -> None:
    sent = of(plan(held(a_held_job(), 0, 1, round_=7).view()), SendMeet)
    assert {each.message for each in sent} == {Meet(1, 2, 2, "10.0.0.0:29400", 7)}


def test_a_failure_that_one_of_them_tells_is_judged_first() -> None:
    failure = (a_failure(exit_code=-9),)
    made = plan(held(a_held_job(), 0, 1).says(1, failures=failure).view())
    assert made.status.phase == Phase.FAILED
    assert made.status.restarts.by_cause == {Cause.PROCESS_SIGNAL: 1}
    assert of(made, SendMeet) == []
    assert words(held(a_held_job(rules=EXCUSED), 0, 1).says(1, failures=failure)).keys() == {
        "ner-worker-0000",
        "ner-worker-0001",
    }


def test_launchers_that_began_with_another_budget_are_let_start_under_this_one() -> None:
    """The environment of a pod stays as it was made."""
    job = held(a_held_job(maxRestarts=3), 0, 1).says(0, failures=(a_failure(exit_code=-9),))
    assert words(job) == {"ner-worker-0000": 2, "ner-worker-0001": 2}


def test_with_restarts_no_round_waits() -> None:
    made = plan(a_job().replicas(2).up().view())
    assert {sent.message.rounds for sent in of(made, SendMeet)} == {None}
