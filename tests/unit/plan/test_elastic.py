"""More or fewer workers: save first, newcomers stand ready before anybody is disturbed."""

from __future__ import annotations

import pytest
from plan_jobs import NOW, a_job, a_pod, a_report, deleted, of

from dtj_api.names import Cause, Condition, LauncherState, Phase, Reason
from dtj_api.scalars import Timestamp
from dtj_api.status import SaveRequest
from dtj_api.wire import Meet, Save, Stop
from dtj_operator.observe.view import STORE_INDEX
from dtj_operator.plan import CreateWorker, SendMeet, SendRelease, SendSave, SendStop, plan
from dtj_operator.plan.need.elastic import SAVE_PATIENCE

CHECKPOINT = {"volume": {"claimName": "data"}}


def _scaled(before: int, after: int, *, least: int = 1):
    return a_job().spec(checkpoint=CHECKPOINT).replicas(before, least=least).running().replicas(after, least=least)


def _newcomer(job, index: int, **fields):
    pod = a_pod(index, **fields)
    return job.pod(pod, a_report(pod, incarnation=0, round_=0, state=LauncherState.WAITING, group_rank=-1))


def test_scaling_up_makes_pods_and_disturbs_nobody() -> None:
    made = plan(_scaled(2, 3).view())
    assert made.actions == (CreateWorker("ner-worker-0002", 2, 1),)
    assert made.status.members == (0, 1)
    assert made.status.phase == Phase.RUNNING
    ready = made.status.condition(Condition.READY)
    assert ready is not None
    assert (ready.status, ready.reason) == ("False", Reason.FEWER_WORKERS)


def test_once_the_newcomer_stands_ready_all_save_first() -> None:
    job = _newcomer(_scaled(2, 3), 2)
    made = plan(job.view())
    save = made.status.save
    assert save is not None
    assert [(act.uid, act.message) for act in of(made, SendSave)] == [(f"pod-{i}-1", Save(1, save.id)) for i in (0, 1)]
    assert made.status.phase == Phase.RESIZING
    assert made.status.incarnation == 1
    assert made.urgent
    job.stored(made.status).says(0, last_save=save.id)
    second = plan(job.view(NOW + 3))
    assert second.status.incarnation == 2
    assert second.status.members == (0, 1, 2)
    assert second.status.save is None
    assert second.status.phase == Phase.RESIZING
    assert second.status.restarts.by_cause == {Cause.RESIZE: 1}
    assert second.status.restarts.counted == 0
    assert [act.message for act in of(second, SendMeet)] == [Meet(2, 3, 3, "10.0.0.0:29400")] * 3


def test_a_save_that_does_not_come_is_not_waited_for_for_ever() -> None:
    job = _newcomer(_scaled(2, 3), 2).status(save=SaveRequest(id="resize-1-1", requested_at=Timestamp(NOW - 119)))
    assert plan(job.view()).status.incarnation == 1
    assert plan(job.view(NOW + 1)).status.incarnation == 2


def test_a_script_that_cannot_save_is_not_asked() -> None:
    silent = _newcomer(_scaled(2, 3), 2).says(0, reports=False).says(1, reports=False)
    assert plan(silent.view()).status.incarnation == 2
    without_volume = a_job().replicas(3, least=1).running().replicas(2, least=1)
    assert plan(without_volume.view()).status.incarnation == 2


def test_scaling_down_saves_then_lets_the_last_ones_go() -> None:
    job = _scaled(3, 2)
    first = plan(job.view())
    assert [type(act) for act in first.actions] == [SendSave] * 3
    save = first.status.save
    assert save is not None
    job.stored(first.status).says(1, last_save=save.id)
    second = plan(job.view())
    assert second.status.members == (0, 1)
    assert deleted(second) == []
    assert [(act.uid, act.message) for act in of(second, SendStop)] == [("pod-2-1", Stop(1, save=False))]
    assert [act.uid for act in of(second, SendMeet)] == ["pod-0-1", "pod-1-1"]
    assert deleted(plan(job.stored(second.status).view(NOW + 10))) == ["pod-2-1"]
    assert deleted(plan(job.end(2, 143).view())) == ["pod-2-1"]
    third = plan(job.without(2).view())
    assert third.status.restarts == second.status.restarts


def test_a_worker_that_was_scaled_away_and_is_wanted_again_is_another_pod() -> None:
    job = _scaled(3, 2).status(save=SaveRequest(id="x", requested_at=Timestamp(NOW - 10))).says(0, last_save="x")
    small = plan(job.view())
    assert small.status.members == (0, 1)
    job.stored(small.status).replicas(3, least=1)
    leaving = plan(job.view())
    assert deleted(leaving) == ["pod-2-1"]
    gone = plan(job.stored(leaving.status).end(2, 143, deletion_at=NOW + 9).view())
    assert gone.status.restarts == small.status.restarts
    assert gone.status.incarnation == 2
    assert CreateWorker("ner-worker-0002", 2, 2) in plan(job.stored(gone.status).without(2).view()).actions


def test_a_change_of_mind_costs_nothing() -> None:
    job = _newcomer(_scaled(2, 3), 2)
    made = plan(job.view())
    back = plan(job.stored(made.status).replicas(2, least=1).view())
    assert back.status.save is None
    assert back.status.incarnation == 1
    assert back.status.restarts.by_cause == {}
    assert back.status.phase == Phase.RUNNING
    assert deleted(back) == ["pod-2-1"]


def test_newcomers_wait_for_each_other_but_not_for_ever() -> None:
    job = _newcomer(_scaled(2, 4), 2, created=NOW - 30)
    assert plan(job.view()).status.save is None
    late = plan(job.view(NOW + 30))
    assert late.status.save is not None


def test_a_loss_takes_those_who_stand_ready_along_and_nobody_else() -> None:
    job = _newcomer(_scaled(2, 4), 3).end(1, 143, disruption="EvictionByEvictionAPI")
    assert plan(job.view()).status.members == (0, 1, 3)


def test_fewer_are_wanted_while_nobody_trains() -> None:
    job = a_job().replicas(3, least=1).up().not_up(2, ip="", node="").replicas(2, least=1)
    made = plan(job.view())
    assert made.status.members == (0, 1)
    assert deleted(made) == ["pod-2-1"]
    assert made.status.restarts.by_cause == {}


def _short_of_one(least: int, *, phase: Phase, age: float):
    job = a_job().replicas(3, least=least).spec(schedule={"startTimeout": "2m"}).up()
    job.not_up(2, ip="", node="", unschedulable="0/2 nodes are available")
    return job.status(phase=phase, resumed_at=NOW - age, incarnation_at=NOW - age)


@pytest.mark.parametrize(
    ("least", "phase", "age", "members", "result"),
    [
        (2, Phase.PENDING, 119, (0, 1, 2), Phase.PENDING),
        (2, Phase.PENDING, 120, (0, 1), Phase.STARTING),
        (3, Phase.PENDING, 119, (0, 1, 2), Phase.PENDING),
        (3, Phase.PENDING, 120, (0, 1, 2), Phase.FAILED),
        (2, Phase.RECOVERING, 29, (0, 1, 2), Phase.RECOVERING),
        (2, Phase.RECOVERING, 30, (0, 1), Phase.RECOVERING),
        (3, Phase.RECOVERING, 500, (0, 1, 2), Phase.RECOVERING),
    ],
)
def test_start_timeout(least: int, phase: Phase, age: float, members: tuple[int, ...], result: Phase) -> None:
    made = plan(_short_of_one(least, phase=phase, age=age).view())
    assert made.status.members == members
    assert made.status.phase == result
    assert made.status.min_members == (least if len(members) == 2 else 3)
    assert made.status.restarts.by_cause == {}
    if result == Phase.FAILED:
        found = made.status.condition(Condition.FAILED)
        assert found is not None
        assert found.reason == Reason.START_TIMEOUT


def test_an_elastic_job_that_lost_a_worker_needs_no_start_timeout_to_go_on_with_fewer() -> None:
    job = _short_of_one(2, phase=Phase.RECOVERING, age=30).spec(schedule={})
    assert plan(job.view(NOW - 1)).status.members == (0, 1, 2)
    assert plan(job.view()).status.members == (0, 1)


def test_who_goes_on_with_fewer_meets_with_fewer() -> None:
    job = _short_of_one(1, phase=Phase.PENDING, age=120)
    for index in (0, 1):
        _newcomer(job, index)
    messages = [act.message for act in of(plan(job.view()), SendMeet)]
    assert messages == [Meet(2, 1, 2, "10.0.0.0:29400")] * 2


def test_without_a_start_timeout_a_job_waits_and_says_why() -> None:
    job = a_job().replicas(2, least=1).up().not_up(1, ip="", node="", unschedulable="no gpu")
    made = plan(job.status(resumed_at=NOW - 1e6, incarnation_at=NOW - 1e6).view())
    assert made.status.members == (0, 1)
    progressing = made.status.condition(Condition.PROGRESSING)
    assert progressing is not None
    assert (progressing.reason, progressing.message) == (Reason.UNSCHEDULABLE, "pod ner-worker-0001: no gpu")


def test_a_job_that_started_with_fewer_takes_the_late_one_in() -> None:
    job = _newcomer(_scaled(2, 3, least=2), 2).status(min_members=2)
    made = plan(job.spec(schedule={"startTimeout": "2m"}).view())
    assert made.status.save is not None


def test_nothing_is_resized_once_a_member_is_through() -> None:
    job = _scaled(3, 2).says(0, state=LauncherState.DONE)
    made = plan(job.view())
    assert made.status.members == (0, 1, 2)
    assert made.status.save is None


def test_an_edit_in_the_middle_of_a_recovery_is_one_meeting_of_the_new_size() -> None:
    job = a_job().replicas(3, least=1).running()
    lost = plan(job.without(1).view())
    assert (lost.status.incarnation, lost.status.members) == (2, (0, 1, 2))

    edited = plan(job.stored(lost.status).replicas(2, least=1).fields(generation=2).view(NOW + 1))

    assert edited.status.observed_generation == 2
    assert edited.status.members == (0, 1), "who trains is always the first of the wanted"
    assert edited.status.restarts.by_cause == lost.status.restarts.by_cause == {Cause.GONE: 1}, "it is one recovery"
    assert edited.status.interruption == lost.status.interruption
    assert [act.incarnation for act in of(edited, CreateWorker)] == [edited.status.incarnation]
    assert [act.uid for act in of(edited, SendStop)] == ["pod-2-1"]
    assert of(edited, SendMeet) == [], "nobody meets before the new size is complete"


def test_a_resize_that_comes_again_is_saved_for_again() -> None:
    job = _newcomer(_scaled(2, 3), 2)
    first = plan(job.view()).status.save
    assert first is not None
    gave_up = plan(job.without(2).says(0, last_save=first.id).view(NOW + 1))
    assert gave_up.status.save is None

    again = plan(_newcomer(job, 2).stored(gave_up.status).view(NOW + 3600))

    assert again.status.save is not None
    assert again.status.save.id != first.id
    assert again.status.incarnation == 1, "nobody meets before it is made"


@pytest.mark.parametrize("first", ["the store is lost", "the size is changed"])
def test_a_job_whose_ranks_train_on_without_a_store_is_made_smaller_after_the_next_meeting(first: str) -> None:
    """All of them save before they move, or nobody can; the save that a smaller job needs is asked for there."""
    job = a_job().spec(checkpoint=CHECKPOINT).replicas(3).running().status(trained=1)
    for index in range(3):
        job.says(index, world_size=3)
    if first == "the size is changed":
        job.replicas(2)
        job.stored(plan(job.view()).status)
    job.stored(plan(job.end(STORE_INDEX, 137).view()).status).replicas(2)
    waits = plan(job.view())
    assert waits.status.members == (0, 1, 2)
    assert (of(waits, SendStop), of(waits, SendRelease), waits.status.incarnation) == ([], [], 2)
    assert "pod-2-1" not in deleted(waits)

    job.stored(waits.status).pod(a_pod(STORE_INDEX, incarnation=2))
    told = plan(job.view())
    assert [act.message for act in of(told, SendMeet)] == [Meet(2, 3, 3, "10.0.0.0:29400")] * 3
    job.stored(told.status)
    for index in range(3):
        job.says(index, state=LauncherState.MEETING, incarnation=2, round=0)
    saves = plan(job.view())
    assert saves.status.members == (0, 1, 2)
    assert of(saves, SendStop) == []
    assert plan(job.view(NOW + SAVE_PATIENCE)).status.members == (0, 1), "they come no more"
    for index in range(3):
        job.says(index, state=LauncherState.TRAINING, incarnation=2, round=1)
    job.stored(plan(job.stored(saves.status).view()).status)
    assert len(of(plan(job.view()), SendSave)) == 3
