"""A process died: counted once for the whole job by the cursor (incarnation, round)."""

from __future__ import annotations

import pytest
from plan_jobs import NOW, Job, a_failure, a_job, a_pod, a_report, deleted

from dtj_api.names import Cause, Condition, ExitCode, LauncherState, Phase, Reason
from dtj_api.status import RoundCursor
from dtj_api.wire import Release
from dtj_operator.observe.view import STORE_INDEX
from dtj_operator.plan import Plan, SendRelease, plan


def _next_round(job, *indices: int, round_: int = 2):
    for index in indices:
        job.says(index, round=round_, state=LauncherState.TRAINING)
    return job


def test_peers_that_lost_their_partner_are_one_restart() -> None:
    job = _next_round(a_job().replicas(3).running(), 0, 1, 2)
    job.says(0, failures=(a_failure(rank=0, at=NOW - 1.8, message="connection reset"),))
    job.says(1, failures=(a_failure(rank=1, at=NOW - 2.0, exit_code=-9),))
    job.says(2, failures=(a_failure(rank=2, at=NOW - 1.9, message="connection reset"),))
    made = plan(job.view())
    assert made.status.restarts.by_cause == {Cause.PROCESS_SIGNAL: 1}
    assert made.status.counted == RoundCursor(incarnation=1, round=1)
    assert made.status.incarnation == 1
    assert made.actions == ()
    assert "rank 1 on ner-worker-0001 was ended by signal 9 in round 1" in made.status.restarts.last_message
    again = plan(job.stored(made.status).view(NOW + 10))
    assert again.status.restarts == made.status.restarts


def test_several_rounds_between_two_looks_are_each_counted() -> None:
    job = _next_round(a_job().replicas(2).running(), 0, 1, round_=4)
    job.says(0, failures=(a_failure(1), a_failure(2, exit_code=-11), a_failure(3, user_error=True)))
    made = plan(job.view())
    assert made.status.restarts.by_cause == {Cause.PROCESS_EXIT: 2, Cause.PROCESS_SIGNAL: 1}
    assert made.status.counted.round == 3


def test_the_newest_round_is_not_judged_before_its_successor_has_formed() -> None:
    """Its peers may have lost a pod, and that end belongs to the pod."""
    job = a_job().replicas(2).running()
    job.says(0, failures=(a_failure(message="connection reset"),), state=LauncherState.MEETING)
    made = plan(job.view())
    assert made.status.restarts.by_cause == {}
    assert made.status.phase == Phase.RECOVERING
    lost = plan(job.stored(made.status).end(1, 1).view())
    assert lost.status.restarts.by_cause == {Cause.POD_FAILED: 1}
    assert lost.status.incarnation == 2


def _ends_with_64(job: Job) -> Plan:
    failure = a_failure(message="no package 'x'", exit_code=ExitCode.BAD_CONFIG, user_error=True)
    return plan(job.replicas(2).running().says(0, failures=(failure,), state=LauncherState.MEETING).view())


def test_the_built_in_trainer_that_cannot_run_what_it_was_given_ends_the_job_with_its_words() -> None:
    made = _ends_with_64(a_job().built_in())
    assert made.status.phase == Phase.FAILED
    condition = made.status.condition(Condition.FAILED)
    assert condition is not None
    assert condition.reason == Reason.USER_ERROR
    assert "no package 'x'" in condition.message


def test_a_script_of_the_users_own_may_mean_anything_by_64() -> None:
    made = _ends_with_64(a_job())
    assert made.status.phase == Phase.RECOVERING
    assert made.status.restarts.by_cause == {Cause.PROCESS_EXIT: 1}
    assert made.status.restarts.counted == 1


def test_an_error_of_the_user_is_counted_at_once() -> None:
    job = a_job().replicas(2).running()
    failure = a_failure(message="ValueError: boom", log_tail="line 1\nline 2", user_error=True)
    job.says(0, failures=(failure,), state=LauncherState.MEETING)
    made = plan(job.view())
    assert made.status.restarts.by_cause == {Cause.PROCESS_EXIT: 1}
    degraded = made.status.condition(Condition.DEGRADED)
    assert degraded is not None
    assert degraded.reason == Reason.RANK_FAILED
    assert degraded.message.endswith("ValueError: boom\nline 1\nline 2")


def test_failures_of_an_older_incarnation_are_history() -> None:
    job = a_job().replicas(2).running(incarnation=3)
    job.says(0, failures=(a_failure(7, incarnation=2, user_error=True),))
    assert plan(job.view()).status.restarts.by_cause == {}


def _store_lost_right_after(failure):
    """Incarnation 2, because of the store; what failed in incarnation 1 waits for its count."""
    job = a_job().replicas(2).running().says(0, failures=(failure,), state=LauncherState.MEETING)
    made = plan(job.without(STORE_INDEX).view())
    assert made.status.restarts.by_cause == {Cause.STORE_LOST: 1}
    return job.stored(made.status).pod(a_pod(STORE_INDEX, incarnation=2))


def test_a_failure_waits_across_an_incarnation_for_the_round_that_shows_that_no_pod_was_lost() -> None:
    job = _store_lost_right_after(a_failure(message="disk full"))
    meeting = plan(job.says(0, incarnation=2, round=0).says(1, incarnation=2, round=0).view())
    assert meeting.status.restarts.by_cause == {Cause.STORE_LOST: 1}
    formed = plan(job.stored(meeting.status).says(1, round=1, state=LauncherState.TRAINING).view())
    assert formed.status.restarts.by_cause == {Cause.PROCESS_EXIT: 1, Cause.STORE_LOST: 1}
    assert formed.status.counted == RoundCursor(incarnation=1, round=1)
    later = plan(_next_round(job.stored(formed.status), 0, 1).view(NOW + 10))
    assert later.status.restarts == formed.status.restarts


def test_a_failure_that_waited_belongs_to_a_pod_that_turns_out_to_be_lost() -> None:
    job = _store_lost_right_after(a_failure(message="connection reset")).end(1, 137, deletion_at=NOW + 9)
    made = plan(job.view())
    assert made.status.restarts.by_cause == {Cause.POD_DELETED: 1, Cause.STORE_LOST: 1}
    assert made.status.restarts.counted == 0
    new = a_pod(1, uid="new", incarnation=2)
    job.stored(made.status).pod(new, a_report(new, incarnation=2)).says(0, incarnation=2, round=1)
    assert plan(job.view()).status.restarts == made.status.restarts


def test_a_failure_is_counted_before_the_pod_that_tells_it_is_sent_away() -> None:
    job = a_job().replicas(2, least=1).running().replicas(1, least=1)
    job.says(1, failures=(a_failure(exit_code=-9),), state=LauncherState.MEETING)
    made = plan(job.view())
    assert made.status.members == (0,)
    assert made.status.restarts.by_cause == {Cause.PROCESS_SIGNAL: 1, Cause.RESIZE: 1}


def test_a_peer_that_did_not_notice_is_released() -> None:
    job = a_job().replicas(2).running()
    job.says(0, failures=(a_failure(exit_code=-9),), state=LauncherState.MEETING)
    made = plan(job.view())
    assert made.actions == (SendRelease("ner-worker-0001", "pod-1-1", "10.0.1.1", Release(1, 1)),)


def _one_through_one_failed(**failure):
    job = a_job().replicas(2).running().status(finished_members=(0,)).says(0, state=LauncherState.DONE)
    return job.says(1, failures=(a_failure(message="disk full", **failure),), state=LauncherState.MEETING)


def test_members_that_are_through_come_back_for_one_that_failed() -> None:
    """They wait for the others, and join the next round of this incarnation."""
    waiting = plan(_one_through_one_failed().view())
    assert waiting.status.finished_members == (0,)
    assert waiting.status.restarts.by_cause == {}
    job = _next_round(_one_through_one_failed(), 0, 1)
    made = plan(job.view())
    assert made.status.finished_members == ()
    assert made.status.incarnation == 1
    assert made.status.restarts.by_cause == {Cause.PROCESS_EXIT: 1}


def test_a_member_that_was_through_and_has_left_is_needed_again_when_another_one_fails() -> None:
    job = _one_through_one_failed().end(0, 0)
    made = plan(job.view())
    assert made.status.incarnation == 2
    assert made.status.finished_members == ()
    assert made.status.restarts.by_cause == {}
    assert deleted(made) == ["pod-0-1"]
    new = a_pod(0, uid="new", incarnation=2)
    job.stored(made.status).pod(new, a_report(new, incarnation=2)).says(1, incarnation=2, round=1)
    assert plan(job.view()).status.restarts.by_cause == {Cause.PROCESS_EXIT: 1}


def test_a_member_that_was_through_and_has_gone_is_missed_when_another_one_fails() -> None:
    made = plan(_one_through_one_failed().without(0).view())
    assert made.status.incarnation == 2
    assert made.status.finished_members == ()
    assert made.status.restarts.by_cause == {Cause.GONE: 1}


@pytest.mark.parametrize("again", [False, True], ids=["counted now", "counted before"])
def test_a_member_that_was_through_and_has_gone_is_missed_also_when_the_failure_is_counted_at_once(
    again: bool,
) -> None:
    job = _one_through_one_failed(user_error=True)
    if again:
        job.stored(plan(job.view()).status)
        assert job.view().status.finished_members == (0,), "it is there, and comes back"
        assert job.view().status.counted == RoundCursor(incarnation=1, round=1)
    made = plan(job.without(0).view())
    assert made.status.incarnation == 2
    assert made.status.finished_members == ()
    assert made.status.restarts.by_cause == {Cause.PROCESS_EXIT: 1, Cause.GONE: 1}
    assert made.status.restarts.counted == 1, "that it has gone comes of no fault of the job's"


def test_a_member_that_was_through_in_the_round_after_a_failure_is_not_missed() -> None:
    job = _next_round(_one_through_one_failed(), 0, 1)
    job.stored(plan(job.view()).status).says(0, round=2, state=LauncherState.DONE)
    job.stored(plan(job.view()).status).without(0)
    made = plan(job.view())
    assert made.status.incarnation == 1
    assert made.status.finished_members == (0,)


@pytest.mark.parametrize(("age", "failed"), [(3599, True), (3601, False)])
def test_only_the_window_counts_against_the_budget(age: float, failed: bool) -> None:
    job = _next_round(a_job().replicas(2).spec(failurePolicy={"maxRestarts": 1, "window": "1h"}).running(), 0, 1)
    restarts = job.view().status.restarts.model_copy(update={"counted": 1, "recent": (NOW - age,)})
    job.status(restarts=restarts).says(0, failures=(a_failure(exit_code=-9),))
    made = plan(job.view())
    assert (made.status.phase == Phase.FAILED) is failed
    assert made.status.restarts.counted == 2
    assert made.status.restarts.recent == ((NOW - age, NOW) if failed else (NOW,))


def test_a_hang_is_a_cause_of_its_own_and_charged() -> None:
    text = "no step for 61.0 s after step 20; stacks are in logs/1-1"
    job = a_job().replicas(2).running().says(0, round=2)
    job.says(1, round=2, failures=(a_failure(hang=True, exit_code=0, message=text, rank=1),))
    made = plan(job.view())
    assert made.status.restarts.by_cause == {Cause.HANG: 1}
    assert made.status.restarts.counted == 1
    (event,) = [each for each in made.events if each.reason == Reason.HUNG]
    assert event.message == f"rank 1 on ner-worker-0001 hung in round 1: {text}"
