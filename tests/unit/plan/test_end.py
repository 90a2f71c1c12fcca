"""How a job ends, and what is left of it."""

from __future__ import annotations

import pytest
from plan_jobs import NOW, a_failure, a_job, a_spec, deleted, of
from plan_world import World

from dtj_api.names import Component, Condition, LauncherState, Phase, Reason
from dtj_api.wire import Progress, Stop
from dtj_operator.observe.view import STORE_INDEX
from dtj_operator.plan import CreateWorker, DeleteJob, DeletePod, SendStop, plan


def _done(job, *indices: int):
    for index in indices:
        job.says(index, state=LauncherState.DONE)
    return job


def test_all_members_report_that_they_are_through() -> None:
    job = _done(a_job().replicas(2).running(), 0, 1)
    made = plan(job.says(0, progress=Progress(step=100, total_steps=100, updated_at=NOW)).view())
    assert made.status.phase == Phase.SUCCEEDED
    assert made.status.is_true(Condition.SUCCEEDED)
    assert made.status.completion_time == NOW
    assert made.status.progress.step == 100
    assert made.actions == ()
    assert made.urgent


def test_a_rank_that_died_shortly_before_the_end_is_counted_with_the_success() -> None:
    """The rounds after it may be over before the ranks are looked at again."""
    job = _done(a_job().replicas(2).running(round_=2), 0, 1).says(1, failures=(a_failure(1, exit_code=-9),))
    made = plan(job.view())
    assert made.status.phase == Phase.SUCCEEDED
    assert made.status.restarts.counted == 1
    assert made.status.restarts.by_cause == {"ProcessSignal": 1}
    assert [event.reason for event in made.events] == [Reason.RANK_FAILED, Reason.COMPLETED]


def test_exit_0_of_all_members_is_success_without_any_report() -> None:
    assert plan(a_job().replicas(2).running().silent().end(0, 0).end(1, 0).view()).status.phase == Phase.SUCCEEDED


def test_a_member_that_was_through_is_not_replaced_when_it_goes() -> None:
    job = _done(a_job().replicas(2).running(), 0)
    made = plan(job.view())
    assert made.status.finished_members == (0,)
    assert made.status.phase == Phase.RUNNING
    gone = plan(job.stored(made.status).without(0).view())
    assert gone.actions == ()
    assert gone.status.restarts.by_cause == {}
    assert plan(job.end(1, 0).view()).status.phase == Phase.SUCCEEDED


def test_a_store_that_goes_with_the_last_member_costs_nothing() -> None:
    job = _done(a_job().replicas(2).running(), 0, 1).without(STORE_INDEX)
    assert plan(job.view()).status.phase == Phase.SUCCEEDED


def test_who_ended_in_an_older_incarnation_is_needed_again() -> None:
    """It went through while its peer was lost: the peer's ranks never were."""
    job = a_job().replicas(2).running().end(0, 0)
    job.status(incarnation=2, store=job.view().status.store)
    made = plan(job.view())
    assert made.status.phase != Phase.SUCCEEDED
    assert deleted(made) == ["pod-0-1"]
    assert made.status.restarts.by_cause == {}
    later = plan(job.stored(made.status).without(0).view())
    assert CreateWorker("ner-worker-0000", 0, 2) in later.actions


def test_a_job_that_is_given_up_stops_its_workers() -> None:
    job = a_job().replicas(2).spec(failurePolicy={"maxRestarts": 0}).running().end(1, 1, "boom")
    made = plan(job.view())
    assert made.status.phase == Phase.FAILED
    assert [(act.uid, act.message) for act in of(made, SendStop)] == [("pod-0-1", Stop(1, save=False))]
    late = a_job().replicas(1).spec(lifecycle={"activeDeadline": "50s"}).running()
    assert [act.message for act in of(plan(late.view()), SendStop)] == [Stop(1, save=True)]


def test_at_the_end_nothing_is_sent_to_a_worker_that_is_lost_with_its_node() -> None:
    job = a_job().replicas(3).spec(lifecycle={"activeDeadline": "50s"}).running()
    job.node("node-b", ready=False, not_ready_since=NOW - 500).change(2, deletion_at=NOW + 100)
    made = plan(job.view())
    assert made.status.phase == Phase.FAILED
    assert [act.uid for act in of(made, SendStop)] == ["pod-0-1", "pod-2-1"], "who leaves hears it all the same"


def _overdue(keep: str):
    lifecycle = {"activeDeadline": "50s", "cleanPods": keep}
    job = a_job().replicas(1).spec(lifecycle=lifecycle).running()
    return job.stored(plan(job.view()).status)


@pytest.mark.parametrize(
    ("keep", "after", "save"),
    [("Running", 2, True), ("Running", 29, True), ("None", 31, True), ("None", 119, True), ("None", 120, False)],
)
def test_who_is_told_once_more_is_told_the_same_until_a_save_had_its_time(keep: str, after: float, save: bool) -> None:
    """The first message may be lost, and with it what was trained since the last checkpoint."""
    made = plan(_overdue(keep).view(NOW + after))
    assert [act.message for act in of(made, SendStop)] == [Stop(1, save=save)]


def test_a_pod_that_is_deleted_while_it_saves_keeps_its_own_grace() -> None:
    (gone,) = of(plan(_overdue("Running").view(NOW + 30)), DeletePod)
    assert (gone.name, gone.grace) == ("ner-worker-0000", None)


@pytest.mark.parametrize(
    ("members", "address", "incarnation"),
    [((0,), "10.0.0.0:29400", 3), ((0,), "", 0), ((), "10.0.0.0:29400", 0)],
    ids=["it was told to meet", "nobody was told yet", "a newcomer"],
)
def test_a_worker_that_has_not_spoken_yet_is_told_under_the_number_that_it_must_be_in(
    members: tuple[int, ...], address: str, incarnation: int
) -> None:
    """The operator may be a new process, and of a job that is done it asks for no reports."""
    job = a_job().replicas(1).running(incarnation=3).silent()
    store = job.view().status.store.model_copy(update={"address": address})
    job.status(phase=Phase.FAILED, completion_time=NOW, resumed_at=None, members=members, store=store)
    assert [act.message for act in of(plan(job.view(NOW + 1)), SendStop)] == [Stop(incarnation, save=False)]


@pytest.mark.parametrize("keep", ["Running", "All", "None"])
@pytest.mark.parametrize("fault", ["none", "store", "spare"])
def test_every_end_ends_its_pods(keep: str, fault: str) -> None:
    """A launcher whose ranks are through and whose store is gone waits for word: nothing else tells it the end."""
    world = World(a_spec(workers={"replicas": 2}, lifecycle={"cleanPods": keep}))
    world.run(lambda: world.step >= 3)
    if fault == "spare":
        world.spec["workers"]["replicas"] = 3  # It stands ready when the others are through, and is never called.
    world.run()
    assert world.status.phase == Phase.SUCCEEDED
    if fault == "store":
        world.vanish(next(uid for uid, pod in world.pods.items() if pod.component == Component.STORE))
    world.run(lambda: False, seconds=200)
    left = world.pods.values()
    assert all(pod.terminated is not None for pod in left)
    assert Component.STORE not in {pod.component for pod in left}
    last = plan(world.view())
    assert (last.write, last.actions, last.requeue_after) == (False, (), None)


def _finished(phase: Phase, keep: str, **lifecycle: str):
    job = a_job().replicas(3).spec(lifecycle={"cleanPods": keep, **lifecycle}).running()
    job.end(0, 0).end(1, 1).status(phase=phase, completion_time=NOW, resumed_at=None)
    return job


@pytest.mark.parametrize("phase", [Phase.SUCCEEDED, Phase.FAILED])
@pytest.mark.parametrize(
    ("keep", "after", "gone"),
    [
        ("Running", 1, set()),
        ("Running", 30, {"pod-2-1"}),
        ("All", 1, {"pod-0-1", "pod-1-1"}),
        ("All", 30, {"pod-0-1", "pod-1-1", "pod-2-1"}),
        ("None", 30, set()),
    ],
)
def test_clean_pods(phase: Phase, keep: str, after: float, gone: set[str]) -> None:
    made = plan(_finished(phase, keep).view(NOW + after))
    assert set(deleted(made)) == gone
    stops = [act.uid for act in of(made, SendStop)]
    # With None nobody deletes it: it is told until it goes.
    told = keep == "None" if after >= 30 else phase == Phase.FAILED
    assert stops == (["pod-2-1"] if told else [])


@pytest.mark.parametrize(
    ("keep", "after", "goes"), [("Running", 29, False), ("Running", 30, True), ("None", 30, False)]
)
def test_a_sidecar_that_never_ends_goes_with_its_pod(keep: str, after: float, goes: bool) -> None:
    job = _finished(Phase.SUCCEEDED, keep).end(2, 0).change(1, phase="Running").without(STORE_INDEX)
    made = plan(job.view(NOW + after))
    assert deleted(made) == (["pod-1-1"] if goes else [])
    if keep == "Running" and not goes:
        assert made.requeue_after == 1


def test_a_pod_whose_sidecar_never_ends_is_deleted_once_with_all_others() -> None:
    job = _finished(Phase.SUCCEEDED, "All").end(2, 0).change(1, phase="Running").without(STORE_INDEX)
    assert sorted(deleted(plan(job.view(NOW + 30)))) == ["pod-0-1", "pod-1-1", "pod-2-1"]


@pytest.mark.parametrize("keep", ["Running", "All", "None"])
def test_the_store_goes_when_nobody_runs(keep: str) -> None:
    job = _finished(Phase.SUCCEEDED, keep).end(2, 0)
    assert "store-1" in set(deleted(plan(job.view(NOW + 1))))


def test_a_pod_that_never_ran_does_not_start_after_the_end() -> None:
    job = _finished(Phase.FAILED, "None").change(2, phase="Pending", ip="")
    assert deleted(plan(job.view(NOW + 1))) == ["pod-2-1"]


@pytest.mark.parametrize(("after", "goes"), [(59, False), (60, True)])
def test_the_job_goes_after_its_time_to_live(after: float, goes: bool) -> None:
    job = _finished(Phase.SUCCEEDED, "Running", ttlAfterFinished="60s").end(2, 0).without(STORE_INDEX)
    made = plan(job.view(NOW + after))
    assert (DeleteJob(job.view().uid) in made.actions) is goes
    if not goes:
        assert made.requeue_after == 1


def test_what_is_done_stays_done() -> None:
    job = _finished(Phase.FAILED, "Running").spec(suspend=True).replicas(9)
    made = plan(job.view(NOW + 1))
    assert made.status.phase == Phase.FAILED
    assert made.status.restarts.by_cause == {}
    assert made.status.condition(Condition.SUSPENDED) is None


def test_the_reason_of_success() -> None:
    made = plan(_done(a_job().replicas(1).running(), 0).view())
    assert [(event.type, event.reason) for event in made.events] == [("Normal", Reason.COMPLETED)]
