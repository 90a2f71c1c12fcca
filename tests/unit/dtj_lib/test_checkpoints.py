"""Checkpoints are published whole, by all ranks or by none, and found again by all."""

import json
import os

import pytest

import dtj
from dtj.reporting import work
from dtj.saving import requests


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """One rank, no launcher, a folder of its own."""
    for name in list(os.environ):
        if name.startswith("DTJ_") or name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "GROUP_WORLD_SIZE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DTJ_WORK_DIR", str(tmp_path))
    monkeypatch.setattr(work, "step", 0)
    monkeypatch.setattr(work, "done", {})
    monkeypatch.setattr(work, "restored", {})
    monkeypatch.setattr(requests, "last_step", 0)
    return tmp_path


def save(step, content="x"):
    with dtj.checkpoint_dir(step) as path:
        (path / "model").write_text(content)


def names(folder):
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


def test_a_checkpoint_is_found_again_with_what_is_in_it(alone):
    assert dtj.latest_checkpoint() is None
    save(3, "three")
    found = dtj.latest_checkpoint()
    assert (found.name, (found / "model").read_text()) == ("step-3.i1", "three")
    assert (alone / "checkpoints/LATEST").read_text() == "step-3.i1\n"


def test_the_folder_is_not_there_under_its_name_before_it_is_whole(alone):
    with dtj.checkpoint_dir(3) as path:
        (path / "model").write_text("x")
        assert not (alone / "checkpoints/step-3.i1").exists()
        assert dtj.latest_checkpoint() is None
    assert not path.exists()


def test_an_error_in_the_block_publishes_nothing_and_leaves_nothing(alone):
    save(3)
    with pytest.raises(dtj.SaveError, match=r"step 6: rank 0 could not write: .*No space left"), dtj.checkpoint_dir(6):
        raise OSError(28, "No space left on device")
    with pytest.raises(KeyError), dtj.checkpoint_dir(7):
        raise KeyError("model")
    assert names(alone) == ["LATEST", "step-3.i1"]
    assert dtj.latest_checkpoint().name == "step-3.i1"


def test_what_a_killed_save_left_is_removed_by_the_next_one(alone):
    save(3)
    draft = alone / "checkpoints/.draft-6.abcd"
    draft.mkdir()
    (draft / "model").write_text("half")
    save(9)
    assert names(alone) == ["LATEST", "step-3.i1", "step-9.i1"]


def test_only_the_newest_are_kept(alone, monkeypatch):
    monkeypatch.setenv("DTJ_SAVE_KEEP", "2")
    for step in (1, 2, 3, 4):
        save(step)
    assert names(alone) == ["LATEST", "step-3.i1", "step-4.i1"]


def test_the_same_step_again_replaces_the_earlier_one(alone):
    save(3, "first")
    save(3, "second")
    assert (dtj.latest_checkpoint() / "model").read_text() == "second"
    assert names(alone) == ["LATEST", "step-3.i1"]


def test_a_checkpoint_carries_the_totals_of_the_job(alone, monkeypatch):
    for step in (1, 2, 3):
        dtj.report(step=step, tokens=100, samples=4)
    save(3)
    dtj.report(step=4, tokens=100, samples=4)
    assert json.loads((alone / "checkpoints/step-3.i1/dtj.json").read_text())["totals"] == {
        "tokens": 300,
        "samples": 12,
    }
    # A restart: the fourth step is done again.
    monkeypatch.setattr(work, "done", {})
    dtj.latest_checkpoint()
    dtj.report(step=4, tokens=100, samples=4)
    assert work.totals() == {"tokens": 400, "samples": 16}


def test_a_save_is_due_every_so_many_steps_after_the_last_one(alone, monkeypatch):
    monkeypatch.setenv("DTJ_SAVE_EVERY_STEPS", "5")
    saved = []
    for step in range(1, 18):
        dtj.report(step=step)
        if dtj.should_save() or step == 7:
            save(step)
            saved.append(step)
    assert saved == [5, 7, 12, 17]


def test_a_save_stays_due_until_it_is_made(alone, monkeypatch):
    monkeypatch.setenv("DTJ_SAVE_EVERY_SECONDS", "0.001")
    while not dtj.should_save():
        pass
    assert dtj.should_save()
    monkeypatch.setenv("DTJ_SAVE_EVERY_SECONDS", "1000")
    save(1)
    assert not dtj.should_save()


def test_nothing_is_due_without_an_interval(alone):
    dtj.report(step=1000)
    assert not dtj.should_save()


def test_several_ranks_need_a_process_group(alone, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(RuntimeError, match=r"call torch\.distributed\.init_process_group"):
        dtj.latest_checkpoint()
    with pytest.raises(RuntimeError, match=r"call torch\.distributed\.init_process_group"), dtj.checkpoint_dir(1):
        pass


def test_a_folder_that_cannot_be_written_is_named(alone, monkeypatch):
    (alone / "file").write_text("")
    monkeypatch.setenv("DTJ_WORK_DIR", str(alone / "file"))
    with pytest.raises(dtj.SaveError, match=str(alone / "file")), dtj.checkpoint_dir(1):
        pass
    with pytest.raises(RuntimeError, match=r"no checkpoint can be chosen in .*file"):
        dtj.latest_checkpoint()


def test_a_rank_that_cannot_write_fails_the_save_on_all(start):
    job = start(3, "disk_full.py")
    files = [job.folder / f"found-{rank}" for rank in range(3)]
    job.wait("all ranks past their saves", lambda: all(file.exists() and file.read_text() for file in files))
    assert {file.read_text() for file in files} == {"step-30.i1 ['dtj.json', 'part-0', 'part-1', 'part-2']"}
    told = [(job.folder / f"told-{rank}").read_text() for rank in range(3)]
    assert all(text.startswith("20: step 20: rank 1 could not write") for text in told)
    assert "No space left" in told[1]
    assert names(job.folder / "work") == ["LATEST", "step-10.i1", "step-30.i1"]


def test_a_bug_in_the_save_is_told_as_the_users_error(start):
    job = start(2, "bug_in_save.py")
    reports = job.wait_reports("done after a restart", lambda r: r.state == "done")
    (failure,) = [failure for report in reports for failure in report.failures]
    assert (failure.rank, failure.message, failure.user_error) == (0, "KeyError: 'model'", True)
    assert names(job.folder / "work") == ["LATEST", "step-1.i1"]


def test_without_a_volume_nothing_is_kept_by_several_pods(start):
    job = start(2, "no_volume.py", work_dir=None)
    assert [job.exit_code(worker) for worker in job.workers] == [0, 0]
    assert {(job.folder / f"found-{rank}").read_text() for rank in (0, 1)} == {"False None"}
    assert "spec.checkpoint.volume" in job.output()


def test_the_transformers_trainer_goes_on_after_a_kill(start):
    job = start(2, "hf.py", env={"DTJ_SAVE_EVERY_STEPS": "5"})
    reports = job.wait_reports("done", lambda r: r.state == "done", patience=150)
    assert {(job.folder / f"result-{rank}").read_text() for rank in (0, 1)} == {"step-5.i1 12"}
    assert [report.progress.step for report in reports] == [12, 12]
    assert reports[0].progress.loss is not None
    assert reports[0].progress.samples == 12 * 2 * 2
    assert names(job.folder / "work") == ["LATEST", "step-10.i1", "step-5.i1"]
    there = {path.name for path in (job.folder / "work/checkpoints/step-10.i1").iterdir()}
    assert {"trainer_state.json", "model.safetensors", "rng_state_0.pth", "rng_state_1.pth"} <= there
