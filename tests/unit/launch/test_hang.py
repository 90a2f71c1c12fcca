"""Ranks that hang: their stacks are kept, they are ended, and training goes on."""

import os
import signal
import threading
import time

from dtj_trainer.launch.hang import collect_stacks
from dtj_trainer.launch.ranks import Rank


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
    assert hung(job).step == 3
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


class Unharmed:
    def kill(self, rank, signum):
        raise AssertionError("the signal would end a foreign program")


def a_rank() -> Rank:
    rank = Rank(3, 0, None, lambda *_: None)
    rank.pid = os.getpid()
    return rank


def test_a_foreign_program_is_not_asked_for_its_stack(tmp_path):
    without = collect_stacks(Unharmed(), [a_rank()], None, tmp_path / "logs")
    assert without == {3: "it runs as a subprocess"}
    assert (tmp_path / "logs" / "3.stack").read_text() == "no stack: it runs as a subprocess\n"


def test_a_volume_that_hangs_costs_the_files_and_no_more_than_a_moment(tmp_path, monkeypatch):
    monkeypatch.setattr("dtj_trainer.launch.hang.WRITING", 0.1)
    released = threading.Event()
    monkeypatch.setattr("dtj_trainer.launch.hang._write", lambda *_: released.wait(60))
    began = time.monotonic()
    assert collect_stacks(Unharmed(), [a_rank()], None, tmp_path) == {3: "it runs as a subprocess"}
    assert time.monotonic() - began < 30
    released.set()
