"""Whatever numbers the launchers of a job tell, its status can be stored: else nothing more is done about the job."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
from plan_jobs import NOW, Job, a_failure, a_job, a_pod, a_report
from report_values import numbers_of, told_at_the_bounds
from status_numbers import refused_numbers

from dtj_api.names import Cause, Phase
from dtj_api.scalars import Timestamp
from dtj_api.status import Interruption
from dtj_api.wire import Clock, LostSaves, Pace, Progress, Report, VolumeTry
from dtj_operator.observe.view import Reported
from dtj_operator.plan import plan


def _told(index: int) -> Report:
    return a_report(
        a_pod(index),
        round_=2,
        world_size=2,
        failures=(a_failure(at=NOW - 3, exit_code=-9, rank=1, step=9),),
        progress=Progress(
            step=10, total_steps=100, updated_at=NOW - 1, checkpoint_step=5, checkpoint_at=NOW - 390, save_interval=30.0
        ),
        clock=Clock(left_at=NOW - 2, formed_at=NOW - 1, first_step_at=NOW - 0.5, step_before=9, restored_step=5),
        paces=(Pace(index, 0.1 + index),),
        volume=VolumeTry(at=NOW - 90, seconds=0.1),
        lost_saves=LostSaves(step=5, at=NOW - 90),
    )


def _job() -> Job:
    every = {"auto": True, "steps": 10}
    return a_job().replicas(2).running().spec(checkpoint={"volume": {"claimName": "c"}, "every": every})


def _trains() -> Job:
    return _job()


def _recovers() -> Job:
    lost = Interruption(at=Timestamp(NOW - 9), cause=Cause.PROCESS_SIGNAL, detected_at=Timestamp(NOW - 8), step=8)
    return _job().status(phase=Phase.RECOVERING, interruption=lost)


def _loses_its_store() -> Job:
    return _job().end(-1)


@pytest.mark.parametrize("situation", [_trains, _recovers, _loses_its_store])
@pytest.mark.parametrize("part", sorted({path.partition(".")[0] for path in numbers_of(Report)}))
def test_numbers_at_their_bounds_in_any_two_fields_of_two_reports_make_no_status_that_is_refused(
    situation: Callable[[], Job], part: str
) -> None:
    first, second = ([each for path, each in told_at_the_bounds(_told(i)) if path.startswith(part)] for i in (0, 1))
    view = situation().view()
    for reports in product(first, second):
        made = plan(replace(view, reports={each.pod_uid: Reported(NOW, each) for each in reports}))
        assert refused_numbers(made.status) == [], reports
        assert made.requeue_after is None or 0 < made.requeue_after < math.inf, reports
