"""A rank that holds up the others is named, once, and never restarted for it."""

from __future__ import annotations

from typing import Any

import pytest
from plan_jobs import NOW, Job, a_job

from dtj_api.names import Condition, Reason
from dtj_api.status import SlowRank
from dtj_api.wire import Pace
from dtj_operator.plan import Plan, plan


def with_paces(*seconds: float | None, ranks_a_pod: int = 1) -> Job:
    """Pods whose ranks say what they themselves take for a step; None: not known yet."""
    pods = len(seconds) // ranks_a_pod
    job = a_job().replicas(pods).running()
    for index in range(pods):
        ranks = range(index * ranks_a_pod, (index + 1) * ranks_a_pod)
        told = tuple(Pace(rank, own) for rank in ranks if (own := seconds[rank]) is not None)
        job.says(index, world_size=len(seconds), paces=told)
    return job


def verdict(made: Plan) -> tuple[Any, bool]:
    return made.status.straggler, made.status.is_true(Condition.STRAGGLER)


NONE = (None, False)


@pytest.mark.parametrize(
    ("seconds", "slow"),
    [
        ((0.1, 0.1, 0.2), (2, 2.0)),
        ((0.2, 0.1, 0.1), (0, 2.0)),
        ((0.1, 0.16), (1, 1.6)),
        ((0.1, 0.1, 0.14), None),
        ((0.1, 0.3, 0.3), None),
        ((0.1, 0.1, 0.15, 0.2), (3, 2.0)),
        ((0.1, 0.2, None), None),
        ((None, None, None), None),
        ((0.5,), None),
        ((0.0, 0.0, 0.1), None),
        ((9e-7, 9e-7, 0.1), None),
        ((1e-6, 1e-6, 0.1), (2, 100_000.0)),
    ],
)
def test_the_slowest_rank_is_compared_with_the_median_of_the_others(
    seconds: tuple[float | None, ...], slow: tuple[int, float] | None
) -> None:
    made = plan(with_paces(*seconds).view())

    found = made.status.straggler
    assert (found and (found.rank, found.ratio)) == slow
    assert made.status.is_true(Condition.STRAGGLER) == (slow is not None)


def test_the_condition_and_one_event_name_rank_pod_node_and_ratio() -> None:
    job = with_paces(0.1, 0.1, 0.1, 0.25, ranks_a_pod=2)

    made = plan(job.view())

    assert made.status.straggler == SlowRank(rank=3, pod="ner-worker-0001", node="node-b", ratio=2.5)
    text = (
        "rank 3 (pod ner-worker-0001, node node-b) takes 2.5 times as long for its own part of a step as the others: "
        "0.25 s, their median is 0.1 s"
    )
    condition = made.status.condition(Condition.STRAGGLER)
    assert condition is not None
    assert (condition.reason, condition.message) == (Reason.SLOW_RANK, text)
    assert [(each.reason, each.message) for each in made.events] == [(Reason.SLOW_RANK, text)]
    assert not made.actions, "it is never restarted for this"

    again = plan(job.stored(made.status).says(0, paces=(Pace(0, 0.11), Pace(1, 0.11))).view(NOW + 60))
    assert again.events == ()
    assert again.status.is_true(Condition.STRAGGLER)


def test_a_rank_on_the_edge_stays_named_until_it_is_clearly_no_slower() -> None:
    slow = plan(with_paces(0.1, 0.1, 0.15).view())
    assert verdict(slow)[1]

    still = plan(with_paces(0.1, 0.1, 0.14).stored(slow.status).view(NOW + 30))
    assert verdict(still) == (SlowRank(rank=2, pod="ner-worker-0002", node="node-a", ratio=1.4), True)

    over = plan(with_paces(0.1, 0.1, 0.12).stored(still.status).view(NOW + 60))
    assert verdict(over) == NONE
    condition = over.status.condition(Condition.STRAGGLER)
    assert condition is not None
    assert condition.reason == Reason.EVEN_RANKS


def test_another_slow_rank_is_told_anew() -> None:
    first = plan(with_paces(0.1, 0.1, 0.2).view())
    second = plan(with_paces(0.1, 0.2, 0.1).stored(first.status).view(NOW + 30))
    assert [each.reason for each in second.events] == [Reason.SLOW_RANK]
    assert second.status.straggler is not None
    assert second.status.straggler.rank == 1


def test_paces_are_looked_at_again_though_no_progress_is_reported() -> None:
    job = with_paces(0.1, 0.1, 0.1)
    made = plan(job.view())
    assert made.requeue_after is not None
    assert made.requeue_after <= 30


def test_while_a_job_recovers_nobody_is_judged() -> None:
    slow = plan(with_paces(0.1, 0.1, 0.2).view())
    recovers = with_paces(0.1, 0.1, None).stored(slow.status).says(2, state="meeting")
    assert verdict(plan(recovers.view(NOW + 30)))[1], "as long as nothing is known of the new round"
    assert verdict(plan(with_paces(0.1, 0.1, 0.2).says(2, state="meeting").view())) == NONE


def test_a_ratio_that_moves_is_a_figure_and_waits_for_its_turn() -> None:
    slow = plan(with_paces(0.1, 0.1, 0.2).view())
    moved = plan(with_paces(0.1, 0.1, 0.22).stored(slow.status).view(NOW + 1))
    assert moved.status.straggler is not None
    assert moved.status.straggler.ratio == 2.2
    assert not moved.write


@pytest.mark.parametrize("ends", ["suspended", "succeeded", "failed"])
def test_of_a_job_that_does_not_train_no_rank_is_slow(ends: str) -> None:
    slow = plan(with_paces(0.1, 0.1, 0.2).view())
    job = with_paces(0.1, 0.1, 0.2).stored(slow.status)
    if ends == "suspended":
        job.spec(suspend=True)
    for index in range(3):
        if ends == "succeeded":
            job.end(index, 0)
        elif ends == "failed":
            job.spec(lifecycle={"activeDeadline": "50s"})

    made = plan(job.view(NOW + 30))

    assert made.status.phase == ends.capitalize()
    assert verdict(made) == NONE


def test_a_slow_rank_whose_pod_is_no_member_any_more_is_not_named() -> None:
    slow = plan(with_paces(0.1, 0.2).view())
    assert verdict(slow)[1]
    alone = a_job().replicas(1).running().says(0, world_size=1, paces=(Pace(0, 0.1),))
    members = alone.view().status.members
    alone.stored(slow.status.model_copy(update={"members": members, "pods": alone.view().status.pods}))
    assert verdict(plan(alone.view(NOW + 30))) == NONE
