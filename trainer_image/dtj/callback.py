"""transformers' Trainer under dtj: it reports, saves when all ranks agree to, and publishes what the Trainer saves.

    trainer = Trainer(..., callbacks=[dtj.TrainerCallback()])
    trainer.train(resume_from_checkpoint=dtj.latest_checkpoint())

The Trainer writes `checkpoint-<step>` into its output folder, in place, and would resume from a torn one. So what it
has written is taken over into a checkpoint of dtj's, which is published whole, and that is what to resume from.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

import transformers
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from dtj.checkpoints import checkpoint_dir
from dtj.group import agree
from dtj.places import number
from dtj.reporting import done, phase, report
from dtj.saving import should_save
from dtj.stages import stages


class TrainerCallback(transformers.TrainerCallback):
    """Give one to the Trainer; it needs no settings."""

    def __init__(self) -> None:
        self._training = contextlib.ExitStack()
        self._evaluation = contextlib.ExitStack()
        self._saving = contextlib.ExitStack()
        self._evaluates = False
        self._tokens = 0.0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """See base class."""
        stages.begin_at(state.global_step)
        self._tokens = float(state.num_input_tokens_seen)
        self._training.enter_context(phase("train"))

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """What was to be saved is, or is not after all: a metric may have decided."""
        self._saving.close()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Report the step, and have the Trainer save when all ranks agree to."""
        seen, self._tokens = float(state.num_input_tokens_seen) - self._tokens, float(state.num_input_tokens_seen)
        samples = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        report(
            step=state.global_step,
            total_steps=state.max_steps,
            epoch=state.epoch,
            samples=samples,
            tokens=seen if seen > 0 else None,
        )
        if should_save():
            control.should_save = True
        self._expect_save(control)

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """See base class."""
        self._expect_save(control)

    def _expect_save(self, control: TrainerControl) -> None:
        """The Trainer writes its files before it calls `on_save`: no step comes meanwhile, however long it takes."""
        if control.should_save:
            self._saving.close()
            self._saving.enter_context(phase("checkpoint"))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Report the loss, which the Trainer tells only when it logs."""
        told = logs or {}
        if "loss" in told:
            report(
                step=state.global_step,
                loss=told["loss"],
                lr=told.get("learning_rate"),
                grad_norm=told.get("grad_norm"),
            )

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Say that it evaluates: steps may be waited for until it has done so."""
        if not self._evaluates:
            self._evaluates = True
            self._evaluation.enter_context(phase("evaluate"))

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """See base class."""
        self._evaluates = False
        self._evaluation.close()

    def on_predict(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, metrics: dict[str, float], **_: Any
    ) -> None:
        """See base class."""
        self._evaluates = False
        self._evaluation.close()

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Publish what the Trainer has just saved."""
        # Who has the Trainer save by a strategy of its own, or asks for its best model, counts on its folders.
        stays = args.save_strategy != "no" or bool(args.load_best_model_at_end)
        with checkpoint_dir(state.global_step) as path:
            # All ranks have written their parts (each its random state) before any is taken over.
            agree([0])
            saved = _saved(Path(args.output_dir or "."), state.global_step) if number("LOCAL_RANK", 0) == 0 else None
            if saved is not None:
                _take_over(saved, path, copy=stays)
        if saved is not None and not stays:
            shutil.rmtree(saved, ignore_errors=True)
        self._saving.close()

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """See base class."""
        self._saving.close()
        self._training.close()
        done()


def _saved(output: Path, step: int) -> Path | None:
    """What the Trainer has written of this step: in its output folder, or in that of a trial below it."""
    name = f"checkpoint-{step}"
    found = [(path.stat().st_mtime, path) for path in (*output.glob(name), *output.glob(f"*/{name}"))]
    return max(found)[1] if found else None


def _take_over(source: Path, target: Path, *, copy: bool) -> None:
    """Have all files of one folder in another one too; the first of a name stands.

    Args:
        copy: the source stays. A link to a file that is written again would change a checkpoint that is published.
    """
    for folder, _, names in os.walk(source):
        into = target / Path(folder).relative_to(source)
        into.mkdir(parents=True, exist_ok=True)
        for name in names:
            with contextlib.suppress(FileExistsError):
                if copy or not _linked(Path(folder, name), into / name):
                    _copy(Path(folder, name), into / name)


def _linked(source: Path, target: Path) -> bool:
    """Whether that could be done: it cannot between file systems, and some have no links."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        return False
    return True


def _copy(source: Path, target: Path) -> None:
    # Several machines may copy a file of this name at once.
    part = target.with_name(f".{target.name}.{os.uname().nodename}")
    shutil.copyfile(source, part)
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
