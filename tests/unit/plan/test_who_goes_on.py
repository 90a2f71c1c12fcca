"""Who meets once a member has not come for so long that nobody waits for it: all who are there, members or not."""

from __future__ import annotations

import pytest
from plan_jobs import NOW, Job, a_job, a_pod, a_spec, of
from plan_world import World

from dtj_api.names import Cause, Phase, Reason
from dtj_api.wire import Meet
from dtj_operator.plan import SendMeet, plan


def _waits(workers: tuple[int, int, int], members: tuple[int, ...], there: set[int], age: float = 30) -> Job:
    """A job that stands still since `age` seconds; `workers` are its replicas, minReplicas and spares."""
    replicas, least, spares = workers
    job = a_job().replicas(replicas, least=least).spec_workers(spares=spares).up()
    for index in range(replicas + spares):
        job.stands_ready(a_pod(index))
        if index not in there:
            job.not_up(index, waiting_reason="ImagePullBackOff", waiting_message="manifest unknown")
    return job.status(members=members, min_members=len(members), phase=Phase.RECOVERING, incarnation_at=NOW - age)


@pytest.mark.parametrize(
    ("workers", "members", "there", "goes_on"),
    [
        pytest.param((4, 2, 0), (0, 1), {0, 2}, (0, 2), id="as many as before"),
        pytest.param((4, 2, 0), (0, 1), {0, 2, 3}, (0, 2, 3), id="more than before"),
        pytest.param((4, 2, 0), (0, 1), {2, 3}, (2, 3), id="no member is left"),
        pytest.param((4, 3, 0), (0, 1, 2), {0, 1, 3}, (0, 1, 3), id="without the one that came they were too few"),
        pytest.param((5, 2, 0), (0, 1, 2), {0, 1, 3}, (0, 1, 3), id="without the one that came they were enough"),
        pytest.param((4, 2, 1), (0, 1, 2, 3), {0, 1, 4}, (0, 1, 4), id="a spare among those that are too few for all"),
        pytest.param((3, 2, 0), (0, 1, 2), {0, 1}, (0, 1), id="members alone"),
    ],
)
def test_all_who_are_there_go_on_and_meet_once(
    workers: tuple[int, int, int], members: tuple[int, ...], there: set[int], goes_on: tuple[int, ...]
) -> None:
    early = plan(_waits(workers, members, there, age=29).view())
    assert (early.status.members, early.status.incarnation) == (members, 1)
    assert early.requeue_after == 1, "it looks again when the wait is over"
    job = _waits(workers, members, there)
    made = plan(job.view())
    assert (made.status.members, made.status.min_members, made.status.incarnation) == (goes_on, workers[1], 2)
    meets = Meet(2, workers[1], len(goes_on), "10.0.0.0:29400")
    assert {act.pod: act.message for act in of(made, SendMeet)} == {f"ner-worker-{i:04}": meets for i in goes_on}
    assert [event.message.split(":")[0] for event in made.events if event.reason == Reason.FEWER_WORKERS] == [
        f"going on with {len(goes_on)} of {workers[0]} workers"
    ]
    assert made.status.restarts.by_cause == {}
    again = plan(job.stored(made.status).view(NOW + 5))
    assert (again.status.members, again.status.incarnation) == (goes_on, 2)


@pytest.mark.parametrize(
    ("workers", "members", "there"),
    [
        pytest.param((4, 2, 0), (0, 1), {0, 1, 2}, id="all members are there"),
        pytest.param((4, 3, 0), (0, 1, 2), {0, 3}, id="too few"),
        pytest.param((3, 3, 1), (0, 1, 2), {0, 3}, id="not elastic"),
        pytest.param((4, 2, 0), (0, 1), {0}, id="nobody but one member"),
    ],
)
def test_nobody_meets_anew_for_nothing(
    workers: tuple[int, int, int], members: tuple[int, ...], there: set[int]
) -> None:
    made = plan(_waits(workers, members, there, age=500).view())
    assert (made.status.members, made.status.incarnation) == (members, 1)


@pytest.mark.parametrize("age", [0, 500])
@pytest.mark.parametrize(("workers", "there"), [((2, 1, 1), {0, 2}), ((2, 2, 1), {0, 2}), ((2, 1, 2), {0, 2, 3})])
def test_a_spare_that_completes_the_job_waits_for_nothing_and_is_no_shrinking(
    workers: tuple[int, int, int], there: set[int], age: float
) -> None:
    made = plan(_waits(workers, (0, 1), there, age).spec(schedule={"startTimeout": "2m"}).view())
    assert (made.status.members, made.status.min_members, made.status.incarnation) == ((0, 2), 2, 2)
    assert not [event for event in made.events if event.reason == Reason.FEWER_WORKERS]


def test_a_member_that_has_not_had_the_time_to_answer_is_waited_for() -> None:
    job = _waits((4, 2, 0), (0, 1), {0, 2})
    job.change(1, phase="Running", ready=True, running_since=NOW - 1, waiting_reason="")
    assert plan(job.view()).status.members == (0, 1)


@pytest.mark.parametrize(("least", "phase"), [(3, Phase.STARTING), (4, Phase.FAILED)])
def test_a_start_counts_a_spare_among_those_who_came_in_time(least: int, phase: Phase) -> None:
    job = _waits((4, least, 1), (0, 1, 2, 3), {0, 1, 4}).spec(schedule={"startTimeout": "2m"})
    job.status(phase=Phase.PENDING, resumed_at=NOW - 120)
    assert plan(job.view(NOW - 1)).status.members == (0, 1, 2, 3)
    made = plan(job.view())
    assert made.status.phase == phase
    assert made.status.members == ((0, 1, 4) if phase == Phase.STARTING else (0, 1, 2, 3))


@pytest.mark.parametrize(
    ("workers", "members", "ready"), [((4, 2, 0), (0, 1), {2}), ((3, 1, 0), (0, 1), set())], ids=["replaced", "fewer"]
)
def test_nobody_waits_for_the_end_of_a_member_that_leaves_and_the_clock_runs(
    workers: tuple[int, int, int], members: tuple[int, ...], ready: set[int]
) -> None:
    job = _waits(workers, members, {*members, *ready}).change(1, deletion_at=NOW + 120)
    made = plan(job.view())
    assert (made.status.members, made.status.incarnation) == (tuple(sorted({0, *ready})), 2)
    assert made.status.restarts.by_cause == {}, "it is counted when it ends"
    assert made.status.interruption is not None
    assert (made.status.interruption.cause, made.status.interruption.node) == (Cause.POD_DELETED, "node-b")


@pytest.mark.parametrize(
    ("workers", "members", "ready"), [((2, 2, 1), (0, 1), {2}), ((4, 2, 0), (0, 1, 2), {2})], ids=["spare", "fewer"]
)
def test_the_clock_runs_from_the_silence_of_a_member_that_others_go_on_without(
    workers: tuple[int, int, int], members: tuple[int, ...], ready: set[int]
) -> None:
    job = _waits(workers, members, {*members, *ready}).fields(unanswered={a_pod(1).uid: NOW - 12})
    made = plan(job.view())
    assert (made.status.members, made.status.incarnation) == ((0, 2), 2)
    assert made.status.restarts.by_cause == {}, "it is counted once it is given up"
    assert made.status.interruption is not None
    assert (made.status.interruption.cause, made.status.interruption.at) == (Cause.POD_FAILED, NOW - 12)


def test_a_member_that_is_silent_with_its_node_is_no_failed_pod() -> None:
    job = _waits((2, 2, 1), (0, 1), {0, 1, 2}).node("node-b", ready=False, not_ready_since=NOW - 12)
    made = plan(job.view())
    assert (made.status.members, made.status.restarts.by_cause) == ((0, 2), {})
    assert made.status.interruption is not None
    assert (made.status.interruption.cause, made.status.interruption.node) == (Cause.NODE_LOST, "node-b")


def test_a_job_trains_on_beside_one_whose_pods_never_come() -> None:
    policy = {"backoff": {"initial": "2s", "max": "60s"}, "maxRestarts": 0}
    world = World(a_spec(failurePolicy=policy, workers={"replicas": 4, "minReplicas": 2}), steps=10**6)
    world.run(lambda: world.status.phase == Phase.RUNNING)
    world.evicted |= {2, 3}
    world.run(lambda: (world.status.phase, world.status.members) == (Phase.RUNNING, (0, 1)), seconds=2000)
    assert (world.status.phase, world.status.members) == (Phase.RUNNING, (0, 1))
    world.evicted = {1, 3}
    world.vanish(next(uid for uid, pod in world.pods.items() if pod.index == 1))
    before, number = world.step, world.status.incarnation
    world.run(lambda: world.step > before + 10, seconds=500)
    assert (world.status.phase, world.status.members) == (Phase.RUNNING, (0, 2))
    world.run(lambda: False, seconds=2000)
    assert (world.status.phase, world.status.members) == (Phase.RUNNING, (0, 2))
    assert world.status.incarnation == number + 2, "one for the loss, one without the lost"
