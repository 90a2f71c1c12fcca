"""Why nothing is saved is told as long as nothing is, and by the policy it ends the job."""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import Any

import pytest
from plan_jobs import NOW, Job, a_failure, a_job, a_report, of

from dtj_api.names import Cause, Condition, Phase, Reason
from dtj_api.status import CheckpointStatus
from dtj_api.wire import Clock, LostSaves, Progress, VolumeTry
from dtj_operator.plan import Plan, SendSave, plan
from dtj_operator.plan.need.elastic import SAVE_PATIENCE

VOLUME = {"volume": {"claimName": "data"}}
GOOD = VolumeTry(at=NOW - 60, seconds=0.01)
FULL = LostSaves(1, step=30, at=NOW - 3, errno=errno.ENOSPC, text="step 30: rank 0 could not write: no space: /v/part")
SAVED = Progress(step=25, total_steps=100, updated_at=NOW - 1, checkpoint_step=20, checkpoint_at=NOW - 50)


def _job(**checkpoint: Any) -> Job:
    job = a_job().replicas(2).spec(checkpoint=VOLUME | checkpoint).running()
    clock = Clock(first_step_at=NOW - 90)
    return job.says(0, volume=GOOD, progress=SAVED, clock=clock).says(1, volume=GOOD, clock=clock)


def _condition(made: Plan) -> tuple[str, str, str] | None:
    found = made.status.condition(Condition.CHECKPOINT_FAILING)
    return (found.status, found.reason, found.message) if found is not None else None


def _events(made: Plan, *reasons: Reason) -> list[str]:
    return [event.message for event in made.events if event.reason in reasons]


def test_a_job_whose_volume_is_well_has_no_such_condition() -> None:
    assert _condition(plan(_job().view())) is None


@pytest.mark.parametrize(
    ("code", "reason", "advice"),
    [
        (errno.EROFS, Reason.VOLUME_READ_ONLY, "readOnly"),
        (errno.ENOSPC, Reason.VOLUME_FULL, "free space"),
        (errno.EDQUOT, Reason.VOLUME_FULL, "free space"),
        (errno.EACCES, Reason.VOLUME_NOT_WRITABLE, "fsGroup"),
        (errno.ENOENT, Reason.VOLUME_MISSING, "attached"),
        (errno.ESTALE, Reason.VOLUME_MISSING, "attached"),
        (errno.EIO, Reason.VOLUME_FAILED, "events of the claim"),
        (0, Reason.VOLUME_FAILED, "events of the claim"),
    ],
)
def test_what_a_launcher_finds_at_the_start_is_told_with_path_and_advice(code, reason, advice) -> None:
    found = VolumeTry(NOW - 9, 0.01, code, "it says no: /dtj/volume/ner/.dtj/probe/1-x")
    made = plan(_job().says(1, volume=found).view())
    status, told, message = _condition(made)
    assert (status, told) == ("True", reason)
    assert message.startswith("pod ner-worker-0001 cannot write to the volume: it says no: /dtj/volume/ner")
    assert "the last checkpoint is that of step 20, of 20" in message
    assert advice in message
    assert _events(made, reason) == [message]
    assert made.status.phase == Phase.RUNNING
    assert made.urgent


def test_it_is_told_once_and_clears_when_the_volume_takes_files_again() -> None:
    job = _job().says(1, volume=VolumeTry(NOW - 9, 0.01, errno.EROFS, "no"))
    first = plan(job.view())
    second = plan(job.stored(first.status).view(NOW + 5))
    assert _events(second, Reason.VOLUME_READ_ONLY) == []
    unknown = plan(job.stored(first.status).silent().view(NOW + 6))
    assert _condition(unknown)[0] == "True", "reports that are missing say nothing"
    job.pod(job.view().pods[2], a_report(job.view().pods[2], volume=GOOD))
    job.pod(job.view().pods[1], a_report(job.view().pods[1], volume=GOOD))
    mended = plan(job.stored(first.status).view(NOW + 20))
    assert _condition(mended) == ("False", Reason.VOLUME_WRITABLE, "the volume takes files")


def test_a_file_that_does_not_come_back_is_told_and_how_long_one_took() -> None:
    job = _job().says(1, volume=VolumeTry(waits_since=NOW - 3))
    early = plan(job.view())
    assert _condition(early) is None
    assert early.requeue_after is not None
    assert early.requeue_after <= 3.0
    hung = plan(job.stored(early.status).view(NOW + 3))
    assert _condition(hung)[:2] == ("True", Reason.VOLUME_SLOW)
    assert "has waited since 2027-01-15T07:59:57Z for a small file" in _condition(hung)[2]
    slow = plan(job.stored(hung.status).says(1, volume=VolumeTry(NOW - 3, 7.25)).view(NOW + 9))
    assert "took 7.2 s" in _condition(slow)[2]
    well = plan(job.stored(slow.status).says(1, volume=GOOD).view(NOW + 19))
    assert _condition(well)[:2] == ("False", Reason.VOLUME_WRITABLE)


def test_a_save_that_failed_is_told_until_a_later_one_is_published() -> None:
    job = _job().says(0, lost_saves=FULL)
    made = plan(job.view())
    status, reason, message = _condition(made)
    assert (status, reason) == ("True", Reason.VOLUME_FULL)
    assert message.startswith(
        "the save of step 30 failed: step 30: rank 0 could not write: no space: /v/part; the last"
    )
    assert _events(made, Reason.VOLUME_FULL) == [message]
    assert (made.status.checkpoint.failed, made.status.checkpoint.failed_at) == (1, NOW - 3)
    assert made.status.phase == Phase.RUNNING
    again = replace(FULL, count=2, step=40, at=NOW + 7)
    second = plan(job.stored(made.status).says(0, lost_saves=again).view(NOW + 8))
    assert "the save of step 40 failed, 2 in a row" in _condition(second)[2]
    assert _events(second, Reason.VOLUME_FULL) == []
    later = replace(SAVED, step=60, checkpoint_step=50, checkpoint_at=NOW + 20)
    third = plan(job.stored(second.status).says(0, lost_saves=LostSaves(), progress=later).view(NOW + 21))
    assert _condition(third) == ("False", Reason.CHECKPOINT_SAVED, "the checkpoint of step 50 was published after it")
    assert (third.status.checkpoint.failed, third.status.checkpoint.failed_at) == (0, None)


def test_that_the_pod_which_told_it_is_gone_mends_nothing() -> None:
    first = plan(_job().says(0, lost_saves=FULL).view())
    second = plan(_job().stored(first.status).view(NOW + 10))
    assert _condition(second)[:2] == ("True", Reason.VOLUME_FULL)
    assert second.status.checkpoint.failed == 1


def test_what_failed_before_the_last_checkpoint_is_past_whoever_still_tells_it() -> None:
    made = plan(_job().says(0, lost_saves=replace(FULL, at=NOW - 60)).view())
    assert _condition(made) is None
    assert made.status.checkpoint.failed == 0


def test_another_pod_may_know_why_rank_0_does_not() -> None:
    blind = replace(FULL, errno=None, text="step 30: rank 1 could not write: see its log")
    knows = replace(FULL, errno=errno.EROFS, text="step 30: rank 1 could not write: read-only")
    made = plan(_job().says(0, lost_saves=blind).says(1, lost_saves=knows).view())
    assert _condition(made)[1] == Reason.VOLUME_READ_ONLY
    assert "rank 1 could not write: read-only" in _condition(made)[2]


@pytest.mark.parametrize("how", ["save", "probe"])
def test_by_the_policy_it_ends_the_job(how: str) -> None:
    job = _job(onFailure="Fail")
    if how == "save":
        job.says(0, lost_saves=FULL)
    else:
        job.says(1, volume=VolumeTry(NOW - 9, 0.01, errno.ENOSPC, "no"))
    made = plan(job.view())
    failed = made.status.condition(Condition.FAILED)
    assert failed is not None
    assert (failed.status, failed.reason) == ("True", Reason.VOLUME_FULL)
    assert failed.message.startswith("checkpoint.onFailure is Fail: ")
    assert _condition(made)[:2] == ("True", Reason.VOLUME_FULL)


def test_a_volume_that_is_slow_ends_no_job() -> None:
    made = plan(_job(onFailure="Fail").says(1, volume=VolumeTry(NOW - 9, 8.0)).view())
    assert made.status.phase == Phase.RUNNING


EVERY_100_S = {"every": {"seconds": 100}}


def _saved_at(at: float, **progress: Any) -> Progress:
    fields = {"step": 400, "updated_at": NOW - 1, "checkpoint_step": 300, "checkpoint_at": at}
    return Progress(**fields | progress)


@pytest.mark.parametrize(
    ("every", "age", "progress", "late"),
    [
        ({"seconds": 100}, 310, {}, True),
        ({"seconds": 100}, 290, {}, False),
        ({"seconds": 1}, 110, {}, False),
        ({"seconds": 100}, 310, {"updated_at": NOW - 200}, False),
        ({"seconds": 100}, 310, {"updated_at": NOW - 200, "phase": "checkpoint"}, True),
        ({"steps": 30}, 60, {}, True),
        ({"steps": 40}, 5000, {}, False),
        ({"steps": 40, "seconds": 100}, 500, {}, True),
        ({"auto": True}, 5000, {}, False),
        ({"auto": True}, 5000, {"save_interval": 600.0}, True),
    ],
)
def test_a_checkpoint_is_late_when_steps_are_made_and_none_is_published(every, age, progress, late) -> None:
    job = _job(every=every).says(0, progress=_saved_at(NOW - age, **progress), clock=Clock(first_step_at=NOW - 9000))
    made = plan(job.view())
    assert (_condition(made) is not None) == late
    if late:
        assert _condition(made)[:2] == ("True", Reason.CHECKPOINT_LATE)
        assert len(_events(made, Reason.CHECKPOINT_LATE)) == 1


def test_a_late_checkpoint_that_comes_clears_it() -> None:
    job = _job(**EVERY_100_S).says(0, progress=_saved_at(NOW - 500), clock=Clock(first_step_at=NOW - 900))
    first = plan(job.view())
    second = plan(job.stored(first.status).says(0, progress=_saved_at(NOW + 5, checkpoint_step=410)).view(NOW + 6))
    assert _condition(second) == ("False", Reason.CHECKPOINT_SAVED, "the checkpoint of step 410 was published after it")


@pytest.mark.parametrize("built_in", [False, True])
def test_a_script_that_has_never_saved_may_save_by_itself(built_in: bool) -> None:
    job = a_job().replicas(2)
    job = (job.built_in() if built_in else job).spec(checkpoint=VOLUME | EVERY_100_S).running()
    never, clock = Progress(step=400, updated_at=NOW - 1), Clock(first_step_at=NOW - 900)
    made = plan(job.says(0, progress=never, clock=clock, volume=GOOD).says(1, volume=GOOD).view())
    assert (_condition(made) is not None) == built_in


def test_time_that_was_lost_makes_no_checkpoint_late() -> None:
    job = _job(**EVERY_100_S).says(0, progress=_saved_at(NOW - 5000), clock=Clock(first_step_at=NOW - 20))
    made = plan(job.view())
    assert _condition(made) is None
    assert made.requeue_after is not None
    assert made.requeue_after <= 281.0


def test_a_save_that_takes_longer_than_its_interval_is_told() -> None:
    made = plan(_job(**EVERY_100_S).says(0, progress=replace(SAVED, checkpoint_seconds=130.0)).view())
    assert _condition(made)[:2] == ("True", Reason.VOLUME_SLOW)
    assert _condition(made)[2].startswith("the last save took 130 s, and one is due every 100 s")


def test_a_save_that_was_lost_while_the_pods_leave_is_told() -> None:
    first = plan(_job().spec(suspend=True).view())
    assert first.status.phase == Phase.SUSPENDED
    job = _job().spec(suspend=True).stored(first.status).says(0, lost_saves=FULL)
    second = plan(job.view(NOW + 2))
    (text,) = _events(second, Reason.NOT_SAVED)
    assert text.startswith("the save before the pods left failed: step 30: rank 0 could not write")
    assert _condition(second)[:2] == ("True", Reason.VOLUME_FULL)
    third = plan(job.stored(second.status).view(NOW + 3))
    assert _events(third, Reason.NOT_SAVED) == []


@pytest.mark.parametrize("gone", [(), (0, 1)], ids=["the pods are still there", "the pods are gone"])
def test_by_the_policy_a_save_that_was_lost_while_the_pods_leave_fails_the_job_when_it_resumes(gone) -> None:
    first = plan(_job(onFailure="Fail").spec(suspend=True).view())
    job = _job(onFailure="Fail").spec(suspend=True).stored(first.status).says(0, lost_saves=FULL)
    second = plan(job.view(NOW + 2))
    assert second.status.phase == Phase.SUSPENDED
    suspended = second.status.condition(Condition.SUSPENDED)
    assert "; the job fails when it resumes: checkpoint.onFailure is Fail: the save of step 30 " in suspended.message
    for index in gone:
        job.without(index)
    failed = plan(job.spec(suspend=False).stored(second.status).view(NOW + 9)).status.condition(Condition.FAILED)
    assert (failed.status, failed.reason) == ("True", Reason.VOLUME_FULL)


def test_a_resize_whose_save_does_not_come_says_so() -> None:
    job = _job().replicas(1)
    first = plan(job.view())
    assert {action.message.id for action in of(first, SendSave)} == {first.status.save.id}
    second = plan(job.stored(first.status).view(NOW + SAVE_PATIENCE + 1))
    (text,) = _events(second, Reason.NOT_SAVED)
    assert (
        text == "the save before the resize was not published in 120 s: training goes on from the checkpoint of step 20"
    )


def test_ranks_that_end_by_the_volume_are_excused_whatever_often() -> None:
    failing = a_job().replicas(2).spec(checkpoint=VOLUME, failurePolicy={"maxRestarts": 0}).running(round_=2)
    failures = (a_failure(1, of_volume=True, message="RestoreError: no checkpoint can be chosen"),)
    made = plan(failing.says(0, failures=failures, round=2).view())
    assert made.status.restarts.by_cause == {Cause.VOLUME_FAILED: 1}
    assert (made.status.restarts.counted, made.status.restarts.excused) == (0, 1)
    assert made.status.phase != Phase.FAILED


def test_by_the_policy_ranks_that_end_by_the_volume_end_the_job() -> None:
    job = a_job().replicas(2).spec(checkpoint=VOLUME | {"onFailure": "Fail"}).running(round_=2)
    made = plan(job.says(0, failures=(a_failure(1, of_volume=True, message="RestoreError: x"),)).view())
    failed = made.status.condition(Condition.FAILED)
    assert failed is not None
    assert failed.reason == Reason.VOLUME_FAILED


def test_what_was_lost_in_the_end_is_told_of_a_job_that_succeeds() -> None:
    job = _job().says(0, lost_saves=FULL, state="done").says(1, state="done")
    made = plan(job.end(0, 0).end(1, 0).view())
    assert made.status.phase == Phase.SUCCEEDED
    assert _condition(made)[:2] == ("True", Reason.VOLUME_FULL)


def test_a_late_one_that_comes_is_told_also_by_a_launcher_that_tries_no_volume() -> None:
    clock = Clock(first_step_at=NOW - 900)
    job = _job(**EVERY_100_S).says(0, progress=_saved_at(NOW - 500), clock=clock, volume=VolumeTry())
    first = plan(job.view())
    unchanged = plan(job.stored(first.status).says(0, clock=Clock(first_step_at=NOW - 5)).view(NOW + 5))
    assert _condition(unchanged)[0] == "True"
    job.says(0, progress=_saved_at(NOW + 5, checkpoint_step=410))
    assert _condition(plan(job.stored(first.status).view(NOW + 6)))[0] == "False"


def test_what_the_status_remembers_is_read_back() -> None:
    status = CheckpointStatus.model_validate({"failed": 2, "failedAt": "2027-01-15T08:00:00Z"})
    assert (status.failed, status.failed_at) == (2, NOW)


def test_without_a_checkpoint_there_is_nothing_to_tell() -> None:
    job = a_job().replicas(2).running().says(0, lost_saves=FULL, volume=VolumeTry(NOW, 0.1, errno.EROFS, "no"))
    assert _condition(plan(job.view())) is None
