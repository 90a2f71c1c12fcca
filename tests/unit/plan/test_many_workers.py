"""A plan for many workers compares each of them with a few others, not with all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from plan_jobs import NOW, Job, a_job

from dtj_api.names import LauncherState, Phase
from dtj_operator.observe.view import JobView
from dtj_operator.plan import plan

compared = 0


class Index(int):
    """An index that counts with how many others it is compared."""

    def __eq__(self, other: object) -> bool:
        global compared
        compared += 1
        return int(self) == other

    __hash__ = int.__hash__


class Uid(str):
    """Likewise."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        global compared
        compared += 1
        return str(self) == other

    __hash__ = str.__hash__


def _trains(count: int) -> Job:
    return a_job().replicas(count, least=1).running()


def _one_is_lost(count: int) -> Job:
    return _trains(count).without(count // 2)


def _all_are_lost(count: int) -> Job:
    job = _trains(count)
    for index in range(count):
        job.end(index, 1)
    return job


def _recovers(count: int) -> Job:
    job = _trains(count).status(phase=Phase.RECOVERING, incarnation=2, incarnation_at=NOW - 60)
    return job.status(store=job.view().status.store.model_copy(update={"address": ""}))


def _grows(count: int) -> Job:
    return _trains(count).replicas(count + 5, least=1)


def _one_failed(count: int) -> Job:
    return _trains(count).says(0, state=LauncherState.MEETING)


def _counting(view: JobView) -> JobView:
    status = view.status
    changes = {
        "members": tuple(map(Index, status.members)),
        "pods": tuple(
            each.model_copy(update={"index": Index(each.index), "uid": Uid(each.uid)}) for each in status.pods
        ),
        "counted_pods": tuple(map(Uid, status.counted_pods)),
    }
    pods = tuple(replace(pod, index=Index(pod.index), uid=Uid(pod.uid)) for pod in view.pods)
    return replace(view, status=status.model_copy(update=changes), pods=pods)


@pytest.mark.parametrize("build", [_trains, _one_is_lost, _all_are_lost, _recovers, _grows, _one_failed])
def test_the_comparisons_grow_with_the_workers_and_not_with_their_square(build) -> None:
    global compared
    for count in (100, 400):
        view = _counting(build(count).view())
        compared = 0
        plan(view)
        assert compared <= 100 * count, (count, compared / count)
