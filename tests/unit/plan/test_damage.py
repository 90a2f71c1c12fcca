"""A checkpoint that was found damaged is told once, and until a later one is there."""

from __future__ import annotations

from dataclasses import replace

from plan_jobs import NOW, a_job

from dtj_api.names import Condition, Reason
from dtj_api.scalars import Timestamp
from dtj_api.status import CheckpointStatus
from dtj_api.wire import Progress
from dtj_operator.plan import Plan, plan

FOUND = "step-20.i1: model is missing"


def _damaged(*texts: str):
    return a_job().replicas(2).running().says(0, damaged=texts)


def _told(made: Plan) -> list[str]:
    return [event.message for event in made.events if event.reason == Reason.CHECKPOINT_DAMAGED]


def _condition(made: Plan):
    found = made.status.condition(Condition.CHECKPOINT_DAMAGED)
    assert found is not None
    return found.status, found.reason, found.message


def test_it_is_a_condition_an_event_and_in_the_status() -> None:
    made = plan(_damaged(FOUND).view())
    assert made.status.checkpoint.damaged == (FOUND,)
    assert _told(made) == [f"a checkpoint is damaged and was passed over: {FOUND}"]
    assert _condition(made) == ("True", Reason.CHECKPOINT_DAMAGED, FOUND)
    assert made.urgent


def test_it_is_told_once_whoever_tells_it_again() -> None:
    job = _damaged(FOUND)
    first = plan(job.view())
    second = plan(job.stored(first.status).says(1, damaged=(FOUND, "step-9.i1: x")).view(NOW + 10))
    assert _told(second) == []
    assert second.status.checkpoint.damaged == (FOUND,)


def test_the_rank_0_of_the_last_round_is_believed() -> None:
    job = _damaged(FOUND).says(1, group_rank=0, round=2, damaged=("step-30.i2: x",))
    assert plan(job.view()).status.checkpoint.damaged == ("step-30.i2: x",)


def test_each_one_has_its_event_and_the_last_ones_are_kept() -> None:
    texts = tuple(f"step-{number}.i1: model is missing" for number in range(1, 8))
    job = _damaged(*texts[:5])
    first = plan(job.view())
    assert len(_told(first)) == 5
    second = plan(job.stored(first.status).says(0, damaged=texts[2:]).view(NOW + 1))
    assert len(_told(second)) == 2
    assert second.status.checkpoint.damaged == texts[2:]
    assert second.urgent


def test_a_later_checkpoint_ends_the_condition_and_nothing_is_forgotten() -> None:
    job = _damaged(FOUND)
    first = plan(job.view())
    before = Progress(step=25, total_steps=100, checkpoint_step=20, checkpoint_at=NOW - 50)
    still = plan(job.stored(first.status).says(0, progress=before).view(NOW + 10))
    assert _condition(still)[0] == "True"
    after = replace(before, step=40, checkpoint_step=30, checkpoint_at=NOW + 20)
    made = plan(job.stored(still.status).says(0, progress=after).view(NOW + 21))
    assert _condition(made) == ("False", Reason.CHECKPOINT_WHOLE, "the checkpoint of step 30 was published after it")
    assert made.status.checkpoint == CheckpointStatus(last_step=30, last_time=Timestamp(NOW + 20), damaged=(FOUND,))
    assert _told(plan(job.stored(made.status).view(NOW + 30))) == []


def test_a_job_without_such_has_no_such_condition() -> None:
    assert plan(a_job().replicas(2).running().view()).status.condition(Condition.CHECKPOINT_DAMAGED) is None
