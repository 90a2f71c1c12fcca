"""A pod is lost: under which cause, charged to whom, and what follows."""

from __future__ import annotations

from typing import Any

import pytest
from plan_jobs import NOT_UP, NOW, a_job, a_pod, a_report, a_spec, failed, of
from plan_world import World

from dtj_api.names import Cause, LauncherState, Phase, Reason
from dtj_api.wire import Meet, Release
from dtj_operator.observe.view import STORE_INDEX, PodView, Terminated
from dtj_operator.plan import CreateStore, CreateWorker, DeletePod, SendMeet, SendRelease, plan
from dtj_operator.plan.count.restarts import RECENT

CAUSES: list[tuple[str, dict[str, Any], Cause]] = [
    ("exit 1", {"code": 1}, Cause.POD_FAILED),
    ("exit 143 though nobody deletes it", {"code": 143}, Cause.DRAINED),
    ("memory limit", {"code": 137, "oom": True}, Cause.OUT_OF_MEMORY),
    ("memory limit for one of its processes, and a drain later", {"code": 143, "oom": True}, Cause.DRAINED),
    ("kubectl delete", {"code": 143, "deletion_at": NOW + 100}, Cause.POD_DELETED),
    ("drain", {"code": 143, "deletion_at": NOW + 100, "disruption": "EvictionByEvictionAPI"}, Cause.POD_EVICTED),
    ("preemption", {"code": 143, "disruption": "PreemptionByScheduler"}, Cause.POD_EVICTED),
    ("node pressure", {"code": 137, "reason": "Evicted", "disruption": "TerminationByKubelet"}, Cause.POD_EVICTED),
    ("memory limit during an eviction", {"code": 137, "oom": True, "reason": "Evicted"}, Cause.POD_EVICTED),
    ("taint manager", {"code": 143, "disruption": "DeletionByTaintManager"}, Cause.NODE_LOST),
    ("garbage collector of pods", {"code": 137, "disruption": "DeletionByPodGC"}, Cause.NODE_LOST),
]


@pytest.mark.parametrize(("ended", "cause"), [each[1:] for each in CAUSES], ids=[each[0] for each in CAUSES])
def test_the_cause_of_an_end(ended: dict[str, Any], cause: Cause) -> None:
    made = plan(a_job().replicas(2).running().end(1, **ended).view())
    charged = cause in (Cause.POD_FAILED, Cause.OUT_OF_MEMORY)
    restarts = made.status.restarts
    assert restarts.by_cause == {cause: 1}
    assert (restarts.counted, restarts.excused) == ((1, 0) if charged else (0, 1))
    assert len(restarts.recent) == restarts.counted
    assert made.status.incarnation == 2
    assert made.status.counted_pods == ("pod-1-1",)
    assert made.status.phase == Phase.RECOVERING
    assert made.urgent


@pytest.mark.parametrize("reason", ["UnexpectedAdmissionError", "OutOfcpu", "NodeAffinity", "NodeShutdown"])
def test_a_pod_that_the_kubelet_refuses_is_excused_and_made_anew_after_a_pause(reason: str) -> None:
    job = a_job().replicas(2).up().change(1, phase="Failed", reason=reason, ip="", ready=False)
    made = plan(job.view())
    assert made.status.restarts.by_cause == {Cause.POD_EVICTED: 1}
    assert made.status.create_after == NOW + 5
    later = job.without(1).stored(made.status)
    assert CreateWorker not in map(type, plan(later.view(NOW + 1)).actions)
    assert plan(later.view(NOW + 5)).actions == (CreateWorker("ner-worker-0001", 1, 1),)


def test_a_drained_pod_is_not_said_to_have_been_killed_though_a_process_of_it_was() -> None:
    made = plan(a_job().replicas(2).running().end(1, 143, oom=True).view())
    (lost,) = (event.message for event in made.events if event.reason == Reason.WORKER_LOST)
    assert "memory" not in lost
    assert "exited 143" in lost


def test_a_dead_pod_is_replaced_only_when_its_object_is_gone() -> None:
    job = a_job().replicas(2).running().end(1, 143, disruption="EvictionByEvictionAPI")
    made = plan(job.view())
    assert [(type(act), act.uid) for act in of(made, DeletePod)] == [(DeletePod, "pod-1-1")]
    assert CreateWorker not in map(type, made.actions)
    second = plan(job.stored(made.status).without(1).view())
    assert CreateWorker("ner-worker-0001", 1, 2) in second.actions
    assert second.status.restarts == made.status.restarts


def test_a_pod_that_leaves_is_waited_for() -> None:
    """Its launcher saves; until it has ended nothing is counted, and nobody deletes it a second time."""
    job = a_job().replicas(2).running().change(1, deletion_at=NOW + 100, disruption="EvictionByEvictionAPI")
    made = plan(job.view())
    assert made.actions == ()
    assert made.status.incarnation == 1
    assert made.status.restarts.by_cause == {}


def test_a_pod_that_vanished_unseen_is_gone_and_replaced_at_once() -> None:
    made = plan(a_job().replicas(2).running().without(1).view())
    assert made.status.restarts.by_cause == {Cause.GONE: 1}
    assert CreateWorker("ner-worker-0001", 1, 2) in made.actions


def test_another_pod_under_the_same_name_is_a_loss_of_the_first() -> None:
    stranger = a_pod(1, uid="pod-1-new", incarnation=1)
    made = plan(a_job().replicas(2).running().pod(stranger).view())
    assert made.status.restarts.by_cause == {Cause.GONE: 1}
    assert {each.uid for each in made.status.pods} == {"pod-0-1", "pod-1-new"}


def test_survivors_are_released_at_once_and_meet_when_the_replacement_answers() -> None:
    job = a_job().replicas(2).running().without(1)
    first = plan(job.view())
    assert SendRelease("ner-worker-0000", "pod-0-1", "10.0.1.0", Release(1, 1)) in first.actions
    job.stored(first.status).pod(a_pod(1, incarnation=2, **NOT_UP))
    assert SendMeet not in map(type, plan(job.view()).actions)
    new = a_pod(1, incarnation=2)
    job.pod(new, a_report(new, incarnation=0, round_=0, state=LauncherState.WAITING))
    made = plan(job.view())
    expected = Meet(2, 2, 2, "10.0.0.0:29400")
    assert [(act.uid, act.message) for act in of(made, SendMeet)] == [("pod-0-1", expected), ("pod-1-2", expected)]


def test_pods_that_end_together_are_one_charge_and_one_incarnation() -> None:
    job = a_job().replicas(3).running().end(0, 1, at=NOW - 3).end(2, 1, at=NOW - 2)
    made = plan(job.view())
    assert made.status.incarnation == 2
    assert (made.status.restarts.counted, made.status.restarts.excused) == (1, 1)
    assert made.status.restarts.by_cause == {Cause.POD_FAILED: 2}


def test_a_peer_that_follows_before_the_next_meeting_is_a_consequence() -> None:
    job = a_job().replicas(3).running().end(0, 1, at=NOW - 3)
    first = plan(job.view())
    second = plan(job.stored(first.status).end(1, 1).view())
    assert second.status.incarnation == 2
    assert (second.status.restarts.counted, second.status.restarts.excused) == (1, 1)


def test_a_replacement_that_fails_is_charged_again() -> None:
    job = a_job().replicas(2).running().end(1, 1)
    first = plan(job.view())
    job.stored(first.status).pod(failed(a_pod(1, uid="second", incarnation=2), 1))
    second = plan(job.view())
    assert second.status.restarts.counted == 2
    assert second.status.incarnation == 2  # Nobody was told of it yet, so it is still fresh.


def test_what_ends_before_the_first_meeting_costs_no_incarnation() -> None:
    made = plan(a_job().replicas(2).up().end(1, 1).view())
    assert made.status.incarnation == 1
    assert made.status.restarts.counted == 1


@pytest.mark.parametrize(
    ("change", "counted"),
    [
        ({"phase": "Failed"}, True),
        ({"phase": "Succeeded"}, True),
        ({"phase": "Failed", "deletion_at": NOW + 3}, True),
        ({"deletion_at": NOW + 119}, False),
        ({"ready": False}, False),
    ],
)
def test_the_store(change: dict[str, Any], counted: bool) -> None:
    made = plan(a_job().replicas(2).running().change(STORE_INDEX, **change).view())
    assert made.status.restarts.by_cause == ({Cause.STORE_LOST: 1} if counted else {})
    assert made.status.restarts.counted == 0
    assert made.status.incarnation == (2 if counted else 1)
    assert all(act.name == "ner-store" for act in made.actions if isinstance(act, DeletePod | CreateStore))


def test_a_new_store_has_a_new_incarnation_and_the_old_workers() -> None:
    job = a_job().replicas(2).running().without(STORE_INDEX)
    first = plan(job.view())
    assert CreateStore("ner-store", 2) in first.actions
    assert CreateWorker not in map(type, first.actions)
    job.stored(first.status).pod(a_pod(STORE_INDEX, incarnation=2, ip="10.9.9.9"))
    sent = of(plan(job.view()), SendMeet)
    assert [act.message for act in sent] == [Meet(2, 2, 2, "10.9.9.9:29400")] * 2


def test_a_node_that_is_away_is_given_its_time() -> None:
    job = a_job().replicas(2).running().node("node-b", ready=False, not_ready_since=NOW - 20)
    made = plan(job.view())
    assert made.actions == ()
    assert made.requeue_after == 10
    lost = plan(job.view(NOW + 10))
    assert lost.status.restarts.by_cause == {Cause.NODE_LOST: 1}
    forced = of(lost, DeletePod)
    assert [(act.uid, act.grace) for act in forced] == [("pod-1-1", 0)]


def test_a_pod_that_is_stuck_on_a_lost_node_is_forced_away_whatever_its_grace() -> None:
    job = a_job().replicas(2).running().node("node-b", ready=False, not_ready_since=NOW - 31)
    made = plan(job.change(1, deletion_at=NOW + 500).view())
    assert [(act.uid, act.grace) for act in of(made, DeletePod)] == [("pod-1-1", 0)]


@pytest.mark.parametrize(("since", "grace"), [(-100, None), (0, None), (29, None), (30, 0), (3600, 0)])
def test_a_deleted_pod_that_does_not_go_from_a_ready_node_is_forced_away(since: int, grace: int | None) -> None:
    """Its process waits in the kernel, say: the object would hold its name for ever."""
    made = plan(a_job().replicas(2).running().node("node-b").change(1, deletion_at=NOW - since).view())
    assert [act.grace for act in of(made, DeletePod)] == ([] if grace is None else [grace])
    if grace is None:
        assert made.requeue_after is not None
        assert made.requeue_after <= 30 - since


@pytest.mark.parametrize(
    ("code", "reason"), [(64, Reason.USER_ERROR), (65, Reason.VOLUME_NOT_SHARED)], ids=["command", "volume"]
)
def test_an_exit_code_after_which_no_restart_helps(code: int, reason: Reason) -> None:
    made = plan(a_job().replicas(2).running().end(1, code, "no file 'trian.py'").view())
    assert made.status.phase == Phase.FAILED
    found = made.status.condition("Failed")
    assert found is not None
    assert found.reason == reason
    assert "no file 'trian.py'" in found.message


@pytest.mark.parametrize(
    ("failures", "seconds"), [(1, 1), (2, 2), (3, 4), (6, 30)], ids=["first", "second", "third", "at most max"]
)
def test_the_pause_doubles_with_each_failure_in_the_window(failures: int, seconds: int) -> None:
    policy = {"maxRestarts": 50, "backoff": {"initial": "1s", "max": "30s"}}
    job = a_job().replicas(2).spec(failurePolicy=policy).running()
    recent = tuple(NOW - 60 + i for i in range(failures - 1))
    job.status(restarts=job.view().status.restarts.model_copy(update={"recent": recent}))
    made = plan(job.end(1, 1).view())
    assert made.status.create_after == NOW + seconds


def test_the_message_has_the_end_of_the_log() -> None:
    trace = 'Traceback (most recent call last):\n  File "train.py", line 3\nValueError: boom'
    made = plan(a_job().replicas(2).spec(failurePolicy={"maxRestarts": 0}).running().end(1, 1, trace).view())
    found = made.status.condition("Failed")
    assert found is not None
    assert found.reason == Reason.BUDGET_SPENT
    assert "ValueError: boom" in found.message
    assert "maxRestarts allows 0" in found.message


def _init_failed(code: int = 42) -> PodView:
    ended = Terminated(code, message="no such bucket: corpora\n", finished_at=NOW - 1)
    return a_pod(1, **{**NOT_UP, "phase": "Failed"}, init="fetch-data", init_ended=ended)


def test_an_init_container_that_fails_is_named_with_its_exit_code_and_its_words() -> None:
    job = a_job().replicas(2).spec(failurePolicy={"maxRestarts": 0}).up()
    made = plan(job.pod(_init_failed()).view())
    assert made.status.restarts.by_cause == {Cause.POD_FAILED: 1}
    found = made.status.condition("Failed")
    assert found is not None
    assert "ner-worker-0001" in found.message
    assert "its init container fetch-data exited 42: no such bucket: corpora" in found.message


def test_rules_speak_of_an_init_container_by_its_exit_code_and_its_words() -> None:
    for matches in ({"onExitCodes": [42]}, {"onMessage": "*no such bucket*"}):
        policy = {"rules": [{"action": "Fail", **matches}]}
        made = plan(a_job().replicas(2).spec(failurePolicy=policy).up().pod(_init_failed()).view())
        found = made.status.condition("Failed")
        assert found is not None
        assert found.reason == Reason.FAILURE_RULE
        assert "fetch-data exited 42" in found.message


@pytest.mark.parametrize("code", [64, 65, 143])
def test_what_an_init_container_means_by_its_exit_codes_is_its_own_affair(code: int) -> None:
    made = plan(a_job().replicas(2).up().pod(_init_failed(code)).view())
    assert made.status.restarts.by_cause == {Cause.POD_FAILED: 1}
    assert made.status.phase != Phase.FAILED


def test_an_init_container_that_always_fails_spends_the_budget_once_a_pod_with_pauses() -> None:
    policy = {"maxRestarts": 1, "backoff": {"initial": "10s", "max": "20s"}}
    world = World(a_spec(failurePolicy=policy))
    world.init_fails = 42
    world.run()
    assert world.status.phase == Phase.FAILED
    assert (world.status.restarts.counted, world.status.restarts.excused) == (2, 0)
    assert len(world.created) == 2
    assert world.now >= 1_800_000_000.0 + 10


@pytest.mark.parametrize(("before", "ends"), [(5000, False), (5001, True)])
def test_a_huge_budget_is_counted_without_a_time_for_each_restart(before, ends):
    """A hundred thousand times in the status are more than the API server stores: nothing more could be written."""
    job = a_job().running().spec(failurePolicy={"maxRestarts": 5000, "window": "999999h"})
    recent = tuple(NOW - 5000 + i for i in range(RECENT))
    job.status(restarts=job.view().status.restarts.model_copy(update={"counted": before - 1, "recent": recent}))
    made = plan(job.end(0).view())
    assert made.status.restarts.counted == before
    assert len(made.status.restarts.recent) == RECENT
    assert made.status.restarts.recent[-1] == NOW
    assert (made.status.phase == Phase.FAILED) is ends
