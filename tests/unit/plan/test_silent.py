"""A launcher that is stopped or wedged keeps its pod running: it is given up once nobody hears of it."""

from __future__ import annotations

from typing import Any

import pytest
from plan_jobs import NOW, Job, a_job, a_pod, a_report, deleted, of

from dtj_api.names import Cause, LauncherState
from dtj_operator.plan import DeletePod, plan


def _silent(unready: float | None = 30, unanswered: float | None = 30, job: Job | None = None, **policy: Any) -> Job:
    """Worker 1 runs, but its readiness failed so many seconds ago, and it has not answered the operator for as many."""
    job = (job or a_job().replicas(2)).spec(failurePolicy=policy).running()
    if unready is not None:
        job.change(1, ready=False, unready_since=NOW - unready)
    return job.fields(unanswered={} if unanswered is None else {"pod-1-1": NOW - unanswered})


def test_a_pod_that_answers_nobody_is_lost_and_deleted_by_force() -> None:
    made = plan(_silent(30, 40).says(0, state=LauncherState.MEETING).view())
    assert made.status.restarts.by_cause == {Cause.POD_FAILED: 1}
    assert made.status.restarts.counted == 1
    assert (
        "it runs, but has answered neither its kubelet nor the operator for 30 s" in made.status.restarts.last_message
    )
    assert made.status.interruption is not None
    assert made.status.interruption.at == NOW - 40, "nobody has heard of it since"
    assert made.status.incarnation == 2
    assert of(made, DeletePod) == [DeletePod("ner-worker-0001", "pod-1-1", "its end is counted (PodFailed)", 0)]


@pytest.mark.parametrize(
    ("unready", "unanswered", "policy", "again"),
    [
        pytest.param(29, 40, {}, 1, id="not for long enough"),
        pytest.param(40, 29, {}, 1, id="not for long enough, says the operator"),
        pytest.param(40, 40, {"nodeLoss": {"tolerate": "1m"}}, 20, id="the spec tolerates more"),
        pytest.param(None, 40, {}, None, id="its kubelet hears of it"),
        pytest.param(40, None, {}, None, id="the operator hears of it"),
    ],
)
def test_one_witness_is_not_enough_and_both_must_have_waited(
    unready: float | None, unanswered: float | None, policy: dict[str, Any], again: float | None
) -> None:
    made = plan(_silent(unready, unanswered, **policy).view())
    assert made.status.restarts.by_cause == {}
    assert deleted(made) == []
    assert made.requeue_after == again


def test_a_pod_that_has_never_been_ready_is_starting() -> None:
    made = plan(_silent(None, 300).change(1, ready=False).view())
    assert made.status.restarts.by_cause == {}


def test_on_a_node_that_is_away_nobody_is_silent_by_his_own_fault() -> None:
    job = _silent(35, 35).node("node-b", ready=False, not_ready_since=NOW - 20)
    assert plan(job.view()).status.restarts.by_cause == {}
    assert plan(job.view(NOW + 10)).status.restarts.by_cause == {Cause.NODE_LOST: 1}


def test_a_spare_takes_its_place() -> None:
    job = _silent(job=a_job().replicas(2)).spec_workers(spares=1)
    pod = a_pod(2)
    job.pod(pod, a_report(pod, incarnation=0, round_=0, state=LauncherState.WAITING, group_rank=-1))
    made = plan(job.view())
    assert made.status.members == (0, 2)
    assert deleted(made) == ["pod-1-1"]


def test_it_is_counted_once_also_when_it_comes_to_itself_before_it_has_gone() -> None:
    job = _silent()
    first = plan(job.view())
    job.stored(first.status).change(1, ready=True, unready_since=None).fields(unanswered={})
    second = plan(job.view(NOW + 1))
    assert second.status.restarts == first.status.restarts
    assert deleted(second) == ["pod-1-1"]


def test_a_pod_that_leaves_has_its_grace() -> None:
    made = plan(_silent(60, 60).change(1, deletion_at=NOW + 100).view())
    assert made.status.restarts.by_cause == {}
    assert of(made, DeletePod) == []
