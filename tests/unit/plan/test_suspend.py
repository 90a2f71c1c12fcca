"""Suspended jobs keep their checkpoint and no pods; the deadline's clock stands still."""

from __future__ import annotations

import pytest
from plan_jobs import NOW, a_job, a_pod, deleted, of

from dtj_api.names import Condition, Phase, Reason
from dtj_api.scalars import Timestamp
from dtj_api.status import JobStatus, NewcomerStatus
from dtj_api.wire import Progress
from dtj_operator.observe.view import STORE_INDEX
from dtj_operator.plan import CreateWorker, DeletePod, DryRunWorker, plan


def test_a_job_that_begins_suspended_has_nothing() -> None:
    made = plan(a_job().replicas(2).spec(suspend=True).view())
    assert made.actions == ()
    assert made.status.phase == Phase.SUSPENDED
    assert made.status.is_true(Condition.SUSPENDED)
    assert made.status.start_time is None
    assert made.status.workers.desired == 0


def test_workers_leave_with_their_grace_and_the_store_after_them() -> None:
    job = a_job().replicas(2).running().spec(suspend=True)
    made = plan(job.view())
    assert [(act.uid, act.grace) for act in of(made, DeletePod)] == [("pod-0-1", None), ("pod-1-1", None)]
    assert made.status.phase == Phase.SUSPENDED
    assert made.status.active_seconds == 100
    assert made.status.resumed_at is None
    assert [event.reason for event in made.events] == [Reason.SUSPENDED]
    job.stored(made.status).change(0, deletion_at=NOW + 120).change(1, deletion_at=NOW + 120)
    assert plan(job.view()).actions == ()
    last = plan(job.without(0).without(1).view())
    assert deleted(last) == ["store-1"]
    empty = plan(job.without(STORE_INDEX).view())
    assert empty.actions == ()
    assert empty.events == ()


def test_the_ends_of_pods_that_were_sent_away_are_not_counted() -> None:
    job = a_job().replicas(2).running().spec(suspend=True)
    made = plan(job.view())
    job.stored(made.status).end(0, 143, deletion_at=NOW + 100).without(1)
    assert plan(job.view()).status.restarts.by_cause == {}
    resumed = plan(job.spec(suspend=False).view())
    assert resumed.status.restarts.by_cause == {}


def test_a_failure_before_the_suspension_is_counted_all_the_same() -> None:
    made = plan(a_job().replicas(2).running().end(0, 1).spec(suspend=True).view())
    assert made.status.restarts.counted == 1
    assert made.status.phase == Phase.SUSPENDED


def test_who_was_held_back_is_so_no_more_after_a_suspension() -> None:
    later, at = Timestamp(NOW + 50), Timestamp(NOW - 10)
    row = NewcomerStatus(in_vain=7, in_vain_at=at, create_after=later)
    job = a_job().replicas(2).running().status(in_vain=3, in_vain_at=at, create_after=later, newcomers=row)
    status = plan(job.spec(suspend=True).view()).status
    assert (status.in_vain, status.in_vain_at) == (0, None)
    assert (status.create_after, status.newcomers) == (None, NewcomerStatus())


def test_what_ends_the_job_is_not_forgotten_over_a_suspension() -> None:
    job = a_job().replicas(2).running().spec(failurePolicy={"rules": [{"onExitCodes": [3], "action": "Fail"}]})
    first = plan(job.end(0, 3).spec(suspend=True).view())
    assert first.status.phase == Phase.SUSPENDED
    said = first.status.condition(Condition.SUSPENDED)
    assert said is not None
    assert "the job fails when it resumes: failurePolicy.rules[0] says that this ends the job" in said.message
    second = plan(job.stored(first.status).without(0).without(1).without(STORE_INDEX).view(NOW + 5))
    assert second.status.given_up == first.status.given_up
    job.stored(second.status).spec(suspend=False)
    last = plan(job.view(NOW + 1000))
    assert (last.status.phase, last.actions) == (Phase.FAILED, ())
    failed = last.status.condition(Condition.FAILED)
    assert failed is not None
    assert failed.reason == Reason.FAILURE_RULE
    assert last.status.given_up is None


def test_resume_begins_a_new_incarnation_with_new_pods_and_a_new_start_timeout() -> None:
    job = a_job().replicas(2).running().spec(suspend=True)
    job.stored(plan(job.view()).status).spec(suspend=False)
    made = plan(job.view(NOW + 1000))
    assert made.status.incarnation == 2
    assert made.status.resumed_at == NOW + 1000
    assert made.status.start_time == NOW - 100
    assert made.status.active_seconds == 100
    assert not made.status.is_true(Condition.SUSPENDED)
    assert DryRunWorker in map(type, made.actions)  # A queue may have changed the template meanwhile.
    admitted = job.stored(made.status).admitted()
    waiting = plan(admitted.view(NOW + 1001))
    assert set(deleted(waiting)) == {"pod-0-1", "pod-1-1"}
    assert CreateWorker not in map(type, waiting.actions)
    empty = admitted.without(0).without(1).without(STORE_INDEX)
    made = plan(empty.view(NOW + 1002))
    assert of(made, CreateWorker) == [CreateWorker(a_pod(i).name, i, 2) for i in (0, 1)]


def test_a_status_that_was_lost_begins_above_everything_that_is_there() -> None:
    """For instance when the job was restored from a backup: launchers refuse numbers below their own."""
    job = a_job().replicas(2).running(incarnation=7).stored(JobStatus()).admitted()
    made = plan(job.view())
    assert made.status.incarnation == 8
    assert set(deleted(made)) == {"pod-0-7", "pod-1-7"}
    assert of(made, CreateWorker) == []


def test_a_status_that_was_lost_begins_above_what_launchers_say() -> None:
    job = a_job().replicas(2).running(incarnation=1).stored(JobStatus()).admitted()
    for index in range(2):
        job.says(index, incarnation=3)
    assert plan(job.view()).status.incarnation == 4


@pytest.mark.parametrize(
    ("suspend", "used", "failures", "phase"),
    [
        (True, 100, 9, Phase.SUSPENDED),
        (False, 100, 9, Phase.FAILED),
        (False, 99, 9, Phase.FAILED),
        (False, 99, 0, Phase.RUNNING),
    ],
)
def test_suspended_comes_before_deadline_before_failed(suspend: bool, used: float, failures: int, phase: Phase) -> None:
    job = a_job().replicas(2).spec(lifecycle={"activeDeadline": "100s"}, failurePolicy={"maxRestarts": 1}).running()
    restarts = job.view().status.restarts.model_copy(update={"recent": (NOW - 1,) * failures})
    job.status(resumed_at=NOW - used, restarts=restarts).spec(suspend=suspend)
    made = plan(job.view())
    assert made.status.phase == phase
    if phase == Phase.FAILED:
        found = made.status.condition(Condition.FAILED)
        assert found is not None
        assert found.reason == (Reason.DEADLINE_EXCEEDED if used == 100 else Reason.BUDGET_SPENT)


def test_the_deadline_does_not_count_what_was_suspended() -> None:
    job = a_job().replicas(2).spec(lifecycle={"activeDeadline": "100s"}).running()
    made = plan(job.status(active_seconds=60.0, resumed_at=NOW - 30).view())
    assert made.status.phase == Phase.RUNNING
    assert made.requeue_after == 10


def test_what_the_pods_save_while_they_leave_is_written_at_once() -> None:
    """They are no members any more, and in a few seconds there may be nobody left to ask."""
    job = a_job().replicas(2).running().spec(suspend=True)
    job.stored(plan(job.view()).status).change(0, deletion_at=NOW + 120).change(1, deletion_at=NOW + 120)
    job.says(0, progress=Progress(step=12, checkpoint_step=12, checkpoint_at=NOW, updated_at=NOW))
    made = plan(job.view())
    assert made.status.checkpoint.last_step == 12
    assert made.write
    assert made.urgent
