"""`spec.failurePolicy.nodeLoss`: when a node is given up, and which nodes new pods avoid."""

from __future__ import annotations

from typing import Any

import pytest
from plan_jobs import NOW, Job, a_failure, a_job, a_pod, a_report, deleted, failed, of

from dtj_api.names import Cause, LauncherState, Reason
from dtj_api.scalars import Timestamp
from dtj_api.status import ExcludedNode
from dtj_api.wire import NO_RANK
from dtj_operator.plan import CreateStore, CreateWorker, DeletePod, plan


def _away(seconds: float, **node_loss: Any) -> Job:
    """Worker 1 is on node-b, which has not been ready for so long."""
    job = a_job().replicas(2).running().spec(failurePolicy={"nodeLoss": node_loss})
    return job.node("node-b", ready=False, not_ready_since=NOW - seconds)


@pytest.mark.parametrize(
    ("seconds", "node_loss", "lost"),
    [(29, {}, False), (30, {}, True), (59, {"tolerate": "1m"}, False), (60, {"tolerate": "1m"}, True)],
)
def test_a_node_is_tolerated_for_as_long_as_the_spec_says(
    seconds: float, node_loss: dict[str, str], lost: bool
) -> None:
    made = plan(_away(seconds, **node_loss).view())
    assert made.status.restarts.by_cause == ({Cause.NODE_LOST: 1} if lost else {})
    assert of(made, DeletePod) == (
        [DeletePod("ner-worker-0001", "pod-1-1", "its end is counted (NodeLost)", 0, with_node=True)] if lost else []
    )
    if not lost:
        assert made.requeue_after == 1


def test_new_pods_avoid_a_lost_node_for_an_hour() -> None:
    job = _away(30)
    first = plan(job.view())
    (excluded,) = first.status.excluded_nodes
    assert (excluded.name, excluded.until) == ("node-b", NOW + 3600)
    assert [event.message for event in first.events if event.reason == Reason.NODE_EXCLUDED] == [
        "new pods avoid node node-b for 1h: pod ner-worker-0001 is lost (NodeLost): "
        "node node-b has not been ready for 30s, and nothing on it answers"
    ]
    second = plan(job.stored(first.status).without(1).view())
    assert of(second, CreateWorker) == [CreateWorker("ner-worker-0001", 1, 2, ("node-b",))]


@pytest.mark.parametrize(("after", "avoid"), [(3599, ("node-b",)), (3600, ())])
def test_it_is_used_again_after_that(after: float, avoid: tuple[str, ...]) -> None:
    job = a_job().replicas(2).started()
    job.status(excluded_nodes=(ExcludedNode(name="node-b", until=Timestamp(NOW + 3600)),))
    made = plan(job.view(NOW + after))
    assert {each.avoid for each in of(made, CreateWorker)} == {avoid}
    assert {each.avoid for each in of(made, CreateStore)} == {avoid}


def test_no_node_is_avoided_where_that_is_not_wanted() -> None:
    assert plan(_away(30, excludeFor="0s").view()).status.excluded_nodes == ()


def _rule(job: Job, **rule: Any) -> Job:
    return job.spec(failurePolicy={"rules": [{"action": "ReplaceNode", **rule}]})


def test_a_rule_replaces_the_pod_of_a_failed_rank_away_from_its_node() -> None:
    job = _rule(a_job().replicas(2).running(), onMessage="*ECC*")
    job.says(0, round=2).says(1, round=2, failures=(a_failure(message="uncorrectable ECC error"),))
    made = plan(job.view())
    assert made.status.restarts.by_cause == {Cause.PROCESS_EXIT: 1}
    assert made.status.restarts.counted == 0
    assert deleted(made) == ["pod-1-1"]
    assert (made.status.incarnation, made.status.members) == (2, (0, 1))
    assert [each.name for each in made.status.excluded_nodes] == ["node-b"]
    job.stored(made.status).without(1)
    second = plan(job.view(NOW + 1))
    assert of(second, CreateWorker) == [CreateWorker("ner-worker-0001", 1, 2, ("node-b",))]
    job.stored(second.status)
    pod = a_pod(1, uid="new", incarnation=2, node="node-c")
    job.pod(pod, a_report(pod, incarnation=0, round_=0, state=LauncherState.WAITING))
    third = plan(job.view(NOW + 2))
    assert third.status.store.address
    assert third.status.restarts.by_cause == {Cause.PROCESS_EXIT: 1}, "counted once"


def test_a_spare_takes_its_place_at_once() -> None:
    job = _rule(a_job().replicas(2).running().spec_workers(spares=1), onMessage="*ECC*")
    job.says(0, round=2).says(1, round=2, failures=(a_failure(message="uncorrectable ECC error"),))
    spare = a_pod(2)
    job.pod(spare, a_report(spare, incarnation=0, round_=0, state=LauncherState.WAITING))
    assert plan(job.view()).status.members == (0, 2)


def _hang(**told: Any) -> Job:
    """Worker 0 found the hang."""
    job = _rule(a_job().replicas(2).running(), onReasons=["Hang"])
    job.says(0, round=2, failures=(a_failure(hang=True, exit_code=0, message="no step for 61 s", **told),))
    return job.says(1, round=2)


def test_the_pod_of_the_rank_that_stood_still_is_replaced_whoever_found_the_hang() -> None:
    made = plan(_hang(rank=1, pod="ner-worker-0001", pod_uid="pod-1-1").view())
    assert deleted(made) == ["pod-1-1"]
    assert [each.name for each in made.status.excluded_nodes] == ["node-b"]
    assert made.status.restarts.last_message.startswith("rank 1 on ner-worker-0001 hung in round 1: no step for 61 s")


def test_where_nobody_knows_who_stood_still_nobody_is_replaced() -> None:
    made = plan(_hang(rank=NO_RANK).view())
    assert deleted(made) == []
    assert made.status.excluded_nodes == ()
    assert made.status.restarts.last_message.startswith("the ranks hung in round 1: no step for 61 s")
    assert made.status.restarts.by_cause == {Cause.HANG: 1}


def test_a_pod_that_stood_still_and_has_gone_is_counted_and_no_other_is_replaced() -> None:
    made = plan(_hang(rank=1, pod="ner-worker-0001", pod_uid="the one before").view())
    assert deleted(made) == []
    assert made.status.restarts.by_cause == {Cause.HANG: 1}


def test_a_rule_about_a_pod_that_ended_avoids_its_node_too() -> None:
    job = _rule(a_job().replicas(2).running(), onExitCodes=[137])
    made = plan(job.pod(failed(a_pod(1), 137)).view())
    assert [each.name for each in made.status.excluded_nodes] == ["node-b"]
    assert made.status.restarts.counted == 0
