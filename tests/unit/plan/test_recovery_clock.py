"""Each interruption is timed once, from the loss to the next step, and tells where its seconds went."""

from __future__ import annotations

from dataclasses import replace

import pytest
from plan_jobs import NOW, a_failure, a_job, a_pod, a_report, failed

from dtj_api import bounds
from dtj_api.names import Cause, LauncherState, Phase, Reason
from dtj_api.scalars import Timestamp
from dtj_api.status import Interruption, JobProgress, Recovery, RecoveryTotals
from dtj_api.wire import Clock, Progress
from dtj_operator.plan import plan

LOST = NOW - 3.0
IN_PLACE = Clock(
    left_at=LOST + 0.1,
    formed_at=LOST + 0.3,
    started_at=LOST + 0.35,
    spoke_at=LOST + 0.5,
    restored_at=LOST + 1.0,
    first_step_at=LOST + 1.5,
    step_before=57,
    restored_step=50,
)
LATER = replace(IN_PLACE, left_at=LOST + 0.2, formed_at=LOST + 0.4, first_step_at=None)


def _regrouped(*clocks: Clock, step: int | None = 51):
    job = a_job().replicas(2).running().status(progress=JobProgress(step=40))
    for index, clock in enumerate(clocks):
        failures = (a_failure(at=LOST, exit_code=-9, rank=1),) if index == 1 else ()
        job.says(index, round=2, failures=failures, clock=clock, progress=Progress(step=step, total_steps=100))
    return job


def test_a_round_that_was_begun_anew_is_timed_by_its_launchers() -> None:
    made = plan(_regrouped(IN_PLACE, LATER).view())
    (recovery,) = made.status.recoveries
    assert recovery == Recovery(
        at=Timestamp(LOST),
        cause=Cause.PROCESS_SIGNAL,
        node="node-b",
        phases={"detect": 0.2, "rendezvous": 0.2, "start": 0.1, "restore": 0.5, "firstStep": 0.5},
        seconds=1.5,
        steps_redone=7,
    )
    assert made.status.interruption is None
    assert made.status.recovered == RecoveryTotals(
        count=1,
        seconds=1.5,
        steps_redone=7,
        phases=recovery.phases,
        buckets=(0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0),
    )
    (event,) = [each for each in made.events if each.reason == Reason.RECOVERED]
    assert event.message == (
        "trains again 1.50 s after ProcessSignal on node node-b (detect 0.20 s, rendezvous 0.20 s, start 0.10 s, "
        "restore 0.50 s, firstStep 0.50 s); 7 steps redone"
    )


def test_the_clock_runs_until_the_next_step() -> None:
    waiting = replace(IN_PLACE, first_step_at=None)
    job = _regrouped(waiting, waiting, step=None)
    first = plan(job.view())
    assert first.status.phase == Phase.RECOVERING
    assert first.status.recoveries == ()
    assert first.status.interruption is not None
    assert first.status.interruption.step == 40
    job.stored(first.status)
    for index in (0, 1):
        job.says(index, clock=IN_PLACE, progress=Progress(step=51))
    second = plan(job.view(NOW + 1))
    assert [each.seconds for each in second.status.recoveries] == [1.5]


def test_what_fails_on_top_of_a_loss_is_part_of_the_same_recovery() -> None:
    job = a_job().replicas(2).running()
    job.status(interruption=Interruption(at=Timestamp(LOST), cause=Cause.NODE_LOST, detected_at=Timestamp(NOW - 2)))
    job.end(1, 137, at=NOW - 1)
    made = plan(job.view())
    assert made.status.restarts.by_cause == {Cause.POD_FAILED: 1}
    assert made.status.interruption is not None
    assert (made.status.interruption.at, made.status.interruption.cause) == (LOST, Cause.NODE_LOST)


def test_a_lost_pod_has_the_wait_for_its_replacement_in_it() -> None:
    job = a_job().replicas(2).running()
    lost = job.end(1, 137, at=NOW - 1)
    first = plan(lost.view())
    job.stored(first.status).without(1)
    pod = a_pod(1, uid="new", incarnation=2)
    job.pod(pod, a_report(pod, incarnation=0, round_=0, state=LauncherState.WAITING, group_rank=-1))
    second = plan(job.view(NOW + 4))
    assert second.status.store.address
    job.stored(second.status)
    clock = Clock(formed_at=NOW + 4.5, started_at=NOW + 4.6, first_step_at=NOW + 6, restored_step=10)
    for index in (0, 1):
        job.says(index, incarnation=2, round=1, state=LauncherState.TRAINING, clock=clock, progress=Progress(step=11))
    (recovery,) = plan(job.view(NOW + 7)).status.recoveries
    assert recovery.phases == {"detect": 1.0, "pod": 4.0, "rendezvous": 0.5, "start": 0.1, "firstStep": 1.4}
    assert (recovery.cause, recovery.node, recovery.seconds) == (Cause.POD_FAILED, "node-b", 7.0)


@pytest.mark.parametrize(
    ("clock", "phases"),
    [
        # The script reports nothing: the clock ends when its ranks start.
        (Clock(left_at=LOST + 1, formed_at=LOST + 2, started_at=LOST + 2.5), [1.0, 1.0, 0.5]),
        # The pod's clock is behind the operator's: no phase is negative.
        (Clock(left_at=LOST + 1, formed_at=LOST - 1, started_at=LOST + 2), [1.0, 0.0, 1.0]),
        # The pod's clock is an hour ahead: what it says is left out.
        (Clock(left_at=LOST + 1, formed_at=NOW + 3600, started_at=LOST + 2), [1.0, 1.0]),
    ],
)
def test_odd_clocks(clock: Clock, phases: list[float]) -> None:
    (recovery,) = plan(_regrouped(clock, clock).view()).status.recoveries
    assert list(recovery.phases.values()) == phases
    assert recovery.seconds == sum(phases)
    assert recovery.steps_redone is None


def test_a_job_that_ends_or_is_suspended_has_not_recovered() -> None:
    open_ = Interruption(at=Timestamp(LOST), cause=Cause.NODE_LOST, detected_at=Timestamp(NOW - 2))
    suspended = plan(a_job().replicas(2).running().status(interruption=open_).spec(suspend=True).view())
    assert (suspended.status.interruption, suspended.status.recoveries) == (None, ())
    over = a_job().replicas(2).running().status(interruption=open_).spec(lifecycle={"activeDeadline": "1s"})
    assert (plan(over.view()).status.interruption, plan(over.view()).status.phase) == (None, Phase.FAILED)


def test_the_steps_of_all_recoveries_are_no_more_than_can_be_stored() -> None:
    told = RecoveryTotals(count=1, steps_redone=bounds.INT64 - 3)
    made = plan(_regrouped(IN_PLACE, LATER).status(recovered=told).view())
    assert made.status.recovered.steps_redone == bounds.INT64


def test_the_last_ten_are_kept() -> None:
    one = Recovery(at=Timestamp(NOW - 900), cause=Cause.GONE, seconds=1.0)
    made = plan(_regrouped(IN_PLACE, LATER).status(recoveries=(one,) * 10).view())
    assert len(made.status.recoveries) == 10
    assert made.status.recoveries[-1].cause == Cause.PROCESS_SIGNAL


def test_a_node_is_lost_since_it_was_last_ready() -> None:
    job = a_job().replicas(2).running().node("node-b", ready=False, not_ready_since=NOW - 31)
    began = plan(job.view()).status.interruption
    assert began is not None
    assert (began.at, began.detected_at, began.node) == (NOW - 31, NOW, "node-b")


def test_a_pod_that_ends_is_lost_when_its_container_was() -> None:
    job = a_job().replicas(2).running()
    job.pod(failed(a_pod(0), 1, at=NOW - 5))
    began = plan(job.view()).status.interruption
    assert began is not None
    assert (began.at, began.node) == (NOW - 5, "node-a")


def test_a_store_out_of_reach_interrupts_when_the_ranks_were_ended() -> None:
    job = a_job().replicas(2).running().status(incarnation_at=NOW - 500)
    job.says(0, state=LauncherState.MEETING, error="the store is gone", clock=Clock(left_at=NOW - 2))
    job.says(1, state=LauncherState.MEETING, error="the store is gone", clock=Clock(left_at=NOW - 1.5))
    began = plan(job.view()).status.interruption
    assert began is not None
    assert (began.at, began.cause) == (NOW - 2, Cause.STORE_LOST)


def test_a_store_that_is_lost_costs_the_time_since_the_ranks_were_told_to_move() -> None:
    """They trained on until then."""
    clock = replace(IN_PLACE, left_at=NOW - 2, formed_at=NOW - 1.5, started_at=NOW - 1.2, spoke_at=None)
    at, noticed, met = Timestamp(NOW - 60), Timestamp(NOW - 59), Timestamp(NOW - 3)
    began = Interruption(at=at, cause=Cause.STORE_LOST, detected_at=noticed, met_at=met)
    job = _regrouped(clock, replace(clock, first_step_at=None)).status(interruption=began)
    (recovery,) = plan(job.view()).status.recoveries
    assert recovery.at == NOW - 3
    assert recovery.seconds <= 3
    left_before = _regrouped(replace(clock, left_at=NOW - 59), clock).status(interruption=began)
    assert plan(left_before.view()).status.recoveries[0].at == NOW - 60


def test_a_hang_began_with_the_last_step_however_long_ago_that_was() -> None:
    job = a_job().replicas(2).running().status(resumed_at=Timestamp(NOW - 5000))
    job.says(1, round=2, failures=(a_failure(hang=True, exit_code=0, at=NOW - 603),))
    made = plan(job.says(0, round=2).view())
    began = made.status.interruption or made.status.recoveries[-1]
    assert began.at == NOW - 603
