"""All parts of one running job, and the three things done with them beside stepping: restore, save, evaluate."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from transformers import PreTrainedModel

import dtj
from dtj.memory import Memory
from dtj_api.trainer import TrainerConfig
from dtj_trainer.checkpoint import state as state_file
from dtj_trainer.checkpoint.state import TrainState
from dtj_trainer.checkpoint.tensors import (
    Copies,
    Weights,
    copy_weights,
    load_part,
    load_tensors,
    parameter_norm,
    set_weights,
    tensors_to_save,
    verify_resume,
    write_part,
    write_tensors,
)
from dtj_trainer.data.sampler import Cursor, ElasticSampler
from dtj_trainer.dropout.adapt import adapt, expect_no_other_draws
from dtj_trainer.evaluate import predict_split
from dtj_trainer.optimizer import build_optimizer
from dtj_trainer.parallel.world import World
from dtj_trainer.parallel.wrap import wrap
from dtj_trainer.strategies.synchronous import Synchronous
from dtj_trainer.tasks.features import Batch
from dtj_trainer.tasks.fingerprint import of_model, of_tokenizer
from dtj_trainer.tasks.model import head_of
from dtj_trainer.tasks.ner import Ner
from dtj_trainer.untrainable import preparing, restoring


class Session:
    """A job on this rank, at the step where its last checkpoint left it."""

    def __init__(self, config: TrainerConfig, task: Ner, model: PreTrainedModel, world: World) -> None:
        self.config = config
        self.task = task
        self.world = world
        self.train = task.features["train"]
        self.sampler = ElasticSampler([len(f.pieces) for f in self.train], config.batch_size, config.seed)
        self.total_steps = self.sampler.steps_per_epoch * config.epochs
        self.model_config = model.config
        self._model = of_model(model, drawn=config.model.from_config)
        head = head_of(model)
        # Sharding replaces the parameters, so the optimizer comes after it; dropout is replaced in the bare model.
        with preparing(f"model.path {config.model.path!r}: the model cannot take dropout by sample"):
            self.draws = adapt(model, config.seed, world.device)
        shape = config.parallel
        with preparing(
            f"parallel: dataReplicate {shape.data_replicate} x dataShard {shape.data_shard} x tensor {shape.tensor}: "
            f"a world of {world.size} cannot share the model in {config.model.path} so"
        ):
            self.parallel = wrap(model, world, config)
        with preparing(f"optimizer.name {config.optimizer.name!r}: not for the model in {config.model.path}"):
            self.optimizer = build_optimizer(self.parallel.plain, config.optimizer, head)
        self.strategy = Synchronous(self.parallel, self.optimizer, config.optimizer, self.total_steps, world)
        self.best: Weights | None = None
        self._copies = Copies()
        self._memory = Memory()
        self.saved: tuple[int, int] = (0, -1)
        """Step, and step of the last evaluation, in the newest checkpoint."""
        self.state = TrainState(self._identity())
        self._restore()
        self.state.world_sizes.append([self.state.step, world.size])
        self.parallel.plain.train()
        self.seed_step()
        longest = max(self.train, key=lambda feature: len(feature.pieces))
        with (
            expect_no_other_draws(world.device),
            preparing(f"model.path: the model cannot be trained on a sentence of {len(longest.pieces)} pieces"),
        ):
            self.strategy.settle(task.collate([longest]).to(world.device), self.loss)

    @property
    def cursor(self) -> Cursor:
        """Where the next step takes its samples."""
        return Cursor(self.state.epoch, self.state.consumed)

    @property
    def finished(self) -> bool:
        """All epochs are done, or early stopping has decided."""
        return self.state.stopped or self.state.epoch >= self.config.epochs

    def seed_step(self) -> None:
        """Seed the dropout of the coming step by the step alone, and by the rank what `adapt` could not reach."""
        self.draws.begin(self.state.step)
        seed = (self.config.seed * 1_000_003 + self.state.step) * 65_537 + self.world.data_rank
        torch.manual_seed(seed % 2**63)

    def loss(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """The task's loss, with the dropout of the batch's own samples."""
        self.draws.use(batch.samples)
        return self.task.loss(model, batch)

    def save(self) -> None:
        """Have a checkpoint of the current step written while training goes on; all ranks together."""

        def stage() -> Callable[[Path, Any], None]:
            tree, text = self._to_save()
            return partial(self._write, self._copies.of(tree), text)

        dtj.save_in_background(self.state.step, stage)
        self.saved = (self.state.step, self.state.evaluated_step)

    def keep_in_memory(self) -> None:
        """Keep the current step in the memory of the pods, if it is due there."""
        if self._memory.due(self.state.step):
            with dtj.phase("checkpoint"):
                tree, text = self._to_save()

                def write(directory: Path) -> None:
                    write_part(directory, tree)
                    (directory / state_file.FILE).write_text(text)

                self._memory.keep(self.state.step, write)

    def save_last(self) -> None:
        """Return when a checkpoint of the current step has been published; all ranks together."""
        try:
            dtj.wait_for_save()
        except dtj.SaveError:
            # Told already; what counts is whether the last step can be kept.
            self.saved = (0, -1)
        if self.saved != (self.state.step, self.state.evaluated_step):
            self.save()
            dtj.wait_for_save()

    def _to_save(self) -> tuple[dict[str, Any], str]:
        tree = tensors_to_save(self.parallel, self.optimizer, self.best, self.world)
        return tree, self.state.text(parameter_norm(self.parallel))

    def _write(self, tree: dict[str, Any], text: str, directory: Path, group: Any) -> None:
        write_tensors(directory, tree, group)
        if self.world.rank == 0:
            (directory / state_file.FILE).write_text(text)

    def evaluation_due(self) -> bool:
        """The dev split is to be scored before another step is made."""
        state, every = self.state, self.config.evaluate.every_steps
        if state.step == 0 or state.evaluated_step == state.step:
            return False
        return (state.step % every == 0 or self.finished) if every else state.consumed == 0

    def evaluate(self) -> None:
        """Score dev, keep the best weights, decide on early stopping: once, on rank 0, for all."""
        with dtj.phase("evaluate"):
            scores = self.score("dev")
        state, settings = self.state, self.config.early_stopping
        strict = scores["strict"]
        if state.early.observe(strict["f1"], state.step, settings.min_delta):
            self.best = copy_weights(self.parallel)
        state.stopped = bool(settings.patience) and state.early.bad >= settings.patience
        state.evaluated_step = state.step
        row = {"step": state.step, "epoch": state.epoch + state.consumed / len(self.train)}
        f1s = {"devF1Strict": strict["f1"], "devF1Default": scores["default"]["f1"]}
        state.evaluations.append(row | f1s | {"trainLoss": state.curve.mean(self._last_evaluation() + 1)})

    def score(self, split: str) -> dict[str, Any]:
        """Scores of a split by the current weights, computed by rank 0 and the same on every rank."""
        predicted = predict_split(
            self.task, self.task.features[split], self.parallel, self.world, self.config.evaluate.batch_size
        )
        answer = [self.task.score(split, predicted) if self.world.rank == 0 else {}]
        dist.broadcast_object_list(answer, src=0, group=self.world.tail)
        return answer[0]

    def use_best(self) -> None:
        """Restore the weights of the best evaluation."""
        if self.best is not None:
            set_weights(self.parallel, self.best)

    def _last_evaluation(self) -> int:
        return int(self.state.evaluations[-1]["step"]) if self.state.evaluations else 0

    def _identity(self) -> dict[str, Any]:
        config = self.config
        return {
            "data": self.task.splits.digest(),
            "task": config.task,
            "labels": list(config.data.labels),
            "maxLength": config.data.max_length,
            "batchSize": config.batch_size,
            "seed": config.seed,
            "model": self._model,
            "model.freezeEmbeddings": config.model.freeze_embeddings,
            "tokenizer": of_tokenizer(self.task.tokenizer),
            "optimizer.name": config.optimizer.name,
        }

    def _restore(self) -> None:
        with dtj.phase("restore"):
            directory = dtj.latest_checkpoint(memory=self._memory)
            if directory is None:
                return
            self.state, norm = TrainState.read(directory, self.state.identity)
            best = self.state.early.best_step >= 0
            with restoring(
                directory,
                f"does not fit model.path {self.config.model.path!r} and optimizer.name "
                f"{self.config.optimizer.name!r}; set back what was changed or use another checkpoint path",
            ):
                if self._memory.has(directory):
                    self.best = load_part(directory, self.parallel, self.optimizer, best, self.world)
                else:
                    self.best = load_tensors(directory, self.parallel, self.optimizer, best)
                    self.saved = (self.state.step, self.state.evaluated_step)
            verify_resume(directory, self.parallel, norm)
