"""When each part of a restart was over, as the launcher sees it."""

import time

import pytest

from dtj_api.wire import Clock
from dtj_trainer.launch.progress.round_clock import RoundClock
from dtj_trainer.launch.progress.stall import Timeout
from dtj_trainer.launch.progress.training import Training

HELLO_STEP = {"type": "report", "step": 58.0}


def clock_of(*said, left=None):
    clock = RoundClock()
    if left is not None:
        clock.formed(1.0)
        clock.take(0, {"type": "report", "step": 57.0}, 2.0)
        clock.left(left)
    clock.formed(10.0)
    clock.started(11.0)
    for at, (local_rank, message) in enumerate(said, start=12):
        clock.take(local_rank, message, float(at))
    return clock.clock


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ([], {}),
        ([(0, HELLO_STEP)], {"spoke_at": 12.0, "first_step_at": 12.0, "restored_step": 57}),
        ([(0, HELLO_STEP), (1, {"type": "report", "step": 90})],
         {"spoke_at": 12.0, "first_step_at": 12.0, "restored_step": 57}),
        ([(0, {"type": "restored", "step": 50}), (0, HELLO_STEP)],
         {"spoke_at": 12.0, "restored_step": 50, "first_step_at": 13.0}),
        ([(0, {"type": "phase", "phase": "restore"}), (1, {"type": "phase", "phase": "restore"}),
          (0, {"type": "phase", "phase": "train"}), (1, {"type": "phase", "phase": ""})],
         {"spoke_at": 12.0, "restored_at": 15.0}),
        ([(0, {"type": "phase", "phase": "train"})], {"spoke_at": 12.0}),
        ([(0, {"type": "report", "step": "nan"}), (0, {"type": "restored", "step": True})], {"spoke_at": 12.0}),
    ],
)  # fmt: skip
def test_what_ranks_say_sets_the_clock(said, expected):
    assert clock_of(*said) == Clock(formed_at=10.0, started_at=11.0, **expected)


def test_a_round_remembers_the_step_of_the_one_before():
    assert clock_of(left=3.0) == Clock(left_at=3.0, step_before=57, formed_at=10.0, started_at=11.0)


def test_a_round_without_a_step_does_not_forget_the_last_one():
    clock = RoundClock()
    for step in (57.0, None):
        clock.formed(1.0)
        if step:
            clock.take(0, {"type": "report", "step": step}, 2.0)
    clock.formed(3.0)
    assert clock.clock.step_before == 57


def test_a_checkpoint_that_was_read_is_no_step_that_was_made():
    training = Training(Timeout())
    training.begin_round({0: 0})
    training.take(0, {"type": "restored", "step": 40})
    assert training.progress().step is None
    assert training.clock().restored_step == 40
    training.take(0, {"type": "report", "step": 41})
    assert training.progress().step == 41


@pytest.mark.parametrize(
    ("said", "seconds", "reports", "before"),
    [
        ([], 30.0, False, True),
        # It says nothing: after a while it may have made steps, unless it is known to tell of them.
        ([], 300.0, False, False),
        ([], 300.0, True, True),
        ([{"type": "phase", "phase": "restore"}, {"type": "restored", "step": 50}], 30.0, False, True),
        # It may tell of nothing but that, and save by its own means.
        ([{"type": "phase", "phase": "restore"}, {"type": "restored", "step": 50}], 300.0, False, False),
        ([{"type": "phase", "phase": "restore"}, {"type": "restored", "step": 50}], 300.0, True, True),
        ([{"type": "pace", "seconds": 0.5}], 1.0, True, False),
        ([HELLO_STEP], 1.0, True, False),
        ([{"type": "saved", "step": 3}], 1.0, False, False),
        ([{"type": "ready"}], 1.0, False, False),
    ],
)
def test_whether_a_round_has_made_a_step_is_told_by_what_ranks_say_and_by_time(said, seconds, reports, before):
    clock = RoundClock()
    clock.formed(10.0)
    clock.take(0, HELLO_STEP, 10.5)
    clock.formed(11.0)
    clock.started(11.0)
    for message in said:
        clock.take(0, message, 12.0)
    assert clock.before_steps(reports, 11.0 + seconds) is before


def test_the_pace_of_steps_is_a_sign_of_them():
    training = Training(Timeout())
    training.begin_round({0: 0})
    training.started()
    assert training.before_steps()
    training.take(0, {"type": "pace", "seconds": 0.5})
    assert not training.before_steps()
    assert training.clock().spoke_at is None, "it is told by a hook of ours"


def test_who_has_reported_steps_as_another_rank_is_not_known_to_report_them(monkeypatch):
    """Often rank 0 alone does, and in the next round that may be a process of another pod."""
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    training = Training(Timeout())
    for first_rank, before in ((0, True), (2, False), (0, True)):
        training.begin_round({0: first_rank, 1: first_rank + 1})
        training.started()
        now[0] += 300.0
        assert training.before_steps() is (before and training.reports)
        if first_rank == 0:
            training.take(0, {"type": "report", "step": 1})
