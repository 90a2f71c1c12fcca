"""Who waits for a peer that is gone is released before it is told anything else, whatever it waits with it for."""

from __future__ import annotations

from typing import Any

import pytest
from plan_jobs import NOW, Job, a_job, a_pod, of

from dtj_api.names import LauncherState
from dtj_api.status import StoreStatus
from dtj_api.wire import Release
from dtj_operator.observe.view import STORE_INDEX
from dtj_operator.plan import SendMeet, SendRelease, plan

LOST = "the store 10.0.0.0:29400 is gone; the ranks go on without it"


def before_the_second_meeting(job: Job) -> Job:
    """Another store stands, and nobody has been told of it."""
    store = a_pod(STORE_INDEX, incarnation=2)
    job.status(incarnation=2, store=StoreStatus(uid=store.uid), phase="Recovering")
    return job.without(STORE_INDEX).pod(store)


def replaced(job: Job, index: int) -> Job:
    pod = a_pod(index, incarnation=2)
    known = [each for each in job._status.pods if each.index != index]
    return job.without(index).stands_ready(pod).status(pods=tuple(known))


@pytest.mark.parametrize(
    ("error", "whole", "released"),
    [(LOST, False, [0, 2]), (LOST, True, []), ("", False, [])],
    ids=["they would save first", "the store alone is lost", "the store was not lost"],
)
def test_who_would_save_with_a_lost_peer_before_it_moves_is_released_first(
    error: str, whole: bool, released: list[int]
) -> None:
    """Both are replaced by the time that somebody looks, as after a restart of the operator."""
    job = before_the_second_meeting(a_job().replicas(3).running())
    for index in range(3):
        job.says(index, error=error)
    if not whole:
        replaced(job, 1)
    made = plan(job.view())
    assert made.status.incarnation == 2
    assert [act.uid for act in of(made, SendRelease)] == [f"pod-{index}-1" for index in released]
    assert {act.message for act in of(made, SendRelease)} <= {Release(1, 1)}
    told = {act.pod for act in of(made, SendMeet)}
    assert told == {f"ner-worker-{index:04d}" for index in range(3) if index not in released}


@pytest.mark.parametrize("there", [True, False], ids=["the others are there", "one is still to come"])
def test_one_that_saves_before_it_leaves_is_released_too_when_a_peer_is_lost(there: bool) -> None:
    """Nothing would end its wait before its grace period, and its replacement waits for its name."""
    leaving: dict[str, Any] = {"deletion_at": NOW + 100, "disruption": "EvictionByEvictionAPI"}
    job = a_job().replicas(3).running().change(0, **leaving).says(0, state=LauncherState.DRAINING)
    whole = plan(job.view())
    assert of(whole, SendRelease) == []
    made = plan(job.end(1, 137).view())
    assert made.status.incarnation == 2
    if there:
        job.stored(made.status)
        replaced(job, 1)
        made = plan(job.view())
    assert {act.uid: act.message for act in of(made, SendRelease)} == {
        "pod-0-1": Release(1, 1),
        "pod-2-1": Release(1, 1),
    }


@pytest.mark.parametrize("stands", [True, False], ids=["another store stands", "no store yet"])
@pytest.mark.parametrize("met", [True, False], ids=["the others are told of it", "nobody is told of it"])
@pytest.mark.parametrize("leaves", [False, True], ids=["it stays", "it leaves with its node"])
def test_one_that_this_operator_has_not_heard_of_yet_is_no_lost_peer(stands: bool, met: bool, leaves: bool) -> None:
    """The store alone was lost and the operator began a moment ago: the ranks go on together, and save before they
    move. Whether the last pod is one of them is told by its first answer.
    """
    job = before_the_second_meeting(a_job().replicas(3).running())
    if met:
        job.status(store=StoreStatus(uid="store-2", address="10.0.0.0:29400"))
    if not stands:
        job.change(STORE_INDEX, ready=False, running_since=None)
    for index in range(3):
        job.says(index, error=LOST)
    job._reports.pop("pod-1-1")
    if leaves:
        job.change(1, deletion_at=NOW + 100, disruption="EvictionByEvictionAPI")
    assert of(plan(job.view()), SendRelease) == []
    silent = job.fields(unanswered={"pod-1-1": NOW - 60})
    assert [act.uid for act in of(plan(silent.view()), SendRelease)] == ["pod-0-1", "pod-2-1"]
