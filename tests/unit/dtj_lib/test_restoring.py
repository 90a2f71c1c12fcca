"""A damaged checkpoint is never restored: it is told, set aside, and the one before it taken."""

import json
import os
import shutil

import pytest

import dtj
from dtj import manifest, restoring


@pytest.fixture
def job(one_rank, monkeypatch, tmp_path):
    """One rank under a launcher, with checkpoints of steps 10 and 20."""
    monkeypatch.setenv("DTJ_WORK_DIR", str(tmp_path))
    monkeypatch.setenv("DTJ_INCARNATION", "1")
    told = []
    monkeypatch.setattr(restoring.link, "send", lambda message: told.append(message) or True)
    assert dtj.latest_checkpoint() is None
    for step in (10, 20):
        save(step)
    told.clear()
    return Job(tmp_path, told)


class Job:
    def __init__(self, folder, told):
        self.folder, self.told = folder, told

    def checkpoint(self, step):
        return self.folder / "checkpoints" / f"step-{step}.i1"

    def names(self):
        return sorted(path.name for path in (self.folder / "checkpoints").iterdir() if path.name != "LATEST")

    def damaged(self):
        return [(each["checkpoint"], each["why"]) for each in self.told if each["type"] == "damaged"]


def save(step):
    with dtj.checkpoint_dir(step) as path:
        (path / "model").write_text(f"model of {step}")
        (path / "deep").mkdir()
        (path / "deep" / "optimizer").write_text("x" * 1000)


def half_deleted(path):
    """As a removal leaves it that was cut off: some files are gone, and not those that tell what belongs there."""
    (path / "model").unlink()
    shutil.rmtree(path / "deep")


DAMAGE = {
    "flipped": (lambda path: (path / "model").write_text("model 0f 20"), "model has other content than was written"),
    "cut": (
        lambda path: os.truncate(path / "deep/optimizer", 999),
        "deep/optimizer has 999 bytes, and 1000 were written",
    ),
    "half deleted": (half_deleted, "deep/optimizer is missing; model is missing"),
    "no manifest": (lambda path: (path / manifest.FILE).unlink(), "dtj-manifest.json is missing"),
    "no state": (lambda path: (path / "dtj.json").unlink(), "dtj.json is missing"),
    "a torn manifest": (lambda path: (path / manifest.FILE).write_text("{"), "dtj-manifest.json cannot be read"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_it_is_told_and_set_aside_and_the_one_before_it_restored(job, damage, capsys):
    act, why = DAMAGE[damage]
    act(job.checkpoint(20))
    assert dtj.latest_checkpoint() == job.checkpoint(10)
    assert job.names() == ["step-10.i1", "step-20.i1.bad"]
    assert job.damaged() == [("step-20.i1", why)]
    assert f"step-20.i1 is damaged and passed over: {why}" in capsys.readouterr().err
    assert dtj.latest_checkpoint() == job.checkpoint(10)
    assert len(job.damaged()) == 1, "it is told once"


def test_one_that_was_made_before_there_were_manifests_is_restored(job):
    path = job.checkpoint(20)
    (path / manifest.FILE).unlink()
    state = json.loads((path / "dtj.json").read_text())
    del state["manifest"]
    (path / "dtj.json").write_text(json.dumps(state))
    assert dtj.latest_checkpoint() == path


def test_where_none_is_whole_all_stay_where_they_are_and_nothing_is_begun_anew(job):
    for step in (10, 20):
        (job.checkpoint(step) / "model").unlink()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="cannot be restored, and there is none before it; move it away"):
            dtj.latest_checkpoint()
    assert job.names() == ["step-10.i1", "step-20.i1"]
    assert job.damaged() == [("step-20.i1", "model is missing"), ("step-10.i1", "model is missing")] * 2


def test_one_that_only_the_script_refuses_is_not_called_damaged(job):
    assert dtj.latest_checkpoint(lambda path: "20" not in path.name) == job.checkpoint(10)
    assert job.names() == ["step-10.i1", "step-20.i1"]
    assert job.damaged() == []


def test_a_bug_in_the_scripts_own_check_is_told_as_it_is(job):
    with pytest.raises(KeyError, match="model"):
        dtj.latest_checkpoint(lambda path: {}["model"])


def test_without_a_launcher_the_next_save_goes_on_from_the_whole_one_and_not_from_the_damaged(job, monkeypatch):
    monkeypatch.delenv("DTJ_INCARNATION")
    (job.checkpoint(20) / "model").unlink()
    assert dtj.latest_checkpoint() == job.checkpoint(10)
    monkeypatch.setenv("DTJ_SAVE_KEEP", "2")
    save(11)
    assert job.names() == ["step-10.i1", "step-11.i1", "step-20.i1.bad"]


def test_a_file_of_the_scripts_own_may_be_called_a_manifest(job):
    with dtj.checkpoint_dir(30) as path:
        (path / "manifest.json").write_text("mine")
    found = dtj.latest_checkpoint()
    assert (found / "manifest.json").read_text() == "mine"


def test_it_is_read_once_though_it_is_asked_for_twice(job, monkeypatch):
    monkeypatch.setenv("DTJ_INCARNATION", "2")
    read = []
    real = manifest.problems
    monkeypatch.setattr(restoring.manifest, "problems", lambda path, *rest: read.append(path) or real(path, *rest))
    assert dtj.latest_checkpoint() == job.checkpoint(20)
    assert read == [job.checkpoint(20)]


def test_a_process_that_was_given_up_sets_nothing_aside(job, monkeypatch):
    (job.checkpoint(20) / "model").unlink()
    monkeypatch.setattr(restoring.Lineage, "stale", True)
    assert dtj.latest_checkpoint() == job.checkpoint(10)
    assert "step-20.i1" in job.names()


def test_what_was_set_aside_goes_when_a_whole_one_of_its_age_would(job, monkeypatch):
    monkeypatch.setenv("DTJ_SAVE_KEEP", "2")
    (job.checkpoint(20) / "model").unlink()
    dtj.latest_checkpoint()
    save(30)
    assert job.names() == ["step-10.i1", "step-20.i1.bad", "step-30.i1"]
    save(40)
    assert job.names() == ["step-30.i1", "step-40.i1"]


def test_the_ranks_find_together_what_one_of_them_wrote(start):
    running = start(3, "damaged.py")
    files = [running.folder / f"found-{rank}" for rank in range(3)]
    running.wait("what all ranks found", lambda: all(file.exists() and file.read_text() for file in files))
    assert [file.read_text() for file in files] == [f"step-10.i1: {rank} of step 10" for rank in range(3)]
    names = sorted(path.name for path in (running.folder / "work/checkpoints").iterdir())
    assert names == ["LATEST", "step-10.i1", "step-20.i1.bad"]
    assert "part-2 has other content than was written" in running.output()


@pytest.mark.parametrize("launched", [True, False])
def test_the_step_of_a_damaged_one_made_again_is_kept(job, monkeypatch, launched):
    """Rounds of one incarnation use the same name for the same step."""
    (job.checkpoint(20) / "model").unlink()
    if not launched:
        monkeypatch.delenv("DTJ_INCARNATION")
    assert dtj.latest_checkpoint() == job.checkpoint(10)
    for step in (20, 30):
        save(step)
        found = dtj.latest_checkpoint()
        assert (found.name, (found / "model").read_text()) == (f"step-{step}.i1", f"model of {step}")
    assert "step-20.i1" in job.names()


def test_sums_that_the_image_cannot_make_are_told(job, monkeypatch, capsys):
    monkeypatch.setattr(manifest, "_KINDS", {"crc32": manifest._KINDS["crc32"]})
    assert dtj.latest_checkpoint().name == "step-20.i1"
    assert "only the sizes are compared: this image cannot make sums of the kind xxh3-128" in capsys.readouterr().err
