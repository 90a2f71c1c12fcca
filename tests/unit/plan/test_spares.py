"""`spec.workers.spares`: a pod that stands ready takes the place of a lost worker at once."""

from __future__ import annotations

import pytest
from plan_jobs import NOW, Job, a_job, a_pod, a_report, deleted, failed, of

from dtj_api.names import Cause, LauncherState, Phase
from dtj_api.wire import Meet
from dtj_operator.plan import CreateWorker, SendMeet, plan


def _with_spares(replicas: int = 2, spares: int = 1, *, ready: bool = True) -> Job:
    job = a_job().replicas(replicas).running()
    return _stands_by(
        job.replicas(replicas).spec_workers(spares=spares), *range(replicas, replicas + spares), ready=ready
    )


def _stands_by(job: Job, *indices: int, ready: bool = True, incarnation: int = 1) -> Job:
    for index in indices:
        pod = a_pod(index, incarnation=incarnation)
        said = a_report(pod, incarnation=0, round_=0, state=LauncherState.WAITING, group_rank=-1)
        job.pod(pod, said if ready else None)
    return job


def test_spares_are_made_with_the_workers_and_wait() -> None:
    made = plan(a_job().replicas(2).spec_workers(spares=2).started().view())
    assert [each.index for each in of(made, CreateWorker)] == [0, 1, 2, 3]
    assert made.status.members == (0, 1)
    assert made.status.workers.desired == 2


def test_a_spare_that_stands_ready_is_told_nothing() -> None:
    made = plan(_with_spares().view())
    assert (made.actions, made.status.phase, made.status.incarnation) == ((), Phase.RUNNING, 1)
    assert (made.status.workers.active, made.status.workers.spare) == (2, 1)


def test_a_spare_takes_the_place_of_a_lost_worker_in_the_same_reconcile() -> None:
    made = plan(_with_spares().end(0, 1).view())
    assert made.status.incarnation == 2
    assert made.status.members == (1, 2)
    assert {each.pod: each.message for each in of(made, SendMeet)} == {
        f"ner-worker-000{index}": Meet(2, 2, 2, "10.0.0.0:29400") for index in (1, 2)
    }
    assert deleted(made) == ["pod-0-1"]
    assert made.status.restarts.by_cause == {Cause.POD_FAILED: 1}


def test_the_replacement_becomes_the_spare() -> None:
    job = _with_spares().end(0, 1)
    first = plan(job.view())
    job.stored(first.status).without(0)
    second = plan(job.view(NOW + 1))
    assert [each.index for each in of(second, CreateWorker)] == [0]
    job.stored(second.status)
    for index in (1, 2):
        job.says(index, incarnation=2, round=1, state=LauncherState.TRAINING)
    third = plan(_stands_by(job, 0, incarnation=2).view(NOW + 3))
    assert (third.status.members, third.status.phase, third.status.incarnation) == ((1, 2), Phase.RUNNING, 2)
    assert (third.status.workers.active, third.status.workers.spare) == (2, 1)
    assert third.actions == ()


def test_without_a_ready_spare_the_replacement_is_waited_for_and_a_spare_that_is_quicker_taken() -> None:
    job = _with_spares(ready=False).end(0, 1)
    first = plan(job.view())
    assert first.status.members == (0, 1)
    job.stored(first.status).without(0)
    second = plan(_stands_by(job, 2).view(NOW + 1))
    assert second.status.members == (1, 2)
    assert second.status.restarts.by_cause == {Cause.POD_FAILED: 1}
    assert len(of(second, SendMeet)) == 2


def test_the_end_of_a_spare_interrupts_nobody() -> None:
    job = _with_spares()
    made = plan(job.pod(failed(a_pod(2), 1)).view())
    assert (made.status.incarnation, made.status.members, made.status.phase) == (1, (0, 1), Phase.RUNNING)
    assert made.status.restarts.by_cause == {Cause.POD_FAILED: 1}
    assert made.status.interruption is None
    assert deleted(made) == ["pod-2-1"]


def test_two_losses_and_one_spare() -> None:
    job = _with_spares(3).end(0, 1, at=NOW - 2).end(1, 137, at=NOW - 1)
    made = plan(job.view())
    assert made.status.members == (0, 2, 3)
    assert made.status.restarts.counted == 1, "what ends together ends by the first"


def test_a_start_takes_whoever_is_there_first() -> None:
    job = a_job().replicas(2).spec_workers(spares=1).up()
    job.not_up(0, ip="", node="", unschedulable="no gpu")
    made = plan(_stands_by(job, 1, 2).view())
    assert made.status.members == (1, 2)


@pytest.mark.parametrize(("replicas", "spares", "members"), [(2, 0, (0, 1)), (3, 0, (0, 1, 2)), (3, 1, (0, 1, 2))])
def test_growing_takes_spares_at_once(replicas: int, spares: int, members: tuple[int, ...]) -> None:
    job = _with_spares().spec_workers(replicas=replicas, spares=spares)
    if (replicas, spares) == (3, 1):
        job = _stands_by(job, 3)
    made = plan(job.view())
    assert made.status.members == members


def test_fewer_replicas_make_a_worker_a_spare() -> None:
    made = plan(_with_spares().spec_workers(replicas=1, spares=2).view())
    assert made.status.members == (0,)
    assert deleted(made) == []


def test_going_on_with_fewer_takes_a_spare_first() -> None:
    job = _with_spares(3).spec_workers(minReplicas=1).end(0, 1)
    made = plan(job.view())
    assert made.status.members == (1, 2, 3)


def test_after_the_end_spares_are_sent_away() -> None:
    job = _with_spares()
    for index in (0, 1):
        job.end(index, 0)
    made = plan(job.view())
    assert made.status.phase == Phase.SUCCEEDED
    job.stored(made.status)
    assert deleted(plan(job.view(NOW + 40))) == ["pod-2-1"]


@pytest.mark.parametrize(
    ("disruption", "cause"), [("", Cause.POD_DELETED), ("EvictionByEvictionAPI", Cause.POD_EVICTED)]
)
def test_a_spare_does_not_wait_for_the_end_of_a_worker_that_leaves_and_the_clock_runs(disruption, cause) -> None:
    job = _with_spares().change(1, deletion_at=NOW + 120, disruption=disruption)
    job.says(0, state=LauncherState.MEETING).says(1, state=LauncherState.DRAINING)
    first = plan(job.view())
    assert first.status.phase == Phase.RECOVERING
    second = plan(job.stored(first.status).view(NOW + 1))
    assert (second.status.members, second.status.incarnation) == ((0, 2), 2)
    assert second.status.restarts.by_cause == {}, "it is counted when it ends"
    assert second.status.interruption is not None
    assert (second.status.interruption.cause, second.status.interruption.node) == (cause, "node-b")
    job.stored(second.status).end(1, 143, deletion_at=NOW + 120, disruption=disruption)
    assert plan(job.view(NOW + 2)).status.restarts.by_cause == {cause: 1}
