"""The user's own rules about failures, and what repeats itself too often."""

from __future__ import annotations

from typing import Any

import pytest
from plan_jobs import NOW, a_failure, a_job, a_pod, failed

from dtj_api.names import Condition, LauncherState, Phase, Reason
from dtj_api.scalars import Timestamp
from dtj_api.status import CrashLoopStatus, Interruption, JobStatus
from dtj_api.stored_status import read_status
from dtj_api.wire import Clock, Progress
from dtj_operator.plan import Plan, plan


def _ended_by(failure: dict[str, Any], clock: Clock | None = None, **policy: Any):
    """Two workers; a rank of worker 1 failed, and the next round has formed."""
    job = a_job().replicas(2).running().spec(failurePolicy=policy)
    job.says(0, round=2, clock=clock or Clock())
    return job.says(1, round=2, failures=(a_failure(at=NOW - 2, **failure),))


def _condition(made: Plan) -> tuple[str, str]:
    found = made.status.condition(Condition.FAILED)
    assert found is not None
    return found.reason, found.message


SEGFAULT = {"exit_code": -11}
OUT_OF_GPU = {"exit_code": 1, "message": "OutOfMemoryError: CUDA out of memory", "log_tail": "Tried to allocate 2 GiB"}


@pytest.mark.parametrize(
    ("failure", "rules", "counted", "fails"),
    [
        (SEGFAULT, [], 1, False),
        (SEGFAULT, [{"onSignals": ["SIGSEGV"], "action": "Fail"}], 1, True),
        (SEGFAULT, [{"onSignals": ["SIGKILL"], "action": "Fail"}], 1, False),
        (SEGFAULT, [{"onExitCodes": [139], "action": "RestartExcused"}], 0, False),
        (SEGFAULT, [{"onExitCodes": [11], "action": "Fail"}], 1, False),
        (SEGFAULT, [{"onReasons": ["ProcessSignal"], "action": "RestartExcused"}], 0, False),
        (OUT_OF_GPU, [{"onExitCodes": [1, 2], "action": "Fail"}], 1, True),
        (OUT_OF_GPU, [{"onMessage": "*CUDA out of memory*", "action": "Fail"}], 1, True),
        (OUT_OF_GPU, [{"onMessage": "*allocate ? GiB", "action": "RestartExcused"}], 0, False),
        (OUT_OF_GPU, [{"onMessage": "CUDA out of memory", "action": "Fail"}], 1, False),
        # All that a rule names must match, and the first rule that does decides.
        (OUT_OF_GPU, [{"onMessage": "*CUDA*", "onExitCodes": [2], "action": "Fail"}], 1, False),
        (OUT_OF_GPU, [{"onExitCodes": [1], "action": "RestartExcused"}, {"onMessage": "*", "action": "Fail"}], 0,
         False),
    ],
)  # fmt: skip
def test_the_first_rule_that_matches_decides(failure, rules, counted: int, fails: bool) -> None:
    made = plan(_ended_by(failure, rules=rules).view())
    assert made.status.restarts.counted == counted
    assert made.status.restarts.excused == 1 - counted
    assert (made.status.phase == Phase.FAILED) == fails
    if fails:
        reason, message = _condition(made)
        assert reason == Reason.FAILURE_RULE
        assert message.startswith("failurePolicy.rules[0] says that this ends the job: rank 0 on ner-worker-0001")


@pytest.mark.parametrize(
    ("fields", "rules", "counted", "fails"),
    [
        ({"disruption": "EvictionByEvictionAPI"}, [], 0, False),
        ({"disruption": "EvictionByEvictionAPI"}, [{"onReasons": ["PodEvicted"], "action": "Restart"}], 1, False),
        ({"disruption": "EvictionByEvictionAPI"}, [{"onReasons": ["PodEvicted"], "action": "Fail"}], 1, True),
        ({}, [{"onExitCodes": [137], "action": "RestartExcused"}], 0, False),
        ({}, [{"onSignals": ["SIGKILL"], "action": "RestartExcused"}], 0, False),
    ],
)
def test_rules_speak_of_pods_too(fields, rules, counted: int, fails: bool) -> None:
    job = a_job().replicas(2).running().spec(failurePolicy={"rules": rules})
    made = plan(job.pod(failed(a_pod(1), 137, **fields)).view())
    assert made.status.restarts.counted == counted
    assert (made.status.phase == Phase.FAILED) == fails


def test_what_follows_from_another_failure_is_no_failure_of_its_own() -> None:
    job = a_job().replicas(2).running()
    job.spec(failurePolicy={"rules": [{"onExitCodes": [1], "action": "Fail"}]})
    job.pod(failed(a_pod(0), 137, at=NOW - 5, disruption="EvictionByEvictionAPI")).pod(failed(a_pod(1), 1, at=NOW - 4))
    made = plan(job.view())
    assert made.status.phase != Phase.FAILED
    assert made.status.restarts.counted == 0


USER_ERROR = {"exit_code": 1, "message": "ValueError: boom", "user_error": True, "log_tail": "line 7, in loss"}


def test_the_same_error_of_the_users_twice_in_a_row_ends_the_job_with_its_traceback() -> None:
    first = plan(_ended_by(USER_ERROR).view())
    when = Timestamp(NOW - 2)
    assert first.status.crash_loop == CrashLoopStatus(error="ValueError: boom", same_error=1, reached=10, at=when)
    assert first.status.phase != Phase.FAILED
    second = plan(_ended_by(USER_ERROR).status(crash_loop=first.status.crash_loop).view())
    reason, message = _condition(second)
    assert reason == Reason.USER_ERROR
    assert message.startswith("the same error came 2 times in a row, and a restart does not help: rank 0")
    assert message.endswith("ValueError: boom\nline 7, in loss")


def _memory(pid: int) -> dict[str, Any]:
    return {"message": f"OutOfMemoryError: CUDA out of memory. Process {pid}", "if_repeated": "OutOfMemoryError"}


EXIT: dict[str, Any] = {"exit_code": 3, "if_repeated": "exit code 3"}


@pytest.mark.parametrize(
    ("first", "second", "ends"),
    [
        (EXIT, EXIT, True),
        (_memory(7), _memory(8), True),
        (EXIT, EXIT | {"if_repeated": "exit code 4"}, False),
        (EXIT, _memory(7), False),
        (EXIT, EXIT | {"step": 9}, False),
        (EXIT | {"step": 9}, EXIT, False),
        (EXIT, SEGFAULT, False),
        (EXIT, {"exit_code": 3}, False),
    ],
)
def test_what_fails_in_the_same_way_before_the_first_step_twice_in_a_row_is_the_users(
    first: dict[str, Any], second: dict[str, Any], ends: bool
) -> None:
    once = plan(_ended_by(first).view())
    assert once.status.phase != Phase.FAILED
    twice = plan(_ended_by(second).status(crash_loop=once.status.crash_loop).view())
    assert (twice.status.phase == Phase.FAILED) is ends
    if ends:
        assert _condition(twice)[0] == Reason.USER_ERROR


def test_what_could_be_the_users_is_counted_no_earlier_than_anything_else() -> None:
    """A pod may be lost, and this be what follows from it."""
    job = a_job().replicas(2).running().says(0, failures=(a_failure(**EXIT),), state=LauncherState.MEETING)
    assert plan(job.view()).status.restarts.by_cause == {}


def test_a_rank_that_reports_no_step_may_still_have_made_some() -> None:
    """Often rank 0 alone reports."""
    before = CrashLoopStatus(error="exit code 3", same_error=1)
    job = _ended_by(EXIT, Clock(left_at=NOW - 1, step_before=40)).status(crash_loop=before)
    assert plan(job.view()).status.phase != Phase.FAILED


@pytest.mark.parametrize(
    ("failure", "before", "after"),
    [
        # Another error, no error of the user's, or one that is nobody's fault: the row ends.
        (USER_ERROR | {"message": "KeyError: 3"}, CrashLoopStatus(error="ValueError: boom", same_error=1), (0, 1)),
        (USER_ERROR | {"step": 9}, CrashLoopStatus(step=8, error="ValueError: boom", same_error=1), (1, 1)),
        # The step is not told yet, but the job is known to have got further than 8.
        (
            USER_ERROR | {"step": None},
            CrashLoopStatus(step=8, same_step=1, error="ValueError: boom", same_error=1),
            (0, 1),
        ),
        (USER_ERROR | {"user_error": False}, CrashLoopStatus(error="ValueError: boom", same_error=1), (0, 0)),
        (SEGFAULT | {"step": 57}, CrashLoopStatus(), (1, 0)),
        (SEGFAULT | {"step": 57}, CrashLoopStatus(step=57, same_step=1), (2, 0)),
        (SEGFAULT | {"step": 57}, CrashLoopStatus(step=58, same_step=2), (1, 0)),
        (SEGFAULT, CrashLoopStatus(), (0, 0)),
    ],
)
def test_a_row_is_of_failures_that_are_alike(failure, before: CrashLoopStatus, after: tuple[int, int]) -> None:
    made = plan(_ended_by(failure).status(crash_loop=before).view())
    assert (made.status.crash_loop.same_step, made.status.crash_loop.same_error) == after
    assert made.status.phase != Phase.FAILED


def test_an_error_whose_step_is_not_told_yet_is_the_same_where_nothing_says_that_training_got_further() -> None:
    row: dict[str, Any] = {"step": 57, "same_step": 1, "error": "ValueError: boom", "reached": 57}
    before = CrashLoopStatus(**row, same_error=1, at=Timestamp(NOW - 60))
    made = plan(_ended_by(USER_ERROR).status(crash_loop=before).view())
    assert _condition(made)[0] == Reason.USER_ERROR
    assert made.status.crash_loop == CrashLoopStatus(**row, same_error=2, at=Timestamp(NOW - 2))


def _without_memory(status: JobStatus) -> JobStatus:
    """As the operator of the version before writes it back."""
    stored = status.dump()
    for field in ("reached", "at"):
        stored["crashLoop"].pop(field, None)
    return read_status(stored)


def test_a_row_begins_anew_where_an_operator_of_the_version_before_forgot_when_the_last_failure_was() -> None:
    job = _ended_by(EXIT).says(0, progress=Progress()).says(1, progress=Progress())
    once = plan(job.view()).status
    assert plan(job.status(crash_loop=once.crash_loop).view()).status.phase == Phase.FAILED
    forgot = _without_memory(once)
    assert forgot == once.model_copy(update={"crash_loop": CrashLoopStatus(error="exit code 3", same_error=1)})
    again = plan(job.status(crash_loop=forgot.crash_loop).view()).status
    assert again.crash_loop == once.crash_loop
    assert again.phase != Phase.FAILED


def test_the_same_step_is_the_same_one_whoever_forgot_the_rest() -> None:
    once = plan(_ended_by(USER_ERROR | {"step": 57}).view()).status
    again = _ended_by(USER_ERROR | {"step": 57}).status(crash_loop=_without_memory(once).crash_loop)
    assert _condition(plan(again.view()))[0] == Reason.USER_ERROR


def test_progress_that_is_told_late_begins_no_row_anew_for_ever() -> None:
    """Rank 0 alone reports, and the status knows its steps only so well."""
    status = JobStatus()
    for step in (53, 55, 51, 55):
        job = _ended_by(USER_ERROR).says(0, progress=Progress(step=step, updated_at=NOW))
        status = plan(job.status(crash_loop=status.crash_loop).view()).status
        if status.phase == Phase.FAILED:
            break
    assert (status.crash_loop.reached, status.crash_loop.same_error) == (55, 2)


def test_ranks_that_never_get_past_a_step_are_given_up() -> None:
    before = CrashLoopStatus(step=57, same_step=2)
    made = plan(_ended_by(SEGFAULT | {"step": 57}).status(crash_loop=before).view())
    reason, message = _condition(made)
    assert reason == Reason.CRASH_LOOP
    assert message.startswith("the ranks failed 3 times in a row after step 57; the last time: rank 0 on")


def test_the_step_is_known_from_another_pod_when_only_rank_0_reports() -> None:
    made = plan(_ended_by(SEGFAULT, Clock(left_at=NOW - 1.9, step_before=57)).view())
    assert (made.status.crash_loop.step, made.status.crash_loop.same_step) == (57, 1)


@pytest.mark.parametrize("crash_loop", [{"sameStep": 0, "sameError": 0}, {"sameStep": 5, "sameError": 5}])
def test_limits_can_be_raised_and_switched_off(crash_loop) -> None:
    before = CrashLoopStatus(step=57, same_step=3, error="ValueError: boom", same_error=3)
    made = plan(_ended_by(USER_ERROR | {"step": 57}, crashLoop=crash_loop).status(crash_loop=before).view())
    assert made.status.phase != Phase.FAILED
    assert (made.status.crash_loop.same_step, made.status.crash_loop.same_error) == (4, 4)


def test_an_excused_failure_is_in_no_row() -> None:
    rules = [{"onSignals": ["SIGSEGV"], "action": "RestartExcused"}]
    before = CrashLoopStatus(step=57, same_step=2)
    made = plan(_ended_by(SEGFAULT | {"step": 57}, rules=rules).status(crash_loop=before).view())
    assert made.status.crash_loop == before
    assert made.status.phase != Phase.FAILED


def _back_after_the_loss_of_a_pod(before: CrashLoopStatus, fault: str = "PodFailed", step: int | None = 57) -> Plan:
    """All train again: the survivor tells after which step the pod had failed."""
    job = a_job().replicas(2).running(incarnation=2).status(crash_loop=before, phase=Phase.RECOVERING)
    job.status(
        interruption=Interruption(
            at=Timestamp(NOW - 9),
            cause=fault,
            detected_at=Timestamp(NOW - 8),
            met_at=Timestamp(NOW - 4),
            pod_failed=fault in ("PodFailed", "OutOfMemory"),
        )
    )
    clock = Clock(left_at=NOW - 8, formed_at=NOW - 3, first_step_at=NOW - 2, step_before=step, restored_step=50)
    return plan(job.says(0, clock=clock).says(1, clock=Clock(formed_at=NOW - 3)).view())


@pytest.mark.parametrize(
    ("fault", "before", "step", "after"),
    [
        ("PodFailed", CrashLoopStatus(step=57, same_step=1), 57, (57, 2)),
        ("OutOfMemory", CrashLoopStatus(step=57, same_step=1), 57, (57, 2)),
        ("OutOfMemory", CrashLoopStatus(step=58, same_step=2), 57, (57, 1)),
        ("OutOfMemory", CrashLoopStatus(step=57, same_step=1), None, (57, 1)),
        ("PodEvicted", CrashLoopStatus(step=57, same_step=1), 57, (57, 1)),
    ],
)
def test_a_pod_that_fails_by_itself_is_in_the_row_of_its_step(fault, before, step, after) -> None:
    made = _back_after_the_loss_of_a_pod(before, fault, step)
    assert made.status.phase == Phase.RUNNING
    assert (made.status.crash_loop.step, made.status.crash_loop.same_step) == after
    assert made.status.given_up is None


def test_what_follows_a_pod_that_failed_by_itself_is_in_its_row() -> None:
    once = _back_after_the_loss_of_a_pod(CrashLoopStatus(step=57, same_step=1)).status.crash_loop
    next_one = plan(_ended_by(SEGFAULT).status(crash_loop=once).view()).status.crash_loop
    assert (next_one.step, next_one.same_step, once.at) == (57, 2, NOW - 9)


def test_pods_that_never_get_past_a_step_are_given_up() -> None:
    made = _back_after_the_loss_of_a_pod(CrashLoopStatus(step=57, same_step=2), "OutOfMemory")
    assert made.write
    assert made.requeue_after is not None
    assert made.requeue_after < 1
    last = plan(a_job().replicas(2).running(incarnation=2).stored(made.status).view(NOW + 1))
    reason, message = _condition(last)
    assert reason == Reason.CRASH_LOOP
    assert message.startswith("workers failed 3 times in a row after step 57; the last time: ")


@pytest.mark.parametrize(
    ("ended", "noted"),
    [({}, True), ({"oom": True}, True), ({"disruption": "EvictionByEvictionAPI"}, False)],
)
def test_a_charged_end_of_a_pod_waits_for_its_step(ended, noted: bool) -> None:
    made = plan(a_job().replicas(2).running().pod(failed(a_pod(1), 137, **ended)).view())
    assert made.status.interruption is not None
    assert made.status.interruption.pod_failed is noted
