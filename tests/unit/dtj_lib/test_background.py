"""A save in the background: training goes on, and what is published is as if it had not."""

import json
import os
import subprocess
import sys
import textwrap
import threading
import time

import pytest

import dtj
from dtj import checkpoints, saving
from dtj.entry import read_state
from dtj.saving import Requests
from dtj_trainer.launch.ranks.errors import describe


class Job:
    """One rank whose volume is as fast as the test wants."""

    def __init__(self, folder, told):
        self.folder, self.told = folder, told
        self.gate = threading.Event()
        self.error = None

    def save(self, step, content="x"):
        weights = [content]

        def stage():
            copy = list(weights)

            def write(path, group):
                assert self.gate.wait(30)
                if self.error is not None:
                    raise self.error
                (path / "model").write_text(copy[0])

            return write

        dtj.save_in_background(step, stage)
        weights[0] = "changed by the next step"

    def names(self):
        return sorted(path.name for path in (self.folder / "checkpoints").glob("step-*"))

    def until_over(self):
        saving.requests.flight.wait()

    def saved(self):
        return [message for message in self.told if message["type"] == "saved"]


@pytest.fixture
def job(one_rank, monkeypatch, tmp_path):
    monkeypatch.setenv("DTJ_WORK_DIR", str(tmp_path))
    mine = Requests()
    for module in (saving, checkpoints):
        monkeypatch.setattr(module, "requests", mine)
    monkeypatch.setattr(checkpoints._end, "watch", lambda: None)
    told = []
    monkeypatch.setattr(saving.link, "send", lambda message: told.append(message) or True)
    job = Job(tmp_path, told)
    yield job
    job.gate.set()
    if saving.requests.flight is not None:
        job.until_over()


def test_training_goes_on_and_what_is_written_is_the_copy(job, monkeypatch):
    monkeypatch.setenv("DTJ_SAVE_EVERY_SECONDS", "0.01")
    time.sleep(0.02)
    dtj.report(step=1, samples=8)
    assert dtj.should_save()
    job.save(1, "of step 1")
    time.sleep(0.02)
    dtj.report(step=2, samples=8)
    assert not dtj.should_save(), "one at a time"
    assert job.names() == []
    job.gate.set()
    job.until_over()
    assert not job.saved(), "told on the script's own thread, on all ranks at once"
    dtj.should_save()
    assert (job.folder / "checkpoints/step-1.i1/model").read_text() == "of step 1"
    assert read_state(job.folder / "checkpoints/step-1.i1")["totals"] == {"samples": 8}, "those of its step"
    (said,) = job.saved()
    assert (said["step"], said["ids"]) == (1, [])
    assert 0 <= said["stall"] <= said["seconds"]
    assert dtj.should_save(), "an interval has passed since it began"


def test_an_interval_in_steps_is_kept_to_by_a_volume_that_is_too_slow_for_it(job, monkeypatch):
    """`keepEvery` and whoever looks for the checkpoint of a certain step count on it."""
    monkeypatch.setenv("DTJ_SAVE_EVERY_STEPS", "2")
    threading.Timer(0.1, job.gate.set).start()
    for step in range(1, 9):
        dtj.report(step=step)
        if dtj.should_save():
            job.save(step)
    dtj.wait_for_save()
    assert [said["step"] for said in job.saved()] == [2, 4, 6, 8]
    assert job.saved()[1]["stall"] > 0.01, "it waited for the one before"


def test_what_is_asked_for_is_published_before_training_goes_on(job, monkeypatch):
    job.save(3)
    monkeypatch.setattr(saving.link, "requests", lambda: ["leave"])
    dtj.report(step=5)
    assert dtj.should_save()
    threading.Timer(0.1, job.gate.set).start()
    job.save(5)
    assert saving.requests.flight is None
    assert job.names() == ["step-3.i1", "step-5.i1"]
    assert [(said["step"], said["ids"]) for said in job.saved()] == [(3, []), (5, ["leave"])]


def test_the_next_save_waits_for_the_one_before(job):
    job.save(3)
    threading.Timer(0.1, job.gate.set).start()
    with dtj.checkpoint_dir(4) as path:
        assert job.names() == ["step-3.i1"]
        (path / "model").write_text("x")
    assert job.names() == ["step-3.i1", "step-4.i1"]
    dtj.wait_for_save()
    assert [said["step"] for said in job.saved()] == [3, 4]


@pytest.mark.parametrize("meets", ["should_save", "wait_for_save"])
def test_a_failure_is_met_by_the_script_and_keeps_nothing(job, meets):
    job.gate.set()
    job.save(3)
    job.until_over()
    dtj.wait_for_save()
    job.error = OSError(28, "No space left on device")
    job.save(6)
    job.until_over()
    with pytest.raises(dtj.SaveError, match=r"step 6: rank 0 could not write: .*No space left"):
        getattr(dtj, meets)()
    assert job.names() == ["step-3.i1"]
    job.error = None
    job.save(9)
    dtj.wait_for_save()
    assert job.names() == ["step-3.i1", "step-9.i1"]


@pytest.fixture
def goes_on(monkeypatch):
    """Under a launcher, whose job has `checkpoint.onFailure: Continue` and a save at every third step."""
    monkeypatch.setenv("DTJ_SAVE_ON_FAILURE", "Continue")
    monkeypatch.setenv("DTJ_SAVE_EVERY_STEPS", "3")


def failed(job):
    return [(said["step"], said["errno"]) for said in job.told if said["type"] == "save_failed"]


def test_training_goes_on_without_a_save_that_failed_and_tries_the_next_one(job, goes_on):
    job.gate.set()
    job.error = OSError(28, "No space left on device")
    saved = []
    for step in range(1, 11):
        dtj.report(step=step)
        if dtj.should_save():
            saved.append(step)
            job.save(step)
            job.until_over()
        if step == 7:
            job.error = None
    assert saved == [3, 6, 9]
    dtj.wait_for_save()
    assert failed(job) == [(3, 28), (6, 28)]
    assert job.names() == ["step-9.i1"]


def test_the_last_save_is_not_lost_in_silence(job, goes_on):
    job.gate.set()
    job.error = OSError(28, "No space left on device")
    job.save(6)
    with pytest.raises(dtj.SaveError, match="step 6"):
        dtj.wait_for_save()
    with pytest.raises(dtj.SaveError, match="step 7"), dtj.checkpoint_dir(7):
        raise OSError(28, "No space left on device")
    assert failed(job) == [(6, 28), (7, 28)]


@pytest.mark.parametrize("trouble", ["in the block", "before it", "after it"])
def test_a_save_that_was_due_and_is_waited_for_ends_no_training_either(job, goes_on, monkeypatch, trouble):
    dtj.report(step=3)
    assert dtj.should_save()
    with monkeypatch.context() as patch:
        if trouble == "before it":
            (job.folder / "checkpoints").write_text("in the way")
        if trouble == "after it":
            patch.setattr("dtj.publishing.sync_folder", fail)
        with dtj.checkpoint_dir(3) as path:
            if trouble == "in the block":
                fail()
            (path / "model").write_text("x")
    dtj.report(step=4)
    assert not dtj.should_save(), "when the next one is due"
    assert failed(job) == [(3, 20 if trouble == "before it" else 28)]


def fail(*_):
    raise OSError(28, "No space left on device")


def test_a_failure_keeps_nobody_from_saving_anew(job, capsys):
    job.gate.set()
    job.error = OSError(5, "Input/output error")
    job.save(6)
    with dtj.checkpoint_dir(7) as path:
        (path / "model").write_text("x")
    assert job.names() == ["step-7.i1"]
    assert "step 6: rank 0 could not write" in capsys.readouterr().err


def test_a_bug_in_the_write_is_the_users_own_error(job):
    job.gate.set()
    job.error = KeyError("model")
    job.save(6)
    with pytest.raises(KeyError) as caught:
        dtj.wait_for_save()
    assert describe(caught.value)[2] is True


SCRIPT = """
    import time
    import dtj

    def stage():
        def write(path, group):
            time.sleep(%s)
            (path / "model").write_text("x")
        return write

    dtj.save_in_background(3, stage)
    %s
"""


def end(folder, slow, last):
    env = {**os.environ, "DTJ_WORK_DIR": str(folder)}
    script = textwrap.dedent(SCRIPT) % (slow, last)
    return subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=60)


def test_a_script_that_ends_well_loses_nothing(tmp_path):
    assert end(tmp_path, 0.5, "").returncode == 0
    assert json.loads((tmp_path / "checkpoints/step-3.i1/dtj.json").read_text())["step"] == 3


def test_a_script_that_fails_waits_for_nobody(tmp_path):
    done = end(tmp_path, 1000, "raise ValueError('mine')")
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("ValueError: mine")


def test_a_rank_that_dies_in_a_save_takes_nobody_with_it(start):
    """The save of step 20 goes on when rank 1 is killed: rank 0 does not wait for it, and both go on from step 10."""
    job = start(2, "background.py")
    reports = job.wait_reports("done", lambda r: r.state == "done")
    assert {(job.folder / f"restored-{rank}").read_text() for rank in (0, 1)} == {"step-10.i1"}
    assert sum(len(report.failures) for report in reports) == 1
    names = {path.name for path in (job.folder / "work/checkpoints").glob("step-*")}
    assert names == {"step-10.i1", "step-30.i1"}


@pytest.mark.parametrize("moment", ["written", "slow on rank 0", "slow on rank 1"])
def test_a_group_that_the_script_destroys_too_early_publishes_nothing_by_halves(start, moment):
    job = start(2, "destroyed.py", env={"TEST_MOMENT": moment})
    assert [job.exit_code(worker) for worker in job.workers] == [0, 0]
    found = {path.name: sorted(part.name for part in path.glob("part-*")) for path in made(job)}
    assert all(parts == ["part-0", "part-1"] for parts in found.values()), found
    assert "step-1.i1" in found
    if "step-2.i1" not in found:
        assert "the last save was not published" in job.output()
    assert not (job.folder / "part-1").exists(), "nor anywhere else"


def made(job):
    return (job.folder / "work/checkpoints").glob("step-*")
