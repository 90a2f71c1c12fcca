"""A script may use whichever half of the library it likes: nothing that it does removes the newest whole checkpoint."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import dtj
from dtj import manifest
from dtj import restoring as restoring_module


@pytest.fixture
def job(one_rank, monkeypatch, tmp_path):
    """One rank under a launcher that never asks what to restore; a function that begins an incarnation."""
    monkeypatch.setenv("DTJ_WORK_DIR", str(tmp_path))
    monkeypatch.setenv("DTJ_JOB_UID", "job")
    restoring_module.passed_over.clear()
    return lambda number: monkeypatch.setenv("DTJ_INCARNATION", str(number))


def save(step, content="x", **more):
    with dtj.checkpoint_dir(step, **more) as path:
        (path / "model").write_text(content)


def names(folder):
    return sorted(path.name for path in (folder / "checkpoints").glob("step-*"))


def test_a_script_that_only_saves_keeps_the_checkpoints_of_its_earlier_incarnations(job, tmp_path):
    job(1)
    for step in (10, 20, 30):
        save(step)
    job(2)
    there = []

    def fail():
        with dtj.checkpoint_dir(40):
            there.extend(names(tmp_path))
            raise OSError(28, "No space left on device")

    with pytest.raises(dtj.SaveError):
        fail()
    assert there == ["step-10.i1", "step-20.i1", "step-30.i1"]
    assert names(tmp_path) == ["step-10.i1", "step-20.i1", "step-30.i1"]
    assert json.loads((tmp_path / "lineage/2").read_text()) == {"restored": "step-30.i1"}
    save(40)
    assert names(tmp_path) == ["step-20.i1", "step-30.i1", "step-40.i2"]
    job(3)
    assert dtj.latest_checkpoint().name == "step-40.i2"


def test_it_goes_on_from_the_whole_one_and_not_from_the_damaged_which_is_told(job, tmp_path, capsys):
    job(1)
    for step in (10, 20):
        save(step)
    (tmp_path / "checkpoints/step-20.i1/model").write_text("y")
    job(2)
    save(25)
    assert json.loads((tmp_path / "lineage/2").read_text()) == {"restored": "step-10.i1"}
    assert names(tmp_path) == ["step-10.i1", "step-20.i1.bad", "step-25.i2"]
    assert "step-20.i1 is damaged and passed over: model has other content" in capsys.readouterr().err


def test_a_script_that_only_asks_for_the_best_gets_that_of_an_earlier_incarnation(job):
    job(1)
    save(10, best=True)
    save(20)
    for number in (2, 3):
        job(number)
        assert dtj.best_checkpoint().name == "step-10.i1"


def test_what_an_earlier_version_left_that_noted_nothing_stays(job, tmp_path):
    job(1)
    for step in (10, 20, 30):
        save(step)
    shutil.rmtree(tmp_path / "lineage")
    job(2)
    assert dtj.latest_checkpoint().name == "step-30.i1"
    shutil.rmtree(tmp_path / "lineage")
    (tmp_path / "lineage").mkdir()
    (tmp_path / "lineage/2").write_text('{"restored": null}')
    save(5)
    assert names(tmp_path) == ["step-10.i1", "step-20.i1", "step-30.i1", "step-31.i2"], "nobody knows what it stood on"


class HalfUsed(RuleBasedStateMachine):
    """Calls of one rank in any order, over incarnations: the newest whole checkpoint is always there."""

    def __init__(self):
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="dtj-half-"))
        self.before, self.fsync = dict(os.environ), os.fsync
        # Nothing here is about the disk, which would take most of the time.
        os.fsync = lambda _: None
        self.incarnation, self.step, self.trainings = 0, 0, 0
        self.newest: str | None = None
        self.steps: dict[str, int] = {}
        """Of a checkpoint, as its training counts them."""

    def teardown(self):
        for name in set(os.environ) - set(self.before):
            del os.environ[name]
        os.environ.update(self.before)
        os.fsync = self.fsync
        shutil.rmtree(self.root)

    @initialize()
    def first(self):
        for name in list(os.environ):
            if name.startswith("DTJ_") or name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "GROUP_WORLD_SIZE"):
                del os.environ[name]
        os.environ |= {"DTJ_WORK_DIR": str(self.root), "DTJ_JOB_UID": "job", "DTJ_SAVE_EVERY_STEPS": "3"}
        self.new_incarnation()

    @rule()
    def new_incarnation(self):
        """A restart: another process, which knows nothing."""
        self.incarnation += 1
        os.environ["DTJ_INCARNATION"] = str(self.incarnation)
        fresh_process()

    @rule()
    def restores(self):
        found = dtj.latest_checkpoint()
        assert (found.name if found else None) == self.newest
        self.step = self.steps[found.name] if found else 0

    @rule()
    def begins_another_training(self):
        self.step = 0

    @rule()
    def begins_a_stage(self):
        self.trainings += 1
        assert dtj.stage(f"stage {self.trainings}").step == 0
        self.step = 0

    @rule()
    def looks_for_the_best(self):
        dtj.best_checkpoint()

    @rule(steps=st.integers(1, 5))
    def trains(self, steps):
        for _ in range(steps):
            self.step += 1
            dtj.report(step=self.step)
            if dtj.should_save():
                self.saves(keep=1, best=False)

    @rule(keep=st.integers(1, 2), best=st.booleans())
    def saves(self, keep, best):
        os.environ["DTJ_SAVE_KEEP"] = str(keep)
        before = set(self.published())
        with dtj.checkpoint_dir(self.step, best=best) as path:
            (path / "model").write_text(f"{self.step} of {self.incarnation}")
        self.newest = self.youngest(before)

    @rule()
    def saves_in_the_background(self):
        def stage():
            return lambda path, _: (path / "model").write_text("x") and None

        before = set(self.published())
        dtj.save_in_background(self.step, stage)
        dtj.wait_for_save()
        self.newest = self.youngest(before)

    @rule(keep=st.integers(1, 2))
    def fails_to_save(self, keep):
        os.environ["DTJ_SAVE_KEEP"] = str(keep)
        with pytest.raises(dtj.SaveError), dtj.checkpoint_dir(self.step + 1):
            raise OSError(28, "No space left on device")

    def published(self):
        return [path.name for path in (self.root / "checkpoints").glob("step-*")]

    def youngest(self, before):
        """The one that was just published: LATEST names it, for people."""
        name = (self.root / "checkpoints/LATEST").read_text().strip()
        assert name in self.published(), f"{name} was published and removed at once; before: {before}"
        self.steps[name] = self.step
        return name

    @invariant()
    def the_newest_whole_one_is_there(self):
        if self.newest is not None:
            assert manifest.problems(self.root / "checkpoints" / self.newest) == []
            assert manifest.read(self.root / "checkpoints" / self.newest)


def fresh_process():
    """As a new process finds the library."""
    from dtj import reporting, saving
    from dtj.stages import Stages, stages

    vars(stages).update(vars(Stages()))
    reporting.work.step, reporting.work.done, reporting.work.restored = 0, {}, {}
    saving.requests.last_step, saving.requests.due_since = 0, None
    restoring_module.passed_over.clear()


TestHalfUsed = HalfUsed.TestCase
TestHalfUsed.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)
