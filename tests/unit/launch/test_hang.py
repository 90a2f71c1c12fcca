"""Ranks that hang: their stacks are kept, they are ended, and training goes on."""

import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest

from dtj_api.wire import NO_RANK
from dtj_trainer.launch.incarnation import hang, round_end
from dtj_trainer.launch.incarnation.agent import LeaveError
from dtj_trainer.launch.incarnation.hang import (
    FOREIGN,
    NO_LAUNCHER,
    gather_silent,
    hang_of,
    keep_stacks,
    take_stacks,
    tell_silent,
)
from dtj_trainer.launch.incarnation.round_end import RoundEnd
from dtj_trainer.launch.meeting.round import Member, Round
from dtj_trainer.launch.progress.phase_watch import Stall
from dtj_trainer.launch.ranks.ranks import Rank
from dtj_trainer.launch.store.link import StoreLostError


def stacks(job, place="1-1") -> dict[int, str]:
    folder = job.folder / "work" / "logs" / place
    return {int(path.stem): path.read_text() for path in folder.glob("*.stack")}


def hung(job):
    failures = [failure for report in job.reports() for failure in report.failures]
    assert [failure.hang for failure in failures] == [True]
    return failures[0]


def test_a_stopped_rank_is_found_and_all_go_on_from_the_last_checkpoint(start):
    job = start(3, "train.py", "1000000", env={"DTJ_STEP_TIMEOUT": "4", "DTJ_SAVE_EVERY_STEPS": "5"})
    job.wait_step(7)
    job.kill_rank(1, signum=signal.SIGSTOP)

    job.wait_step(8, round=2)

    failure = hung(job)
    assert failure.message.startswith("no step for 4.")
    assert "stacks are in logs/1-1" in failure.message
    assert failure.step >= 7
    assert (failure.exit_code, failure.user_error) == (0, False)
    # Whoever found it: rank 1 is on the second pod, and stands still.
    assert (failure.rank, failure.local_rank, failure.pod) == (1, 0, "local-worker-0001")
    assert "no stack of rank 1: the process is stopped" in failure.message
    found = stacks(job)
    assert sorted(found) == [0, 1, 2]
    assert found[1] == "no stack: the process is stopped\n"
    assert "train.py" in found[0]
    assert "train.py" in found[2]
    assert (job.folder / "restored-1-2-0").exists()
    assert "no stack of rank 1: the process is stopped" in job.output()


def test_a_rank_that_waits_for_ever_shows_where(start):
    job = start(2, "waits.py", env={"DTJ_STEP_TIMEOUT": "4"})
    job.wait("a second round", lambda: (job.folder / "began-2").exists())
    failure = hung(job)
    assert failure.step == 3
    assert (failure.rank, failure.pod) == (NO_RANK, ""), "all of them answered"
    assert "in waits_for_nobody" in stacks(job)[1]


def test_a_pause_that_is_shorter_than_the_limit_is_no_hang(start):
    job = start(1, "train.py", "1000000", env={"DTJ_STEP_TIMEOUT": "4"})
    job.wait_step(3)
    before = job.pids()
    os.kill(before[0], signal.SIGSTOP)
    time.sleep(1)
    os.kill(before[0], signal.SIGCONT)
    job.wait_step(20)
    assert job.pids() == before


def test_a_long_evaluation_is_no_hang(start):
    job = start(2, "evaluates.py", "6", env={"DTJ_STEP_TIMEOUT": "4"})
    assert [job.exit_code(worker) for worker in job.workers] == [0, 0]
    assert not any(report.failures for report in job.reports())


def test_the_evaluation_of_one_rank_for_all_is_no_hang_of_the_others(start):
    job = start(2, "one_evaluates.py", "6", env={"DTJ_STEP_TIMEOUT": "3"})
    assert [job.exit_code(worker) for worker in job.workers] == [0, 0]
    assert not any(report.failures for report in job.reports())


def test_only_the_rank_itself_is_asked_for_its_stack(start):
    job = start(1, "waits_with_child.py", env={"DTJ_STEP_TIMEOUT": "3"})
    job.wait("a second round", lambda: any(report.round == 2 for report in job.reports()))
    assert "waits_with_child.py" in stacks(job)[0]
    assert (job.folder / "began").exists()
    assert not (job.folder / "asked").exists()


def a_round(place=0) -> Round:
    members = [Member(f"job-worker-{i}", f"job-worker-{i}/u", "127.0.0.1", 0, 2, False) for i in range(3)]
    return Round(4, tuple(members), place)


@pytest.mark.parametrize(
    ("silent", "rank", "local_rank", "pod"),
    [
        pytest.param({}, NO_RANK, NO_RANK, "", id="all answered"),
        pytest.param({3: "the process is stopped"}, 3, 1, "job-worker-1", id="one did not"),
        pytest.param({5: NO_LAUNCHER, 4: NO_LAUNCHER}, 4, 0, "job-worker-2", id="a launcher did not"),
        pytest.param({0: FOREIGN, 1: FOREIGN}, NO_RANK, NO_RANK, "", id="foreign programs cannot"),
        pytest.param({0: FOREIGN, 1: "the process is stopped"}, 1, 1, "job-worker-0", id="a foreign one is stopped"),
    ],
)
def test_a_hang_names_the_rank_that_stands_still_on_whatever_pod(silent, rank, local_rank, pod):
    failure = hang_of(7, a_round(), Stall(60.0, "no step for 60 s"), silent)
    assert (failure.rank, failure.local_rank, failure.pod) == (rank, local_rank, pod)
    assert (failure.incarnation, failure.round, failure.hang) == (7, 4, True)
    assert failure.message.count("no stack of rank") == len(silent)


class Store:
    """What a store link does, without a store."""

    def __init__(self):
        self.keys = {}

    def set(self, key, value):
        self.keys[key] = value

    def get(self, key):
        return self.keys.get(key)

    def add(self, key, value):
        self.keys[key] = str(int(self.keys.get(key, "0")) + value)
        return int(self.keys[key])


def test_whoever_found_the_hang_learns_what_the_others_saw():
    store = Store()
    for place, silent in enumerate([{}, {3: "the process is stopped"}, {}]):
        tell_silent(store, a_round(place), silent)
    assert gather_silent(store, a_round(), time.sleep) == {3: "the process is stopped"}


def test_a_launcher_that_does_not_tell_is_waited_for_a_moment_and_named(monkeypatch):
    monkeypatch.setattr(hang, "ANSWERS", 0.1)
    store = Store()
    for place in (0, 2):
        tell_silent(store, a_round(place), {})
    assert gather_silent(store, a_round(), time.sleep) == {2: NO_LAUNCHER, 3: NO_LAUNCHER}


@pytest.mark.parametrize("interruption", [LeaveError(), StoreLostError("the store is gone")])
def test_a_hang_is_told_also_by_a_launcher_that_is_called_away_while_the_others_answer(monkeypatch, interruption):
    def called_away(*_):
        raise interruption

    monkeypatch.setattr(round_end, "gather_silent", called_away)
    monkeypatch.setattr(RoundEnd, "take_stacks", lambda *_: {3: "the process is stopped"})
    told = []
    board = SimpleNamespace(training=SimpleNamespace(step=lambda: 7), fail=told.append)
    tools = SimpleNamespace(board=board, on_failure=lambda *_: None)
    meeting = SimpleNamespace(link=None, open_next=lambda *_: True)
    with pytest.raises(type(interruption)):
        RoundEnd(tools, meeting, 1, called_away).hung(a_round(), [], Stall(60.0, "no step for 60 s"))
    assert [(failure.hang, failure.rank, failure.step) for failure in told] == [(True, 3, 7)]


class Unharmed:
    def signal(self, rank, signum):
        raise AssertionError("the signal would end a foreign program")


def a_rank() -> Rank:
    rank = Rank(3, 0, None, lambda *_: None)
    rank.pid = os.getpid()
    return rank


def test_a_foreign_program_is_not_asked_for_its_stack(tmp_path):
    taken = take_stacks(Unharmed(), [a_rank()], None)
    assert taken.silent == {3: "it runs as a subprocess"}
    keep_stacks(taken, tmp_path / "logs")
    assert (tmp_path / "logs" / "3.stack").read_text() == "no stack: it runs as a subprocess\n"


def test_a_volume_that_hangs_costs_the_files_and_no_more_than_a_moment(tmp_path, monkeypatch):
    monkeypatch.setattr("dtj_trainer.launch.incarnation.hang.WRITING", 0.1)
    released = threading.Event()
    monkeypatch.setattr("dtj_trainer.launch.incarnation.hang._write", lambda *_: released.wait(60))
    began = time.monotonic()
    keep_stacks(take_stacks(Unharmed(), [a_rank()], None), tmp_path)
    assert time.monotonic() - began < 30
    released.set()
