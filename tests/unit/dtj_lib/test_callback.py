"""The callback of the transformers Trainer publishes what the Trainer has written, wherever that is."""

import os
from types import SimpleNamespace

import pytest

import dtj


@pytest.fixture
def trainer(one_rank, monkeypatch, tmp_path):
    """A Trainer's output folder, and its word that it has saved a step."""
    monkeypatch.setenv("DTJ_WORK_DIR", str(tmp_path / "work"))
    return Trainer(tmp_path / "output")


class Trainer:
    def __init__(self, output):
        self.output = output
        self.callback = dtj.TrainerCallback()
        self.args = SimpleNamespace(output_dir=str(output), save_strategy="no", load_best_model_at_end=False)

    def writes(self, folder, content, at=None):
        path = self.output / folder
        path.mkdir(parents=True)
        (path / "model.safetensors").write_text(content)
        if at is not None:
            os.utime(path, (at, at))

    def says_saved(self, step):
        self.callback.on_save(self.args, SimpleNamespace(global_step=step), SimpleNamespace(should_save=True))


@pytest.mark.parametrize("folder", ["checkpoint-5", "run-0/checkpoint-5"])
def test_what_a_trial_of_a_search_has_saved_is_published(trainer, folder):
    trainer.writes(folder, "weights")
    trainer.says_saved(5)
    found = dtj.latest_checkpoint()
    assert (found.name, (found / "model.safetensors").read_text()) == ("step-5.i1", "weights")
    assert not (trainer.output / folder).exists()


def test_of_several_trials_that_of_now_is_published(trainer):
    trainer.writes("run-1/checkpoint-5", "of now", at=3000)
    trainer.writes("run-0/checkpoint-5", "of before", at=2000)
    trainer.writes("checkpoint-5", "of another run", at=1000)
    trainer.says_saved(5)
    assert (dtj.latest_checkpoint() / "model.safetensors").read_text() == "of now"


def test_a_save_of_which_nothing_is_found_is_no_checkpoint(trainer):
    with pytest.raises(RuntimeError, match="step 5: no rank has written anything"):
        trainer.says_saved(5)
    assert dtj.latest_checkpoint() is None
