"""Checkpoints are published whole, by all ranks or by none, and found again by all."""

import errno
import json
import os
import pathlib

import pytest
from alone import names, save

import dtj
from dtj.reporting import work
from dtj_trainer.launch.ranks.errors import describe


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


def test_those_of_every_so_many_steps_are_kept_too(alone, monkeypatch):
    monkeypatch.setenv("DTJ_SAVE_KEEP", "2")
    monkeypatch.setenv("DTJ_SAVE_KEEP_EVERY", "10")
    for step in (5, 10, 15, 20, 25, 28):
        save(step)
    assert names(alone) == ["LATEST", "step-10.i1", "step-20.i1", "step-25.i1", "step-28.i1"]


def test_the_same_step_again_replaces_the_earlier_one(alone):
    save(3, "first")
    save(3, "second")
    assert (dtj.latest_checkpoint() / "model").read_text() == "second"
    assert names(alone) == ["LATEST", "step-3.i1"]


def test_a_checkpoint_carries_the_totals_of_the_job(alone, monkeypatch):
    for step in (1, 2, 3):
        dtj.report(step=step, tokens=100, samples=4)
    dtj.report(step=3, tokens=float("nan"), samples=float("inf"))
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


def test_totals_that_are_no_numbers_are_left_behind_with_the_checkpoint_that_has_them(alone, monkeypatch):
    """Earlier versions wrote them, and JSON as Python reads it has them: every later sum would be none either."""
    monkeypatch.setattr(work, "done", {"tokens": float("nan"), "samples": 12.0})
    save(3)
    assert dtj.latest_checkpoint().name == "step-3.i1"
    dtj.report(step=4, tokens=100, samples=4)
    assert work.totals() == {"tokens": 100, "samples": 16}
    save(4)
    assert json.loads((alone / "checkpoints/step-4.i1/dtj.json").read_text())["totals"] == work.totals()


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
    with pytest.raises(dtj.RestoreError, match=r"no checkpoint can be chosen in .*file"):
        dtj.latest_checkpoint()


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ENOSPC])
def test_a_volume_that_fails_while_a_checkpoint_is_chosen_is_no_error_of_the_users(alone, monkeypatch, code):
    save(3)

    def fail(self):
        raise OSError(code, os.strerror(code), str(self))

    monkeypatch.setattr(pathlib.Path, "read_bytes", fail)
    with pytest.raises(dtj.RestoreError, match=os.strerror(code)) as caught:
        dtj.latest_checkpoint()
    assert caught.value.errno == code
    assert describe(caught.value)[2] is False


def test_damaged_checkpoints_are_no_failure_of_the_volume(alone):
    save(3)
    with pytest.raises(RuntimeError, match="cannot be restored") as caught:
        dtj.latest_checkpoint(lambda _: False)
    assert not isinstance(caught.value, OSError)
    assert describe(caught.value)[2] is True


def test_a_volume_that_fails_rank_0_alone_is_told_by_all_ranks(start):
    job = start(2, "volume_fails.py")
    files = [job.folder / f"told-{rank}" for rank in range(2)]
    job.wait("what both ranks say", lambda: all(file.exists() and file.read_text() for file in files))
    assert {file.read_text() for file in files} == {f"RestoreError {errno.EIO} False"}


def test_a_rank_that_cannot_write_fails_the_save_on_all(start):
    job = start(3, "disk_full.py")
    files = [job.folder / f"found-{rank}" for rank in range(3)]
    job.wait("all ranks past their saves", lambda: all(file.exists() and file.read_text() for file in files))
    assert {file.read_text() for file in files} == {
        "step-30.i1 ['dtj-manifest.json', 'dtj.json', 'part-0', 'part-1', 'part-2']"
    }
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
    assert not list(job.folder.rglob("checkpoint-*")), "the Trainer's own folders would fill a disk"


def test_the_best_one_stays_until_a_later_one_is_marked(alone, monkeypatch):
    monkeypatch.setenv("DTJ_SAVE_KEEP", "1")
    assert dtj.best_checkpoint() is None
    for step, best in ((1, False), (2, True), (3, False), (4, False)):
        save(step, best=best)
    assert names(alone) == ["LATEST", "step-2.i1", "step-4.i1"]
    assert dtj.best_checkpoint().name == "step-2.i1"
    save(5, best=True)
    assert names(alone) == ["LATEST", "step-5.i1"]


def test_an_old_one_that_cannot_be_removed_costs_room_alone(alone, monkeypatch, capsys):
    monkeypatch.setenv("DTJ_SAVE_KEEP", "1")
    save(1)

    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("dtj.publishing.remove_folder", refuse)
    save(2)
    save(3)
    assert dtj.latest_checkpoint().name == "step-3.i1"
    assert "an old checkpoint cannot be removed" in capsys.readouterr().err


def test_what_the_library_itself_keeps_is_summed_too(alone, monkeypatch):
    monkeypatch.setattr(work, "done", {"samples": 800.0})
    save(1)
    save(2)
    path = alone / "checkpoints/step-2.i1/dtj.json"
    path.write_text(path.read_text().replace("800", "900"))
    assert dtj.latest_checkpoint().name == "step-1.i1"
    assert work.totals() == {"samples": 800.0}


def test_an_empty_checkpoint_is_refused_on_all_ranks_and_is_the_users_error(alone):
    save(1)
    with pytest.raises(RuntimeError, match="step 2: no rank has written anything") as caught, dtj.checkpoint_dir(2):
        pass
    assert describe(caught.value)[2] is True
    assert names(alone) == ["LATEST", "step-1.i1"]
