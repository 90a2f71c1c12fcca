"""From nothing to running: who asks for what, and in which order."""

from __future__ import annotations

import pytest
from plan_jobs import NAME, NOW, TRAINER, a_job, a_pod, a_report, a_template, of

from dtj_api import names
from dtj_api.names import Condition, LauncherState, Phase, Reason
from dtj_api.status import JobStatus
from dtj_api.wire import Meet
from dtj_operator.observe.view import STORE_INDEX, Children, DryRun
from dtj_operator.plan import (
    CreateClaim,
    CreateKey,
    CreatePolicy,
    CreateService,
    CreateStore,
    CreateWorker,
    DeletePod,
    DeletePolicy,
    DryRunWorker,
    SendMeet,
    plan,
    template_hash,
)


def kinds(made) -> list[type]:
    return [type(action) for action in made.actions]


def test_the_api_server_is_asked_before_anything_is_made_or_written() -> None:
    job = a_job().replicas(3).fields(created=NOW)
    made = plan(job.view())
    assert made.actions == (DryRunWorker(template_hash(job.read_spec())),)
    assert not made.write


def test_a_job_whose_question_is_not_answered_soon_says_so() -> None:
    made = plan(a_job().replicas(3).fields(created=NOW).view(NOW + 3))
    assert kinds(made) == [DryRunWorker]
    assert made.urgent
    assert made.status.phase == Phase.PENDING
    assert made.status.incarnation == 1
    assert made.status.members == (0, 1, 2)
    assert made.status.start_time == made.status.resumed_at == NOW + 3


def test_once_admitted_the_pods_and_what_they_wait_for_are_made_after_the_first_write() -> None:
    made = plan(a_job().replicas(2).admitted().view())
    assert kinds(made) == [CreateKey, CreateStore, CreateWorker, CreateWorker]
    assert [act.name for act in of(made, CreateWorker)] == ["ner-worker-0000", "ner-worker-0001"]
    assert made.status.is_true(Condition.ADMITTED)
    assert made.write
    assert made.requeue_after is None


def test_service_and_policy_follow_the_pods() -> None:
    made = plan(a_job().replicas(2).up().fields(children=Children(key=True)).view())
    assert kinds(made) == [CreateService, CreatePolicy]


def test_a_start_that_was_cut_off_before_its_status_was_stored_is_taken_up() -> None:
    made = plan(a_job().replicas(3).admitted().pod(a_pod(0)).pod(a_pod(2)).view())
    assert made.status.incarnation == 1
    assert [act.name for act in of(made, CreateWorker)] == ["ner-worker-0001"]
    assert not of(made, DeletePod)


def test_nobody_meets_before_service_and_policy_are_there() -> None:
    there = a_job().replicas(2).up()
    for index in range(2):
        there.pod(a_pod(index), a_report(a_pod(index), incarnation=0, round_=0, state=LauncherState.WAITING))
    assert of(plan(there.view()), SendMeet)
    for missing in (Children(key=True, policy=True), Children(key=True, service=True)):
        assert not of(plan(there.fields(children=missing).view()), SendMeet)


def test_a_refused_pod_is_a_condition_and_no_loop() -> None:
    job = a_job().replicas(2)
    answer = DryRun(template_hash(job.read_spec()), "spec.containers[0].image: Required value", at=NOW - 10)
    made = plan(job.fields(dry_run=answer).view())
    assert made.actions == ()
    assert made.requeue_after == 50
    admitted = made.status.condition(Condition.ADMITTED)
    assert admitted is not None
    assert (admitted.status, admitted.reason) == ("False", Reason.DRY_RUN_REFUSED)
    assert "spec.containers[0].image: Required value" in admitted.message
    assert [event.reason for event in made.events] == [Reason.DRY_RUN_REFUSED]
    again = plan(job.stored(made.status).view(NOW + 20))
    assert again.events == ()
    assert kinds(plan(job.stored(made.status).view(NOW + 60))) == [DryRunWorker]


@pytest.mark.parametrize(
    ("parallel", "replicas", "least", "wrong"),
    [
        ({"dataShard": 2}, 4, None, ""),
        ({"dataShard": 2}, 4, 3, "does not make the 3 ranks of 3 workers"),
        ({"dataShard": 2, "dataReplicate": 2}, 4, None, ""),
        ({"dataShard": 2, "dataReplicate": 2}, 3, None, "does not make the 3 ranks of 3 workers"),
        ({"dataShard": -1}, 4, 1, ""),
        ({"tensor": 2}, 4, None, ""),
        ({"tensor": 2}, 4, 3, "x tensor 2 does not make the 3 ranks of 3 workers"),
        ({"tensor": 2, "dataShard": 2}, 2, None, "x tensor 2 does not make the 2 ranks of 2 workers"),
        ({"tensor": 2, "dataShard": -1, "dataReplicate": 2}, 8, None, ""),
        ({}, 4, 1, ""),
    ],
)
def test_a_layout_must_fit_every_size_that_the_job_may_come_to_by_itself(
    parallel: dict, replicas: int, least: int | None, wrong: str
) -> None:
    job = a_job().replicas(replicas, least=least).built_in().spec(trainer={**TRAINER, "parallel": parallel})
    made = plan(job.view())
    admitted = made.status.condition(Condition.ADMITTED)
    if not wrong:
        assert kinds(made) == [DryRunWorker]
        return
    assert admitted is not None
    assert (admitted.status, admitted.reason) == ("False", Reason.INVALID_SPEC)
    assert "spec.trainer.parallel: dataShard" in admitted.message
    assert wrong in admitted.message
    assert made.actions == ()


def test_an_answer_about_another_template_does_not_count() -> None:
    made = plan(a_job().fields(dry_run=DryRun("older", at=NOW)).view())
    assert kinds(made) == [DryRunWorker]


def test_a_claim_is_made_from_its_template_only() -> None:
    volume = {"template": {"spec": {"accessModes": ["ReadWriteMany"]}}}
    made = plan(a_job().spec(checkpoint={"volume": volume}).admitted().view())
    assert made.actions[0] == CreateClaim("ner-checkpoint")
    named = a_job().spec(checkpoint={"volume": {"claimName": "data"}}).admitted()
    assert CreateClaim not in kinds(plan(named.view()))


def test_an_open_network_gets_no_policy() -> None:
    made = plan(a_job().spec(network={"policy": "Open"}).admitted().view())
    assert CreatePolicy not in kinds(made)


def test_a_network_that_is_open_now_loses_the_policy_that_the_job_had() -> None:
    there = Children(service=True, key=True, policy=True, policy_uid="policy-1")
    job = a_job().replicas(2).running().fields(children=there)
    assert plan(job.view()).actions == ()
    (action,) = plan(job.spec(network={"policy": "Open"}).view()).actions
    assert action == DeletePolicy("ner-workers", "policy-1", "network.policy is Open")


def test_a_child_that_somebody_deleted_is_made_again() -> None:
    made = plan(a_job().replicas(2).running().fields(children=Children(service=False, key=True, policy=True)).view())
    assert made.actions == (CreateService(names.service_name(NAME)),)


def test_only_missing_workers_are_made() -> None:
    made = plan(a_job().replicas(3).up().without(1).status(pods=()).view())
    assert made.actions == (CreateWorker("ner-worker-0001", 1, 1),)


def test_a_pod_of_ours_under_another_name_is_no_worker() -> None:
    job = a_job().replicas(1).up().without(0).status(pods=())
    made = plan(job.pod(a_pod(0, uid="stray", name="ner-worker-0000-copy")).view())
    assert made.actions == (CreateWorker("ner-worker-0000", 0, 1),)


def _waiting(job, *indices: int):
    for index in indices:
        pod = a_pod(index)
        job.pod(pod, a_report(pod, incarnation=0, round_=0, state=LauncherState.WAITING, group_rank=-1))
    return job


def test_all_meet_once_the_store_is_ready_and_everybody_answers() -> None:
    made = plan(_waiting(a_job().replicas(2).up(), 0, 1).view())
    message = Meet(1, 2, 2, "10.0.0.0:29400")
    assert made.actions == tuple(SendMeet(a_pod(i).name, a_pod(i).uid, a_pod(i).ip, message) for i in (0, 1))
    assert made.status.store.address == message.store
    assert made.urgent


def test_nobody_meets_too_early() -> None:
    job = _waiting(a_job().replicas(2).up(), 0, 1)
    assert plan(job.change(STORE_INDEX, ready=False).view()).actions == ()
    job.change(STORE_INDEX, ready=True).not_up(1)
    made = plan(job.view())
    assert made.actions == ()
    assert made.status.store.address == ""


def test_who_is_there_already_is_not_told_again() -> None:
    job = a_job().replicas(2).running().says(1, incarnation=0, round=0, state=LauncherState.WAITING)
    assert [act.pod for act in of(plan(job.view()), SendMeet)] == ["ner-worker-0001"]


def test_a_taken_name_is_said_and_left_alone() -> None:
    job = a_job().replicas(2).admitted().fields(foreign=("Pod/ner-worker-0001",))
    made = plan(job.view())
    assert made.actions == ()
    progressing = made.status.condition(Condition.PROGRESSING)
    assert progressing is not None
    assert (progressing.status, progressing.reason) == ("False", Reason.NAME_TAKEN)
    assert "Pod/ner-worker-0001" in progressing.message
    assert made.requeue_after == 10
    other = a_job().replicas(1).admitted().fields(foreign=("Pod/ner-worker-0001",))
    assert CreateWorker in kinds(plan(other.view()))


def test_a_job_of_another_controller_is_not_touched() -> None:
    job = a_job().spec(managedBy="kueue.x-k8s.io/multikueue").admitted()
    made = plan(job.view())
    assert (made.status, made.write, made.actions, made.events) == (JobStatus(), False, (), ())


def test_a_job_that_is_being_deleted_is_left_to_the_garbage_collector() -> None:
    made = plan(a_job().replicas(2).up().fields(deleting=True).view())
    assert (made.write, made.actions) == (False, ())


def test_an_unreadable_spec_is_said_once_and_nothing_is_touched() -> None:
    job = a_job().replicas(2).running().fields(spec=None, spec_error="spec.workers: required, but missing")
    made = plan(job.view())
    assert made.actions == ()
    admitted = made.status.condition(Condition.ADMITTED)
    assert admitted is not None
    assert (admitted.status, admitted.reason) == ("False", Reason.INVALID_SPEC)
    assert made.status.phase == Phase.RUNNING
    again = plan(job.stored(made.status).view(NOW + 100))
    assert (again.write, again.events) == (False, ())


def test_of_a_job_that_runs_and_cannot_be_read_any_more_nothing_is_claimed_that_nobody_looks_at() -> None:
    job = a_job().replicas(2).running()
    spec, status = job.view().spec, plan(job.view()).status
    assert status.is_true(Condition.READY)
    edited = job.stored(status).fields(spec=None, spec_error="spec: 131073 bytes of JSON, more than the 131072")
    made = plan(edited.view(NOW + 5))
    assert made.actions == ()
    ready, progressing = (made.status.condition(kind) for kind in (Condition.READY, Condition.PROGRESSING))
    assert ready is not None
    assert progressing is not None
    assert (ready.status, ready.reason, ready.last_transition_time) == ("Unknown", Reason.INVALID_SPEC, NOW + 5)
    assert (progressing.status, progressing.reason) == ("Unknown", Reason.INVALID_SPEC)
    assert "nobody looks after the job" in ready.message
    assert not plan(edited.stored(made.status).view(NOW + 100)).write
    mended = plan(edited.fields(spec=spec, spec_error="").view(NOW + 200)).status
    assert mended.is_true(Condition.READY)
    assert mended.is_true(Condition.ADMITTED)


def test_what_the_api_server_refuses_is_said_in_its_words_and_tried_again() -> None:
    refused = {"Pod/ner-worker-0001": "exceeded quota: small, requested: pods=1, used: pods=2, limited: pods=2"}
    job = a_job().replicas(2).up().without(1).status(pods=()).fields(refused=refused)
    made = plan(job.view())
    progressing = made.status.condition(Condition.PROGRESSING)
    assert progressing is not None
    assert (progressing.status, progressing.reason) == ("False", Reason.CREATE_REFUSED)
    assert "Pod/ner-worker-0001: exceeded quota: small" in progressing.message
    assert [event.reason for event in made.events if event.type == "Warning"] == [Reason.CREATE_REFUSED]
    assert of(made, CreateWorker), "the quota may have been raised"
    again = plan(job.stored(made.status).view(NOW + 1))
    assert [event for event in again.events if event.type == "Warning"] == []


def test_a_refusal_of_what_is_not_wanted_any_more_means_nothing() -> None:
    made = plan(a_job().replicas(1).up().fields(refused={"Pod/ner-worker-0001": "exceeded quota"}).view())
    progressing = made.status.condition(Condition.PROGRESSING)
    assert progressing is not None
    assert progressing.reason != Reason.CREATE_REFUSED


def test_a_changed_template_waits_for_the_next_resume() -> None:
    job = a_job().replicas(2).running()
    job.template(a_template(nodeSelector={"disk": "fast"}))
    made = plan(job.view())
    assert made.actions == ()
    assert made.status.is_true(Condition.TEMPLATE_CHANGED)
    back = plan(job.stored(made.status).template(a_template()).view())
    assert not back.status.is_true(Condition.TEMPLATE_CHANGED)


def test_the_hash_of_a_template_is_about_its_content() -> None:
    first = a_job().template(a_template(hostNetwork=False, nodeSelector={"a": "1", "b": "2"}))
    second = a_job().template(a_template(nodeSelector={"b": "2", "a": "1"}, hostNetwork=False)).replicas(7)
    assert template_hash(first.read_spec()) == template_hash(second.read_spec())
    assert template_hash(first.read_spec()) != template_hash(a_job().read_spec())
