"""Of two releases that serve the same job one acts: it says so in the status first, and the other one believes it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from plan_jobs import NOW, a_job

from dtj_api.names import Condition, Phase, Reason
from dtj_operator.observe.view import SILENCE, Installation, JobView
from dtj_operator.plan import DryRunWorker, Plan, plan
from dtj_operator.plan.holder import RENEW

US, OTHER = Installation(release="ours/dtj"), "theirs/dtj"


def a_view(now: float = NOW, **fields: object) -> JobView:
    """A job that trains, as an operator of ours sees it."""
    job = a_job().replicas(2).running().fields(operator=US)
    settled = plan(job.view()).status
    return job.status(**dict(settled)).status(**fields).view(now)


def aged(view: JobView, seconds: float) -> JobView:
    return replace(view, status_age=seconds)


def test_the_first_status_that_is_written_is_a_claim() -> None:
    made = plan(a_job().replicas(2).admitted().fields(operator=US).view())
    assert (made.write, made.status.operator) == (True, US.release)


def test_asking_whether_pods_would_be_taken_makes_nothing_and_needs_no_claim() -> None:
    made = plan(a_job().fields(operator=US, created=NOW).view())
    assert [type(each) for each in made.actions] == [DryRunWorker]
    assert not made.write


@pytest.mark.parametrize("holder", ["", OTHER])
def test_nothing_is_done_before_the_claim_is_written(holder: str) -> None:
    """A job that an older version ran, or that another release has left, needs a pod and no other change."""
    job = a_job().replicas(2).up().without(1).fields(operator=US)
    first = plan(job.view())
    job.status(**dict(first.status)).status(operator=holder, updated_at=NOW - 1)
    made = plan(aged(job.view(), SILENCE))
    assert made.actions
    assert (made.write, made.urgent, made.status.operator) == (True, True, US.release)


def test_a_job_that_another_release_acts_on_is_left_alone_and_that_is_told() -> None:
    made = plan(aged(a_view(NOW + 3600, operator=OTHER, updated_at=NOW - 5 * SILENCE), SILENCE - 20))
    assert (made.write, made.actions, made.requeue_after) == (False, (), 20.0)
    (event,) = made.events
    assert (event.type, event.reason) == ("Warning", Reason.OTHER_OPERATOR)
    assert US.release in event.message
    assert OTHER in event.message


def test_what_another_release_wrote_is_as_old_as_it_looks_from_here_not_as_its_clock_says() -> None:
    assert plan(aged(a_view(operator=OTHER, updated_at=NOW + 10**6), SILENCE)).status.operator == US.release


def test_a_release_that_has_fallen_silent_is_followed() -> None:
    made = plan(aged(a_view(operator=OTHER), SILENCE))
    assert (made.write, made.status.operator) == (True, US.release)


@pytest.mark.parametrize(
    ("after", "write", "urgent"), [(RENEW - 1, False, False), (RENEW, True, False), (2 * RENEW, True, True)]
)
def test_a_claim_is_renewed_long_before_it_runs_out(after: float, write: bool, urgent: bool) -> None:
    made = plan(a_view(NOW + after))
    assert (made.write, made.urgent) == (write, urgent)
    assert made.requeue_after == (None if write else 1.0)
    assert 2 * RENEW < SILENCE / 2, "a write that waits for its share or is refused once is no loss of the claim"


def test_a_job_that_is_done_is_claimed_by_nobody_anew() -> None:
    job = a_job().fields(operator=US).status(phase=Phase.SUCCEEDED, operator=OTHER, updated_at=NOW)
    job.status(**dict(plan(aged(job.view(), SILENCE)).status)).status(operator=OTHER, updated_at=NOW)
    made = plan(aged(job.view(NOW + 10 * SILENCE), 10 * SILENCE))
    assert (made.write, made.actions, made.requeue_after) == (False, (), None)


@pytest.mark.parametrize("managed_by", ["example.com/other", "dtj.dev/operator", ""])
@pytest.mark.parametrize("answers_to", ["example.com/other", "dtj.dev/operator"])
def test_an_operator_acts_on_the_jobs_whose_managed_by_it_answers_to(managed_by: str, answers_to: str) -> None:
    job = a_job().replicas(2).admitted().fields(operator=Installation(answers_to), managed_by=managed_by)
    acts = (managed_by or "dtj.dev/operator") == answers_to
    made = plan(job.view())
    assert (bool(made.actions), made.write, made.events != ()) == (acts, acts, acts)


def test_a_spec_that_cannot_be_read_is_said_under_the_releases_name() -> None:
    made: Plan = plan(a_job().fields(spec=None, spec_error="no", operator=US).view())
    assert made.status.condition(Condition.ADMITTED) is not None
    assert made.status.operator == US.release


def unreadable(now: float = NOW, **status: object) -> JobView:
    """A job that trained when its spec became unreadable, which is said already."""
    job = a_job().replicas(2).running().fields(spec=None, spec_error="no", operator=US)
    return job.status(**dict(plan(job.view()).status)).status(**status).view(now)


@pytest.mark.parametrize(("after", "write", "again"), [(RENEW - 1, False, 1.0), (RENEW, True, RENEW)])
def test_a_claim_is_renewed_also_while_the_spec_cannot_be_read(after: float, write: bool, again: float) -> None:
    """What runs, runs on: another release that took the job would begin it anew."""
    made = plan(unreadable(NOW + after))
    assert (made.write, made.events, made.requeue_after) == (write, (), again)
    if write:
        assert (made.status.operator, made.status.updated_at) == (US.release, NOW + after)


def test_one_that_another_release_has_left_is_taken_though_its_spec_cannot_be_read() -> None:
    made = plan(aged(unreadable(operator=OTHER), SILENCE))
    assert (made.write, made.urgent, made.status.operator) == (True, True, US.release)


def test_a_time_that_an_older_crd_drops_is_not_written_for_ever() -> None:
    made = plan(unreadable(NOW + 10 * SILENCE, updated_at=None))
    assert (made.write, made.requeue_after) == (False, None)
