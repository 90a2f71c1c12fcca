"""Figures are written seldom and only when they changed; transitions at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from plan_jobs import NOW, Job, a_job

from dtj_api.names import LauncherState, Phase
from dtj_api.scalars import Timestamp
from dtj_api.status import JobProgress
from dtj_api.wire import Progress
from dtj_operator.plan import plan
from dtj_operator.plan.holder import RENEW


def _settled(now: float = NOW) -> Job:
    """A running job whose status was written just now."""
    job = a_job().replicas(2).running()
    return job.stored(plan(job.view(now)).status)


def test_the_figures_of_rank_0_are_the_jobs() -> None:
    job = a_job().replicas(2).running()
    job.says(0, group_rank=1, progress=Progress(step=7, loss=9.0))
    progress = Progress(7, 100, 0.5, 1.25, 0, 0, 1000.0, 10.0, NOW - 1, checkpoint_step=5, checkpoint_at=NOW - 30)
    made = plan(job.says(1, group_rank=0, progress=progress).view())
    assert made.status.progress == JobProgress(
        step=7,
        total_steps=100,
        epoch=0.5,
        loss=1.25,
        tokens_per_second=1000.0,
        samples_per_second=10.0,
        updated_at=Timestamp(NOW - 1),
    )
    assert made.status.checkpoint.last_step == 5
    assert made.status.checkpoint.last_time == NOW - 30


@pytest.mark.parametrize(("after", "write", "wait"), [(1.0, False, 4.0), (4.9, False, 0.1), (5.0, True, None)])
def test_progress_is_written_at_most_every_5_seconds(after: float, write: bool, wait: float | None) -> None:
    job = _settled().says(0, progress=Progress(step=11, updated_at=NOW + after))
    made = plan(job.view(NOW + after))
    assert (made.write, made.urgent, made.requeue_after) == (write, False, wait)


@pytest.mark.parametrize(("interval", "after", "write"), [("1s", 4.9, False), ("1s", 5.0, True), ("1m", 59, False)])
def test_the_spec_makes_writes_of_progress_rarer_only(interval: str, after: float, write: bool) -> None:
    job = _settled().spec(metrics={"interval": interval}).says(0, progress=Progress(step=11, updated_at=NOW + after))
    made = plan(job.view(NOW + after))
    assert made.write is write
    assert made.requeue_after == (
        None if write else pytest.approx(max(5.0, 60.0 * (interval == "1m")) - after, abs=0.01)
    )


def test_a_transition_does_not_wait_for_the_interval_of_the_metrics() -> None:
    made = plan(_settled().spec(metrics={"interval": "1h"}).end(1, 1).view(NOW + 0.5))
    assert (made.write, made.urgent) == (True, True)


def test_nothing_new_is_not_written_and_only_the_claim_is_waited_for() -> None:
    made = plan(_settled().view(NOW + 60))
    assert (made.write, made.actions, made.events, made.requeue_after) == (False, (), (), RENEW - 60)


def test_a_transition_does_not_wait() -> None:
    made = plan(_settled().end(1, 1).view(NOW + 0.5))
    assert (made.write, made.urgent) == (True, True)


def test_a_loss_that_is_not_a_number_is_left_out() -> None:
    made = plan(a_job().replicas(1).running().says(0, progress=Progress(step=3, loss=float("nan"))).view())
    assert made.status.progress.step == 3
    assert made.status.progress.loss is None


def test_a_script_that_reports_nothing_is_said_to() -> None:
    job = a_job().replicas(1).running().says(0, reports=False, progress=Progress())
    assert plan(job.view()).status.progress == JobProgress(message="not reported")


def test_reports_of_an_older_incarnation_are_not_progress() -> None:
    job = a_job().replicas(1).running(incarnation=2)
    job.says(0, incarnation=1, progress=Progress(step=99))
    assert plan(job.view()).status.progress.step is None


def test_the_expected_end_follows_the_pace() -> None:
    job = a_job().replicas(1).running()
    job.status(progress=JobProgress(step=10, total_steps=100, updated_at=Timestamp(NOW - 10)))
    made = plan(job.says(0, progress=Progress(step=20, total_steps=100, updated_at=NOW)).view())
    assert made.status.progress.eta == NOW + 80
    job.stored(made.status).says(0, progress=Progress(step=20, total_steps=100, updated_at=NOW + 5))
    assert plan(job.view(NOW + 5)).status.progress.eta == NOW + 80
    restored = job.says(0, progress=Progress(step=15, total_steps=100, updated_at=NOW + 6))
    assert plan(restored.view(NOW + 6)).status.progress.eta is None


@pytest.mark.parametrize("at", [-1.0, float("nan"), float("inf"), 1e18])
def test_a_launcher_with_a_mad_clock_breaks_nothing(at: float) -> None:
    progress = Progress(step=5, total_steps=10, updated_at=at, checkpoint_step=1, checkpoint_at=at)
    made = plan(a_job().replicas(1).running().says(0, progress=progress).view())
    assert made.status.progress.updated_at is None
    assert made.status.checkpoint.last_time is None


def test_workers_are_counted() -> None:
    job = a_job().replicas(3).running().change(1, ready=False).end(2, 1)
    counts = plan(job.view()).status.workers
    assert (counts.desired, counts.active, counts.ready, counts.failed) == (3, 2, 1, 1)


def test_the_phase_of_pods_that_come_one_by_one_is_not_a_storm_of_writes() -> None:
    """A thousand pods that get ready within seconds are a few writes of counts, not a thousand."""
    job = a_job().replicas(3).admitted().up().without(1).without(2).status(phase=Phase.PENDING)
    first = plan(job.view())
    again = job.stored(first.status).view(NOW + 0.5)
    more = job.stored(first.status).change(0, ready=False)
    assert plan(again).write is False
    made = plan(more.view(NOW + 0.5))
    assert (made.write, made.urgent) == (False, False)
    assert made.requeue_after == 4.5


def test_done_members_are_no_recovery() -> None:
    job = a_job().replicas(2).running().says(0, state=LauncherState.DONE)
    assert plan(job.view()).status.phase == Phase.RUNNING


def test_the_interval_of_saves_that_the_ranks_found_is_shown() -> None:
    progress = Progress(step=10, checkpoint_step=7, checkpoint_at=NOW - 3, save_interval=412.4)
    job = (
        a_job().replicas(2).running().says(0, progress=progress).says(1, progress=replace(progress, save_interval=None))
    )
    made = plan(job.view())
    assert made.status.checkpoint.interval == 412.0
    silent = plan(job.stored(made.status).says(0, progress=replace(progress, save_interval=None)).view())
    assert silent.status.checkpoint.interval == 412.0
