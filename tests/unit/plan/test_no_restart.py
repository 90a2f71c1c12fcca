"""With maxRestarts 0 nothing starts twice: the word for another start comes when all that failed before is counted."""

from __future__ import annotations

from typing import Any

import pytest
from plan_jobs import a_failure, a_job, a_spec, of
from plan_world import World

from dtj_api.names import Cause, Component, Condition, LauncherState, Phase
from dtj_api.wire import Meet
from dtj_operator.plan import Plan, SendMeet, plan

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


def a_world_of_three(**policy: Any) -> tuple[World, str]:
    """Three go on without the fourth; the rank of the last of them fails, and it comes back after the last call.

    The operator hears nothing of it meanwhile.
    """
    workers = {"replicas": 4, "minReplicas": 2}
    spec = a_spec(workers=workers, schedule={"startTimeout": "60s"}, failurePolicy={"maxRestarts": 0, **policy})
    world = World(spec, steps=10**6)
    world.run(lambda: len(world.created) == 4)
    uids = {index: uid for index, uid in world.created}
    world.deaf.add(uids[3])
    world.run(lambda: world.status.phase == Phase.RUNNING and not world.deaf.isdisjoint(world._unanswered))
    assert (world.status.members, world.status.min_members) == ((0, 1, 2), 2)
    late = uids[2]
    assert world.crash_rank(late, alone=True)
    world.deaf.add(late)
    world.late.add(late)
    world.tick()
    assert [each.held for uid, each in world.launchers.items() if uid in (uids[0], uids[1])] == [2, 2]
    return world, late


def come_back(world: World, late: str) -> None:
    world.late.discard(late)
    world.deaf.discard(late)


@pytest.mark.parametrize("anew", [False, True])
def test_a_round_without_the_pod_that_saw_the_failure_starts_nothing_before_that_pod_is_heard(anew: bool) -> None:
    world, late = a_world_of_three()
    before = list(world.starts)
    if anew:
        world._forget()
    world.run(seconds=5)
    assert not world.status.done
    assert world.starts == before
    come_back(world, late)
    world.run(seconds=5)
    assert world.status.phase == Phase.FAILED
    assert world.starts == before


def test_a_round_without_a_pod_starts_when_that_one_has_told_what_is_excused() -> None:
    world, late = a_world_of_three(rules=EXCUSED)
    before = len(world.starts)
    world.deaf.discard(late)
    world.run(lambda: trains_again(world, before), seconds=5)
    assert {(round_, uid == late) for uid, _, round_ in world.starts[before:]} == {(2, False)}
    assert world.status.restarts.excused == 1
    come_back(world, late)
    world.run(lambda: len(world.starts) == before + 5, seconds=5)
    assert [round_ for _, _, round_ in world.starts[before + 2 :]] == [3, 3, 3]


def trains_again(world: World, before: int) -> bool:
    return len(world.starts) > before and world.status.phase == Phase.RUNNING


@pytest.mark.parametrize("anew", [False, True])
def test_a_pod_that_never_tells_is_left_out_like_any_that_is_silent(anew: bool) -> None:
    world, _ = a_world_of_three()
    before = len(world.starts)
    if anew:
        world._forget()
    world.run(lambda: trains_again(world, before), seconds=60)
    assert world.status.members == (0, 1)
    assert {(incarnation, round_) for _, incarnation, round_ in world.starts[before:]} == {
        (world.status.incarnation, 1)
    }


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
    before = held(a_held_job(), 0).says(1, round=0, state=LauncherState.MEETING)
    assert words(before) == {}, "the first round of a job starts without a word, and may have failed since"
    again = held(a_held_job(), 0).says(1, round=2, state=LauncherState.TRAINING)
    assert words(again) == {"ner-worker-0000": 2}, "it was lost on its way to this one"


@pytest.mark.parametrize(
    ("third", "told"),
    [
        ({"state": LauncherState.TRAINING}, False),
        ({"state": LauncherState.STARTING}, False),
        ({"incarnation": 1, "state": LauncherState.MEETING}, False),
        ({"state": LauncherState.MEETING}, True),
        ({"state": LauncherState.MEETING, "round_": 0}, True),
        ({"state": LauncherState.DONE}, True),
        ({"state": LauncherState.TRAINING, "round_": 3}, True),
    ],
)
def test_the_word_for_a_round_that_is_not_full_waits_for_those_whose_ranks_may_have_failed(
    third: dict[str, Any], told: bool
) -> None:
    job = a_job().replicas(3, least=2).spec(failurePolicy={"maxRestarts": 0}).running(incarnation=2)
    job = held(job.status(min_members=2), 0, 1)
    fields = {"round_": 1, **third}
    job.says(2, round=fields.pop("round_"), **fields)
    starts = {name: rounds for name, rounds in words(job).items() if rounds == 2}
    assert starts.keys() == ({"ner-worker-0000", "ner-worker-0001"} if told else set())


def test_a_member_that_was_through_and_has_gone_keeps_no_round() -> None:
    """It has exited 0, and its pod has nothing to tell any more."""
    job = a_job().replicas(3, least=2).spec(failurePolicy={"maxRestarts": 0}).running(incarnation=2)
    job = held(job.status(min_members=2, finished_members=(2,)).without(2), 0, 1)
    assert words(job) == {"ner-worker-0000": 2, "ner-worker-0001": 2}


def test_it_is_told_what_a_round_waits_for_that_has_formed() -> None:
    made = plan(held(a_held_job(), 0).status(phase=Phase.RECOVERING).view())
    assert said(made) == (
        "round 2 has formed; with maxRestarts 0 its ranks start when all workers have told what failed before: "
        "not heard of since: ner-worker-0001"
    )
    made = plan(held(a_held_job(), 0, 1).status(phase=Phase.RECOVERING).view())
    assert said(made) == "round 2 has formed, and its ranks are let start"


def said(made: Plan) -> str:
    return next(each.message for each in made.status.conditions if each.type == Condition.PROGRESSING)


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
