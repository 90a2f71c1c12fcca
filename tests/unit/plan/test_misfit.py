"""A running job that is scaled to a size which its layout does not fit goes on as it is, and says why."""

from __future__ import annotations

import pytest
from plan_jobs import TRAINER, Job, a_job, a_pod, a_report, of

from dtj_api.names import Cause, Condition, LauncherState, Phase, Reason
from dtj_api.status import WorkerCounts
from dtj_operator.plan import CreateWorker, Plan, SendSave, plan

CHECKPOINT = {"volume": {"claimName": "data"}}


def _pairs(replicas: int = 4) -> Job:
    """A job that trains, whose ranks come in pairs."""
    job = a_job().replicas(replicas).built_in().spec(trainer={**TRAINER, "parallel": {"dataShard": 2}})
    job.spec(checkpoint=CHECKPOINT).running()
    return job.stored(plan(job.view()).status)


def _admitted(made: Plan) -> tuple[str, str, str]:
    found = made.status.condition(Condition.ADMITTED)
    assert found is not None
    return found.status, found.reason, found.message


@pytest.mark.parametrize("replicas", [3, 5, 1])
def test_it_trains_on_in_its_size_and_says_why(replicas: int) -> None:
    job = _pairs().replicas(replicas)
    made = plan(job.view())
    assert made.actions == (), "nobody is made, asked to save or sent away"
    assert (made.status.phase, made.status.members) == (Phase.RUNNING, (0, 1, 2, 3))
    status, reason, message = _admitted(made)
    assert (status, reason) == ("False", Reason.INVALID_SPEC)
    assert f"parallel: dataShard 2 x dataReplicate -1 x tensor 1 does not make the {replicas} ranks" in message
    assert "until then it goes on with 4 workers" in message
    assert [(event.type, event.reason) for event in made.events] == [("Warning", Reason.INVALID_SPEC)]
    assert plan(job.stored(made.status).view()).events == (), "said once"


def test_a_worker_that_is_lost_meanwhile_is_replaced_in_that_size() -> None:
    job = _pairs().replicas(3)
    job.stored(plan(job.view()).status)
    lost = plan(job.without(3).view())
    assert [each.index for each in of(lost, CreateWorker)] == [3]
    assert lost.status.restarts.by_cause == {Cause.GONE: 1}
    assert len(lost.status.members) == 4


def test_a_size_that_fits_is_taken_and_the_condition_is_over() -> None:
    job = _pairs().replicas(3)
    job.stored(plan(job.view()).status)
    back = plan(job.replicas(4).view())
    assert back.actions == ()
    assert _admitted(back)[:2] == ("True", Reason.ADMITTED)
    smaller = plan(job.replicas(2).view())
    assert _admitted(smaller)[:2] == ("True", Reason.ADMITTED)
    assert len(of(smaller, SendSave)) == 4


def test_a_lower_bound_that_does_not_fit_makes_nothing_elastic() -> None:
    job = _pairs().replicas(4, least=3)
    made = plan(job.view())
    assert _admitted(made)[:2] == ("False", Reason.INVALID_SPEC)
    waiting = job.stored(made.status).status(phase=Phase.RECOVERING, incarnation_at=1.0).without(3)
    assert len(plan(waiting.view()).status.members) == 4, "it does not go on with 3"


def test_a_job_that_waits_for_its_first_pods_is_held_too() -> None:
    job = _pairs().status(phase=Phase.PENDING).without(3).replicas(3)
    made = plan(job.view())
    assert [each.index for each in of(made, CreateWorker)] == [3]


def test_a_size_that_is_not_known_is_that_of_the_members() -> None:
    job = _pairs().status(workers=WorkerCounts()).replicas(3)
    made = plan(job.view())
    assert made.status.members == (0, 1, 2, 3)
    assert made.status.workers.desired == 4


def test_a_suspended_job_is_refused_when_it_resumes() -> None:
    job = _pairs().replicas(3)
    asleep = plan(job.spec(suspend=True).view())
    assert asleep.status.phase == Phase.SUSPENDED
    for index in range(4):
        job.without(index)
    job.without(-1)
    made = plan(job.stored(asleep.status).spec(suspend=False).view())
    assert _admitted(made)[:2] == ("False", Reason.INVALID_SPEC)
    assert made.actions == ()


def test_a_spec_that_can_be_read_again_is_admitted_again() -> None:
    job = _pairs()
    unread = plan(job.fields(spec=None, spec_error="spec.workers: required, but missing").view())
    assert _admitted(unread)[0] == "False"
    job._fields.pop("spec")
    assert _admitted(plan(job.stored(unread.status).view()))[:2] == ("True", Reason.ADMITTED)


def test_newcomers_of_a_size_that_fits_are_waited_for_as_ever() -> None:
    job = _pairs(2).replicas(4)
    for index in (2, 3):
        pod = a_pod(index)
        job.pod(pod, a_report(pod, incarnation=0, round_=0, state=LauncherState.WAITING, group_rank=-1))
    assert len(of(plan(job.view()), SendSave)) == 2
