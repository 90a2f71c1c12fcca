"""A job that is not done always says what it waits for, in the words of whoever makes it wait."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from plan_jobs import NO_NODE, NOW, Job, a_job, a_pod, a_report

from dtj_api.names import Condition, LauncherState, Phase, Reason
from dtj_api.wire import Progress
from dtj_operator.observe.view import STORE_INDEX
from dtj_operator.plan import Plan, plan

NO_STEP = Progress(updated_at=NOW)

WAITS: dict[str, tuple[Callable[[], Job], Phase, bool, Reason, str]] = {
    "pods are to be made": (
        lambda: a_job().replicas(2).started(),
        Phase.PENDING,
        True,
        Reason.WAITING_FOR_PODS,
        "2 of 2 worker pods are to be made",
    ),
    "the scheduler": (
        lambda: a_job().replicas(2).up().not_up(1, ip="", node="", unschedulable="0/3 nodes: insufficient gpu"),
        Phase.PENDING,
        False,
        Reason.UNSCHEDULABLE,
        "pod ner-worker-0001: 0/3 nodes: insufficient gpu",
    ),
    "the image": (
        lambda: a_job().replicas(2).up().not_up(0, waiting_reason="ImagePullBackOff", waiting_message="nope"),
        Phase.STARTING,
        False,
        Reason.IMAGE_PULL,
        "pod ner-worker-0000: ImagePullBackOff: nope",
    ),
    "a missing ConfigMap": (
        lambda: a_job().replicas(1).up().not_up(0, waiting_reason="CreateContainerConfigError", waiting_message="no x"),
        Phase.STARTING,
        False,
        Reason.CANNOT_START,
        "pod ner-worker-0000: CreateContainerConfigError: no x",
    ),
    "a node that takes its time": (
        lambda: a_job().replicas(2).up().not_up(0),
        Phase.STARTING,
        True,
        Reason.WAITING_FOR_PODS,
        "1 of 2 workers are not there yet: pod ner-worker-0000: node node-a has not started its container yet",
    ),
    "an init container": (
        lambda: a_job().replicas(2).up().not_up(1, init="fetch-data"),
        Phase.STARTING,
        True,
        Reason.WAITING_FOR_PODS,
        "1 of 2 workers are not there yet: pod ner-worker-0001: its init container fetch-data is not through yet",
    ),
    "a launcher": (
        lambda: a_job().replicas(2).up().silent(),
        Phase.STARTING,
        True,
        Reason.WAITING_FOR_PODS,
        "2 of 2 workers are not there yet: pod ner-worker-0000 runs, and its launcher does not answer yet",
    ),
    "whoever does not come by himself, before those who only take time": (
        lambda: a_job().replicas(3).up().not_up(0).not_up(2, waiting_reason="ErrImagePull", waiting_message="nope"),
        Phase.STARTING,
        False,
        Reason.IMAGE_PULL,
        "pod ner-worker-0002: ErrImagePull: nope",
    ),
    "the store": (
        lambda: a_job().replicas(1).up().change(STORE_INDEX, ready=False),
        Phase.STARTING,
        True,
        Reason.WAITING_FOR_STORE,
        "pod ner-store is not ready yet",
    ),
    "the store's node": (
        lambda: a_job().replicas(1).up().change(STORE_INDEX, **NO_NODE, unschedulable="no cpu"),
        Phase.STARTING,
        False,
        Reason.UNSCHEDULABLE,
        "pod ner-store: no cpu",
    ),
    "the meeting": (
        lambda: _formed(2).says(1, state=LauncherState.MEETING),
        Phase.STARTING,
        True,
        Reason.MEETING,
        "1 of 2 workers are in a round of incarnation 1",
    ),
    "a launcher that gave up": (
        lambda: _formed(2).says(1, state=LauncherState.FAILED, error="nobody came within 600 s"),
        Phase.STARTING,
        True,
        Reason.RANK_FAILED,
        "pod ner-worker-0001: nobody came within 600 s",
    ),
    "the first step": (
        lambda: _formed(1).says(0, progress=NO_STEP),
        Phase.STARTING,
        True,
        Reason.FIRST_STEP_PENDING,
        "the round has formed; the ranks have not reported a step yet",
    ),
}


def _formed(count: int) -> Job:
    return a_job().replicas(count).running().status(phase=Phase.STARTING)


def _condition(made: Plan, kind: Condition) -> tuple[str, str, str]:
    found = made.status.condition(kind)
    assert found is not None
    return found.status, found.reason, found.message


@pytest.mark.parametrize("case", WAITS)
def test_what_a_job_waits_for(case: str) -> None:
    build, phase, progressing, reason, message = WAITS[case]
    made = plan(build().view())
    assert made.status.phase == phase
    assert _condition(made, Condition.PROGRESSING) == (str(progressing), reason, message)
    assert _condition(made, Condition.READY) == ("False", reason, message)
    assert [event.reason for event in made.events if event.type == "Warning"] == ([] if progressing else [reason])
    again = plan(build().stored(made.status).view(NOW + 60))
    assert [event for event in again.events if event.type == "Warning"] == []


@pytest.mark.parametrize(
    ("state", "reports", "step", "phase"),
    [
        (LauncherState.TRAINING, True, 1, Phase.RUNNING),
        (LauncherState.TRAINING, True, None, Phase.STARTING),
        (LauncherState.TRAINING, False, None, Phase.RUNNING),
        (LauncherState.STARTING, True, None, Phase.STARTING),
        (LauncherState.MEETING, False, None, Phase.STARTING),
    ],
)
def test_running_means_a_step_or_a_round_of_a_script_that_reports_none(
    state: str, reports: bool, step: int | None, phase: Phase
) -> None:
    job = _formed(2)
    for index in (0, 1):
        job.says(index, state=state, reports=reports, progress=Progress(step=step))
    assert plan(job.view()).status.phase == phase


def test_running_is_left_on_evidence_only() -> None:
    assert plan(a_job().replicas(2).running().silent().view()).status.phase == Phase.RUNNING
    meeting = a_job().replicas(2).running().says(0, state=LauncherState.MEETING)
    assert plan(meeting.view()).status.phase == Phase.RECOVERING


def test_a_recovery_ends_with_the_first_step_of_the_next_round() -> None:
    job = a_job().replicas(2).running(round_=2).status(phase=Phase.RECOVERING)
    counted = job.view().status.counted.model_copy(update={"incarnation": 1, "round": 1})
    job.status(counted=counted)
    assert plan(job.view()).status.phase == Phase.RUNNING
    assert plan(job.says(1, round=1).view()).status.phase == Phase.RECOVERING


def test_trained_by_all_is_ready() -> None:
    made = plan(a_job().replicas(2).running().view())
    assert _condition(made, Condition.READY) == ("True", Reason.ALL_READY, "all wanted workers train")
    assert _condition(made, Condition.PROGRESSING) == ("True", Reason.TRAINING, "training")


def test_trained_by_fewer_is_degraded_and_says_for_whom_it_waits() -> None:
    job = a_job().replicas(2, least=1).running().status(members=(0,), min_members=1)
    made = plan(job.not_up(1, ip="", node="", unschedulable="no gpu").view())
    assert made.status.phase == Phase.RUNNING
    text = "training goes on with 1 of 2 workers; pod ner-worker-0001: no gpu"
    assert _condition(made, Condition.DEGRADED) == ("True", Reason.FEWER_WORKERS, text)


def test_a_condition_keeps_the_time_of_its_last_change() -> None:
    first = plan(a_job().replicas(2).running().view())
    later = plan(a_job().replicas(2).running().stored(first.status).view(NOW + 60))
    for kind in (Condition.READY, Condition.PROGRESSING):
        found = later.status.condition(kind)
        assert found is not None
        assert found.last_transition_time == NOW
    lost = plan(a_job().replicas(2).running().stored(first.status).end(1, 1).view(NOW + 60))
    ready = lost.status.condition(Condition.READY)
    assert ready is not None
    assert (ready.status, ready.last_transition_time) == ("False", NOW + 60)


def test_a_volume_that_is_not_shared() -> None:
    job = a_job().replicas(2).running().says(1, volume_shared=False)
    made = plan(job.view())
    status, reason, message = _condition(made, Condition.VOLUME_NOT_SHARED)
    assert (status, reason) == ("True", Reason.VOLUME_NOT_SHARED)
    assert "ner-worker-0001" in message
    mended = plan(job.stored(made.status).says(1, volume_shared=True).view())
    assert _condition(mended, Condition.VOLUME_NOT_SHARED)[:2] == ("False", Reason.VOLUME_SHARED)


@pytest.mark.parametrize(("seconds", "warned"), [(60.0, False), (61.0, True)])
def test_a_save_that_takes_more_than_half_of_the_grace(seconds: float, warned: bool) -> None:
    job = a_job().replicas(1).running()
    progress = replace(a_report(a_pod(0)).progress, checkpoint_seconds=seconds)
    made = plan(job.says(0, progress=progress).view())
    assert made.status.is_true(Condition.GRACE_TOO_SHORT) is warned
    faster = plan(job.stored(made.status).says(0, progress=replace(progress, checkpoint_seconds=5.0)).view())
    assert not faster.status.is_true(Condition.GRACE_TOO_SHORT)


def test_how_the_command_runs_is_told_once() -> None:
    job = _formed(1).says(0, run_as="subprocess")
    made = plan(job.view())
    assert Reason.RUNS_AS_SUBPROCESS in [event.reason for event in made.events]
    assert plan(job.stored(made.status).view(NOW + 60)).events == ()


def test_that_ranks_are_no_forks_where_that_was_asked_for_is_no_news() -> None:
    made = plan(_formed(1).spec(launcher={"preload": False}).says(0, run_as="subprocess").view())
    assert Reason.RUNS_AS_SUBPROCESS not in [event.reason for event in made.events]
    assert Reason.TRAINING in [event.reason for event in made.events]


def test_where_members_gave_up_waiting_they_meet_again() -> None:
    job = a_job().replicas(2).running().status(phase=Phase.STARTING, incarnation_at=NOW - 599)
    job.says(0, state=LauncherState.FAILED, error="nobody came").says(1, state=LauncherState.MEETING)
    assert plan(job.view()).status.incarnation == 1
    made = plan(job.view(NOW + 1))
    assert made.status.incarnation == 2
    assert made.status.restarts.by_cause == {}
