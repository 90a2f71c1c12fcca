"""The interval between saves follows what they cost and how often the job is cut off."""

import json
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dtj
from dtj import saving
from dtj.cadence import LEAST, MOST, SHARE, History, interval

DAY, HOUR = 86400.0, 3600.0


@pytest.mark.parametrize(
    ("cost", "seconds", "interruptions", "expected"),
    [
        pytest.param(1.0, 0.0, 0, math.sqrt(2 * DAY), id="at first one interruption a day is expected"),
        pytest.param(1.0, 29 * DAY, 0, math.sqrt(2 * 30 * DAY), id="a quiet month"),
        pytest.param(1.0, DAY, 47, math.sqrt(2 * 2 * DAY / 48), id="one each hour"),
        pytest.param(4.0, DAY, 47, math.sqrt(8 * 2 * DAY / 48), id="the same with dear saves"),
        pytest.param(0.001, DAY, 100, LEAST, id="cheap saves and many interruptions: not all the time"),
        pytest.param(100.0, DAY, 100, 100.0 / SHARE, id="dear saves and many interruptions: a share of the time"),
        pytest.param(30.0, 300 * DAY, 0, MOST, id="an hour's work at most"),
    ],
)
def test_it_is_youngs_within_bounds(cost, seconds, interruptions, expected):
    assert interval(cost, seconds, interruptions) == pytest.approx(expected)


@given(st.floats(0, 1e6), st.floats(0, 1e9), st.integers(0, 10**6))
def test_it_is_always_within_its_bounds(cost, seconds, interruptions):
    assert LEAST <= interval(cost, seconds, interruptions) <= MOST


@given(st.floats(0.01, 100), st.floats(0, 1e8), st.integers(0, 1000))
def test_dearer_saves_are_rarer_and_a_shakier_job_saves_more_often(cost, seconds, interruptions):
    usual = interval(cost, seconds, interruptions)
    assert interval(2 * cost, seconds, interruptions) >= usual
    assert interval(cost, seconds, interruptions + 1) <= usual


class Clock:
    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def test_what_is_known_goes_from_checkpoint_to_checkpoint(clock):
    first = History()
    clock.now += HOUR
    first.saved(2.0)
    first.saved(4.0)
    assert first.cost == pytest.approx(2.6)
    second = History()
    second.restore(json.loads(json.dumps(first.carried())))
    clock.now += HOUR
    assert second.carried() == {"seconds": 2 * HOUR, "interruptions": 1, "cost": pytest.approx(2.6)}
    assert second.interval() == pytest.approx(interval(2.6, 2 * HOUR, 1))


@pytest.mark.parametrize("carried", [None, {}, []])
def test_a_checkpoint_of_before_that_carried_nothing_is_no_mistake(clock, carried):
    history = History()
    history.restore(carried)
    assert history.interval() == LEAST


@pytest.fixture
def job(monkeypatch, tmp_path, clock):
    for name in ("RANK", "WORLD_SIZE", "DTJ_INCARNATION", "DTJ_SAVE_EVERY_STEPS", "DTJ_SAVE_EVERY_SECONDS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DTJ_WORK_DIR", str(tmp_path))
    monkeypatch.setenv("DTJ_SAVE_EVERY_AUTO", "1")
    history = History()
    monkeypatch.setattr(saving, "history", history)
    monkeypatch.setattr(saving.requests, "last_time", clock.now)
    told = []
    monkeypatch.setattr(saving.link, "send", lambda message: told.append(message) or True)
    return history, told


def test_a_job_saves_soon_learns_the_cost_and_then_saves_as_often_as_it_is_worth(job, clock):
    history, told = job
    clock.now += LEAST - 1
    assert not dtj.should_save()
    clock.now += 1
    assert dtj.should_save(), "the first one soon: nothing is known of its cost before"
    with dtj.checkpoint_dir(7) as path:
        clock.now += 2.0
        (path / "model").write_text("x")
    wanted = history.interval()
    assert wanted == pytest.approx(math.sqrt(4 * (DAY + LEAST + 2)), rel=0.01)
    assert told[-1] == {"type": "cadence", "save_interval": wanted}
    clock.now += wanted - 10
    assert not dtj.should_save()
    clock.now += 20
    assert dtj.should_save()


def test_a_bound_in_seconds_holds_beside_it(job, clock, monkeypatch):
    history, _ = job
    history.saved(10.0)
    monkeypatch.setenv("DTJ_SAVE_EVERY_SECONDS", "60")
    assert history.interval() > 60
    clock.now += 61
    assert dtj.should_save()


def test_without_the_word_nothing_follows_from_it(job, clock, monkeypatch):
    monkeypatch.delenv("DTJ_SAVE_EVERY_AUTO")
    clock.now += DAY
    assert not dtj.should_save()


@pytest.mark.parametrize(
    ("carried", "starts", "interruptions"),
    [
        (None, 0, 0),
        (None, 1, 0),
        (None, 4, 3),
        ({"seconds": 10, "interruptions": 2, "cost": 1.0}, 0, 3),
        ({"seconds": 10, "interruptions": 2, "cost": 1.0}, 9, 8),
        ({"seconds": 10, "interruptions": 2, "cost": 1.0}, 1, 3),
    ],
)
def test_starts_count_whether_or_not_each_came_to_a_save(carried, starts, interruptions):
    history = History()
    history.restore(carried, starts)
    assert history.interruptions == interruptions


def test_a_job_that_falls_again_and_again_before_a_save_knows(job, monkeypatch):
    history, _ = job
    monkeypatch.setattr("dtj.restoring.history", history)
    monkeypatch.setenv("DTJ_INCARNATION", "1")
    for _ in range(3):
        assert dtj.latest_checkpoint() is None
    assert history.interruptions == 2
