"""Running without a step: a script that reports none trains as soon as its ranks run, unless one says that it loads."""

from __future__ import annotations

from dataclasses import replace

import pytest
from plan_jobs import NOW, Job, a_job

from dtj_api.names import Condition, Phase, Reason
from dtj_api.wire import Clock, Progress
from dtj_operator.plan import plan


def _formed(clock: Clock, phase: str = "", *, other: str = "") -> Job:
    """The first round has formed, and no rank has ever reported a step."""
    job = a_job().replicas(2).running().status(phase=Phase.STARTING)
    for index, said in enumerate((phase, other)):
        job.says(index, reports=False, clock=clock, progress=Progress(phase=said))
    return job


LONG_AGO = Clock(formed_at=NOW - 500, started_at=NOW - 499)
SPOKEN = replace(LONG_AGO, spoke_at=NOW - 490)


@pytest.mark.parametrize(
    ("clock", "phase", "expected"),
    [
        (Clock(), "", Phase.RUNNING),
        (LONG_AGO, "", Phase.RUNNING),
        (SPOKEN, "restore", Phase.STARTING),
        # A script may use dtj for its checkpoints alone.
        (replace(SPOKEN, restored_step=7), "", Phase.RUNNING),
        (SPOKEN, "checkpoint", Phase.RUNNING),
        (replace(SPOKEN, restored_at=NOW - 2), "train", Phase.RUNNING),
        # The first word has not been waited for yet.
        (Clock(formed_at=NOW - 1), "", Phase.STARTING),
        (Clock(formed_at=NOW - 9, started_at=NOW - 1), "", Phase.STARTING),
        (Clock(formed_at=NOW - 9, started_at=NOW - 1, spoke_at=NOW - 1), "train", Phase.RUNNING),
        # A clock that is off says nothing.
        (Clock(formed_at=NOW + 3600, started_at=NOW + 3601), "", Phase.RUNNING),
    ],
)
def test_what_ranks_say_before_any_step(clock: Clock, phase: str, expected: Phase) -> None:
    made = plan(_formed(clock, phase).view())
    assert made.status.phase == expected
    progressing = made.status.condition(Condition.PROGRESSING)
    assert progressing is not None
    assert progressing.reason == (Reason.TRAINING if expected == Phase.RUNNING else Reason.FIRST_STEP_PENDING)


def test_one_rank_that_loads_is_enough() -> None:
    assert plan(_formed(LONG_AGO, other="restore").view()).status.phase == Phase.STARTING


def test_the_first_word_is_waited_for_a_moment_only() -> None:
    job = _formed(Clock(formed_at=NOW - 2, started_at=NOW - 1))
    first = plan(job.view())
    assert first.requeue_after == 2
    assert plan(job.stored(first.status).view(NOW + 2)).status.phase == Phase.RUNNING


def test_a_job_that_loads_again_after_a_loss_has_not_recovered() -> None:
    job = _formed(LONG_AGO, "restore").status(phase=Phase.RECOVERING)
    assert plan(job.view()).status.phase == Phase.RECOVERING
