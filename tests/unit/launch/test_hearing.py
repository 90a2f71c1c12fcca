"""Whatever a launcher waits for, it hears what makes the wait useless: a release, a stop, SIGTERM."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import time
from types import SimpleNamespace
from typing import Any

import pytest
from launcher_jobs import is_alive

from dtj_api.wire import Meet, Release, Stop
from dtj_trainer.launch import launcher
from dtj_trainer.launch.inbox import Inbox
from dtj_trainer.launch.launcher import Launcher
from dtj_trainer.launch.local.job import HOST
from dtj_trainer.launch.progress.stall import StepWatch, Timeout

FOR_EVER = "1000000"


@contextlib.contextmanager
def a_silent_peer(job, rank):
    """A rank whose machine is lost answers nobody, and its connections stay."""
    pid = job.pids()[rank]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def until_blocked(job, worker):
    """Until its ranks wait for the silent one: a step more is none."""
    before = -1
    while before != (before := worker.report().progress.step):
        time.sleep(0.5)


@pytest.mark.parametrize("and_then", [None, "a newer meeting"])
def test_one_that_moves_says_where_its_ranks_are_and_moves_at_once_when_they_are_released(start, and_then):
    """A worker and the store are lost together: its peers wait for a save that cannot come."""
    job = start(2, "slow_save.py", "0", env={"DTJ_GRACE_SECONDS": "3600"})
    job.wait_step(3)
    moves = job.workers[0]
    with a_silent_peer(job, 1):
        until_blocked(job, moves)
        job.signal(job.store, signal.SIGKILL)
        job.start_store()
        assert moves.send(Meet(2, 2, 2, f"{HOST}:{job.store_port}"))[0] == 200
        assert (moves.report().state, moves.report().incarnation, moves.report().round) == ("training", 1, 1)
        assert moves.send(Release(3, 1))[0] == 409
        if and_then:
            assert moves.send(Meet(3, 2, 2, f"{HOST}:{job.store_port}"))[0] == 200

        assert moves.send(Release(1, 1))[0] == 200

        newest = 3 if and_then else 2
        job.wait("it meets", lambda: (moves.report().state, moves.report().incarnation) == ("meeting", newest))
        assert "moves without a save" in job.output()
        assert not is_alive(job.pids()[0])


@pytest.mark.parametrize(
    ("word", "why"),
    [
        (Release(1, 1), "the ranks have lost a peer, and could not make one"),
        (Stop(1, save=False), "the job wants none any more"),
    ],
    ids=["released", "told to stop"],
)
def test_one_that_leaves_waits_for_no_save_that_cannot_come_or_that_nobody_wants(start, word, why):
    job = start(2, "slow_save.py", "0", env={"DTJ_GRACE_SECONDS": "3600"})
    job.wait_step(3)
    leaves = job.workers[0]
    with a_silent_peer(job, 1):
        until_blocked(job, leaves)
        job.signal(leaves.process, signal.SIGTERM)
        job.wait("it leaves", lambda: leaves.report().state == "draining")

        assert leaves.send(word)[0] == 200

        assert job.exit_code(leaves) == 143
        assert f"leaves without a save: {why}" in job.output()


def test_ranks_that_save_by_themselves_have_no_more_time_when_nobody_wants_that(start):
    job = start(1, "own_handler.py", "100000", env={"DTJ_GRACE_SECONDS": "3600"})
    job.wait("the rank", (job.folder / "trains-1-1-0").exists)
    (leaves,) = job.workers
    job.signal(leaves.process, signal.SIGTERM)
    job.wait("their time", lambda: "to end by themselves" in job.output())

    assert leaves.send(Stop(1, save=False))[0] == 200

    assert job.exit_code(leaves) == 143


class Ranks:
    """An agent whose ranks train, make a step of so many seconds now and then, and never save."""

    trains = True
    incarnation = 1

    def __init__(self, longest: float) -> None:
        self._began = time.monotonic()
        self._longest = longest

    def still_since(self) -> float:
        return self._began

    def longest_step(self) -> float:
        return self._longest


def test_steps_that_take_long_are_not_taken_for_ranks_that_stand_still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they take a minute, the save that all wait for comes in a minute."""
    monkeypatch.setattr(launcher, "STILL", 0.01)
    waited = {}
    for longest in (0.0, 0.2):
        ranks = Ranks(longest)
        made: Any = Launcher.__new__(Launcher)
        saved: Any = SimpleNamespace(done=lambda: False, cancel=lambda: None)
        made._board = SimpleNamespace(training=ranks, report=lambda: SimpleNamespace(incarnation=1, round=1))
        made._servers = SimpleNamespace(save=lambda id, saved=saved: saved)
        made._settings = SimpleNamespace(grace=3600.0)
        made._logs = SimpleNamespace(say=lambda text: None)
        made._inbox = Inbox(queue.SimpleQueue())
        began = time.monotonic()
        made._save_before_moving(ranks)
        waited[longest] = time.monotonic() - began
    assert waited[0.2] >= 1.0


def test_the_longest_step_is_known_from_the_second_one_on_and_no_phase_is_one() -> None:
    watch = StepWatch(Timeout())
    heard: list[tuple[float, dict[str, Any]]] = [
        (10.0, {"type": "report", "step": 1}),
        (50.0, {"type": "report", "step": 2}),
        (55.0, {"type": "report", "step": 3}),
        (60.0, {"type": "phase", "phase": "evaluate"}),
        (900.0, {"type": "phase", "phase": "train"}),
        (905.0, {"type": "report", "step": 4}),
    ]
    for now, said in heard:
        watch.take(0, said, now)
    assert watch.longest == 40.0
    watch.begin_round({0: 0})
    assert watch.longest == 0.0
