"""What is kept in memory is restored when all ranks hold it, whole, and made together; else the volume is read."""

import json
import os
import subprocess
import sys

import pytest

import dtj
from dtj import memory, restoring
from dtj.entry import Checkpoint
from dtj.memory import Memory
from dtj.reporting import work


@pytest.fixture
def job(one_rank, monkeypatch, tmp_path):
    """One rank under a launcher, in round 1 of incarnation 1, that keeps every fifth step."""
    for name, value in {
        "DTJ_WORK_DIR": str(tmp_path / "volume"),
        "DTJ_MEMORY_DIR": str(tmp_path / "memory"),
        "DTJ_MEMORY_EVERY_STEPS": "5",
        "DTJ_INCARNATION": "1",
        "DTJ_ROUND": "1",
    }.items():
        monkeypatch.setenv(name, value)
    assert dtj.latest_checkpoint(memory=Memory()) is None
    return Job(tmp_path, monkeypatch)


class Job:
    def __init__(self, folder, monkeypatch):
        self.volume, self.memory = folder / "volume", folder / "memory"
        self._env = monkeypatch.setenv

    def keep(self, step, content=None):
        def write(path):
            (path / "part").write_text(content or f"kept at {step}")

        Memory().keep(step, write)

    def save(self, step):
        with dtj.checkpoint_dir(step) as path:
            (path / "part").write_text(f"saved at {step}")

    def restored(self, incarnation=1, round_=2):
        self._env("DTJ_INCARNATION", str(incarnation))
        self._env("DTJ_ROUND", str(round_))
        found = dtj.latest_checkpoint(memory=Memory())
        return found and (found / "part").read_text()

    def held(self):
        return sorted(path.name for path in self.memory.iterdir())


def test_only_the_steps_that_are_asked_for_are_due(job, monkeypatch):
    assert [step for step in range(1, 12) if Memory().due(step)] == [5, 10]
    monkeypatch.delenv("DTJ_MEMORY_DIR")
    assert not Memory().due(5)


def test_the_newest_is_restored_and_the_totals_go_on_from_it(job):
    job.save(10)
    dtj.report(step=15, samples=8)
    job.keep(15)
    dtj.report(step=17, samples=8)
    assert job.restored() == "kept at 15"
    assert (work.step, work.totals()) == (15, {"samples": 8})


def test_a_newer_incarnation_goes_on_from_it_and_says_so(job):
    job.save(10)
    job.keep(15)
    assert job.restored(incarnation=2, round_=1) == "kept at 15"
    assert json.loads((job.volume / "lineage/2").read_text()) == {"restored": "step-15.i1"}
    job.keep(20)
    assert job.restored(incarnation=3, round_=1) == "kept at 20"


def test_what_is_lost_after_it_was_restored_costs_the_steps_since_the_volume(job):
    job.save(10)
    job.keep(15)
    assert job.restored(incarnation=2, round_=1) == "kept at 15"
    for path in job.memory.iterdir():
        (path / "part").unlink()
    assert job.restored(incarnation=3, round_=1) == "saved at 10"
    assert job.held() == [], "what others have lost is not met again"


def test_the_volume_is_read_where_it_is_newer(job):
    job.keep(5)
    job.save(10)
    assert job.restored() == "saved at 10"
    assert job.held() == []


def test_what_a_later_incarnation_has_not_built_on_is_not_restored(job):
    job.save(10)
    assert job.restored(incarnation=2, round_=1) == "saved at 10"
    os.environ["DTJ_INCARNATION"] = "1"
    job.keep(15)
    assert job.restored(incarnation=2, round_=2) == "saved at 10", "a process that was given up has kept it"


@pytest.mark.parametrize("file", ["part", "dtj.json", "dtj-manifest.json"])
@pytest.mark.parametrize("damage", ["cut", "lost"])
def test_a_part_that_is_damaged_is_passed_over(job, file, damage):
    job.keep(5)
    job.keep(10)
    path = job.memory / "step-10.i1.r1.0-1" / file
    path.write_bytes(path.read_bytes()[:-2]) if damage == "cut" else path.unlink()
    assert job.restored() == "kept at 5"


def test_the_last_two_are_kept(job):
    for step in (5, 10, 15):
        job.keep(step)
    assert job.held() == ["step-10.i1.r1.0-1", "step-15.i1.r1.0-1"]


def test_parts_of_other_numbers_of_ranks_and_drafts_go_at_the_next_start(job):
    job.keep(5)
    (job.memory / "step-10.i1.r1.0-2").mkdir()
    (job.memory / ".draft-0").mkdir()
    (job.memory / "step-5.i1.r1.1-1").mkdir()
    assert job.restored() == "kept at 5"
    assert job.held() == ["step-5.i1.r1.0-1", "step-5.i1.r1.1-1"], "another rank of the machine restores its own"


@pytest.mark.parametrize(
    ("others", "common"),
    [
        ([(10, 1), (5, 1)], 10),
        ([(5, 1)], 5),
        ([(10, 2), (5, 1)], 5),
        ([(10, 2)], None),
        ([], None),
    ],
)
def test_a_step_counts_that_all_ranks_hold_from_the_same_round(job, monkeypatch, others, common):
    job.save(1)
    job.keep(5)
    job.keep(10)
    theirs = [(Checkpoint(incarnation=1, step=step), round_) for step, round_ in others]
    monkeypatch.setattr(memory, "from_all", lambda mine: [mine, theirs])
    assert job.restored() == (f"kept at {common}" if common else "saved at 1")


FULL = """
import ctypes, os, sys
folder = sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)
assert libc.mount(b"tmpfs", folder.encode(), b"tmpfs", 0, sys.argv[2].encode()) == 0, os.strerror(ctypes.get_errno())
import torch
import dtj
from dtj.memory import Memory
for step in (5, 10, 15, 20):
    Memory().keep(step, lambda path: torch.save(torch.ones(1_000_000), path / "part"))
print(sorted(os.listdir(folder)))
"""


@pytest.mark.parametrize(
    ("size", "kept"),
    [("2m", []), ("6m", ["step-5.i1.r1.0-1"]), ("10m", ["step-15.i1.r1.0-1", "step-20.i1.r1.0-1"])],
)
def test_a_memory_that_is_full_costs_no_more_than_the_checkpoint(job, size, kept):
    """Of 4 MB each. Room for two is enough, for the one before the last goes first."""
    job.memory.mkdir(exist_ok=True)
    rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", "--mount", *rights, sys.executable, "-c", FULL, str(job.memory), f"size={size}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(kept)
    assert ("is not kept in memory, nor may later ones be" in done.stderr) == (len(kept) < 2)


def test_a_volume_that_fails_when_the_first_step_is_kept_costs_the_checkpoint_alone(job, monkeypatch):
    def fail(**_):
        raise OSError(116, "Stale file handle")

    with monkeypatch.context() as patch:
        patch.setattr(memory, "job_lineage", fail)
        job.keep(5)
    assert not job.memory.exists() or job.held() == []
    job.keep(10)
    assert job.held() == ["step-10.i1.r1.0-1"]


def test_without_a_memory_there_is_nothing_to_agree_on(job, monkeypatch):
    job.save(10)

    def forbidden(*_):
        raise AssertionError

    monkeypatch.setattr(restoring.Memory, "held_by_all", forbidden)
    assert dtj.latest_checkpoint().name == "step-10.i1"
