"""Several trainings in one script: each is saved and watched, and a restart finds the one that it was in."""

import json
from types import SimpleNamespace

import pytest

import dtj
from dtj import saving
from dtj.reporting import work
from dtj.stages import Stages, stages
from dtj_trainer.launch.progress.stall import StepWatch, Timeout


@pytest.fixture
def job(one_rank, monkeypatch, tmp_path):
    """One rank under a launcher."""
    monkeypatch.setenv("DTJ_WORK_DIR", str(tmp_path))
    monkeypatch.setenv("DTJ_SAVE_EVERY_STEPS", "10")
    monkeypatch.setenv("DTJ_JOB_UID", "job")
    told = []
    for module in ("dtj.reporting", "dtj.saving"):
        monkeypatch.setattr(f"{module}.link.send", lambda message: told.append(message) or True)
    job = Job(tmp_path, monkeypatch, told)
    job.restart()
    return job


class Job:
    def __init__(self, folder, monkeypatch, told):
        self.folder, self.told = folder, told
        self._monkeypatch = monkeypatch
        self._incarnation = 0

    def restart(self):
        """Another process goes on; what it restores."""
        self._incarnation += 1
        self._monkeypatch.setenv("DTJ_INCARNATION", str(self._incarnation))
        vars(stages).update(vars(Stages()))
        work.step, work.done, work.restored = 0, {}, {}
        saving.requests.last_step = 0
        return dtj.latest_checkpoint()

    def train(self, steps, first=1, what="x"):
        """The steps at which it saved."""
        saved = []
        for step in range(first, steps + 1):
            dtj.report(step=step, total_steps=steps)
            if dtj.should_save():
                saved.append(step)
                with dtj.checkpoint_dir(step) as path:
                    (path / "model").write_text(f"{what} {step}")
        return saved

    def names(self):
        return [path.name for path in sorted((self.folder / "checkpoints").glob("step-*"), key=lambda path: path.name)]


def test_a_second_training_that_begins_again_is_saved_and_is_what_a_restart_finds(job, capsys):
    assert job.train(30, what="first") == [10, 20, 30]
    assert job.train(20, what="second") == [10, 20]
    assert "step 1 comes after step 30: it is counted as the job's step 31" in capsys.readouterr().err
    assert job.names() == ["step-30.i1", "step-40.i1", "step-50.i1"]
    assert (job.restart() / "model").read_text() == "second 20"


def test_one_that_saves_without_a_report_is_not_removed_as_it_is_published(job):
    for step in (100, 200, 300, 50):
        with dtj.checkpoint_dir(step) as path:
            (path / "model").write_text(str(step))
    assert (job.restart() / "model").read_text() == "50"


def test_a_stage_is_gone_on_with_where_it_was(job):
    assert dtj.stage("warm-up") == dtj.stage("warm-up")
    job.train(25)
    second = dtj.stage("fine-tune")
    assert (second.step, second.over) == (0, False)
    job.train(17, what="fine-tune")
    state = json.loads((job.folder / "checkpoints/step-40.i1/dtj.json").read_text())
    assert (state["step"], state["stages"]) == (
        40,
        [{"name": "warm-up", "after": 0}, {"name": "fine-tune", "after": 25}],
    )
    assert (job.restart() / "model").read_text() == "fine-tune 15"
    assert dtj.stage("warm-up").over
    again = dtj.stage("fine-tune")
    assert (again.step, again.over) == (15, False)
    assert job.train(40, first=again.step + 1) == [25, 35]
    assert dtj.stage("export").step == 0


def test_a_stage_with_which_the_job_has_not_come_to_a_save_begins_anew(job):
    dtj.stage("warm-up")
    job.train(25)
    dtj.stage("fine-tune")
    job.train(3)
    job.restart()
    first = dtj.stage("warm-up")
    assert (first.step, first.over) == (20, False)
    job.train(25, first=21)
    assert dtj.stage("fine-tune").step == 0


def test_names_are_for_one_stage_each(job):
    dtj.stage("fold")
    job.train(3)
    dtj.stage("other")
    with pytest.raises(ValueError, match="stage 'fold' is over in this process"):
        dtj.stage("fold")
    with pytest.raises(ValueError, match="needs a name"):
        dtj.stage("")


def test_a_checkpoint_of_one_training_says_nothing_of_stages(job):
    """As a version before has written it, and reads it."""
    job.train(10)
    assert "stages" not in json.loads((job.folder / "checkpoints/step-10.i1/dtj.json").read_text())
    assert job.restart().name == "step-10.i1"
    assert job.train(30, first=11) == [20, 30]
    assert job.names() == ["step-10.i1", "step-20.i2", "step-30.i2"]


def test_a_stray_report_of_something_else_begins_nothing(job):
    """An epoch where a step belongs, say."""
    for epoch in (1, 2, 3):
        for step in range(10 * epoch - 9, 10 * epoch + 1):
            dtj.report(step=step)
        dtj.report(step=epoch, loss=0.5)
        dtj.report(step=epoch)
        assert work.step == 10 * epoch
    assert stages.carried() == []


def test_a_script_that_goes_back_is_another_training_and_its_saves_are_the_newest(job):
    """It rolls back behind a spike of its loss."""
    job.train(30)
    assert job.train(31, first=21, what="again") == [30]
    assert (job.restart() / "model").read_text() == "again 30"
    assert job.names()[-1] == "step-40.i1", "the job has made as many"


def test_saves_that_lag_behind_the_reports_begin_nothing(job):
    for step in range(1, 31):
        dtj.report(step=step)
        if dtj.should_save():
            with dtj.checkpoint_dir(step - 1) as path:
                (path / "model").touch()
    assert stages.carried() == []
    assert "step-29.i1" in job.names()


def test_the_launcher_sees_steps_that_rise_and_watches_the_second_training_too(job):
    job.train(30)
    dtj.done()
    job.train(30)
    told = [message for message in job.told if message["type"] in ("report", "done")]
    steps = [message["step"] for message in told if "step" in message]
    assert steps[:30] == [float(step) for step in range(1, 31)]
    assert steps == sorted(steps)
    assert told[-1]["total_steps"] == 60.0
    watch, now = StepWatch(Timeout(5.0)), 0.0
    for message in told[:-1]:
        now += 1.0
        watch.take(0, message, now)
        assert watch.stalled(now) is None
    assert watch.stalled(now + 6.0) is not None, "done() was said of the first one"


def test_one_trainer_after_another_is_a_stage_each(job):
    callback = dtj.TrainerCallback()
    args = SimpleNamespace(train_batch_size=1, gradient_accumulation_steps=1, world_size=1)

    def trains(first, last):
        control = SimpleNamespace(should_save=False)
        state = SimpleNamespace(global_step=first, num_input_tokens_seen=0, max_steps=last, epoch=0.0)
        callback.on_train_begin(args, state, control)
        for step in range(first + 1, last + 1):
            state.global_step = step
            callback.on_step_end(args, state, control)
            if control.should_save:
                control.should_save = False
                with dtj.checkpoint_dir(step) as path:
                    (path / "model").write_text(f"{last}: {step}")
        callback.on_train_end(args, state, control)

    trains(0, 12)
    trains(0, 5)
    trains(0, 25)
    assert job.names() == ["step-10.i1", "step-20.i1", "step-30.i1", "step-40.i1"][-3:]
    assert (job.restart() / "model").read_text() == "25: 23"
    trains(23, 40)
    assert job.names()[-1] == "step-50.i2"


def test_rank_0_alone_may_report(start):
    """The others learn of a stage with its first save."""
    job = start(2, "stages.py", env={"DTJ_SAVE_EVERY_STEPS": "5"})
    files = [job.folder / f"told-{rank}" for rank in range(2)]
    job.wait("what both ranks say", lambda: all(file.exists() and file.read_text() for file in files))
    assert [json.loads(file.read_text()) for file in files] == [[[5, 3, 8], "step-15.i1", 15]] * 2
