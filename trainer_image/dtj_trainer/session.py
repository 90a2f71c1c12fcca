"""All parts of one running job on this rank: what they are made of, in which order, and where the job is."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PreTrainedModel

from dtj_api.trainer import TrainerConfig
from dtj_trainer.checkpoint.checkpointer import Checkpointer
from dtj_trainer.data.sampler import Cursor, ElasticSampler
from dtj_trainer.dropout.adapt import adapt, expect_no_other_draws
from dtj_trainer.evaluate import Evaluator
from dtj_trainer.optimizer import build_optimizer
from dtj_trainer.parallel.plans.find import head_of
from dtj_trainer.parallel.world import World
from dtj_trainer.parallel.wrap import wrap
from dtj_trainer.strategies.synchronous import Synchronous
from dtj_trainer.tasks.fingerprint import of_model, of_tokenizer
from dtj_trainer.tasks.task import AnyTask, Batch
from dtj_trainer.untrainable import preparing


class Session:
    """A job on this rank, at the step where its last checkpoint left it."""

    def __init__(self, config: TrainerConfig, task: AnyTask, model: PreTrainedModel, world: World) -> None:
        self.config = config
        self.task = task
        self.world = world
        self.train = task.examples["train"]
        sizes = [task.size(example) for example in self.train]
        self.sampler = ElasticSampler(sizes, config.batch_size, config.seed)
        self.total_steps = self.sampler.steps_per_epoch * config.epochs
        self.model_config = model.config
        identity = _identity(config, task, model)
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
        self.checkpointer = Checkpointer(config, self.parallel, self.optimizer, world)
        self.state = self.checkpointer.restore(identity)
        self.state.world_sizes.append([self.state.step, world.size])
        self.evaluator = Evaluator(config, task, self.parallel, world, self.state, self.checkpointer)
        self.parallel.plain.train()
        self.seed_step()
        longest = max(range(len(sizes)), key=sizes.__getitem__)
        with (
            expect_no_other_draws(world.device),
            preparing(f"model.path: the model cannot be trained on an example of {sizes[longest]} pieces"),
        ):
            self.strategy.settle(task.collate([self.train[longest]]).to(world.device), self.loss)

    @property
    def cursor(self) -> Cursor:
        """Where the next step takes its samples."""
        return Cursor(self.state.epoch, self.state.consumed)

    def seed_step(self) -> None:
        """Seed the dropout of the coming step by the step alone, and by the rank what `adapt` could not reach."""
        self.draws.begin(self.state.step)
        seed = (self.config.seed * 1_000_003 + self.state.step) * 65_537 + self.world.data_rank
        torch.manual_seed(seed % 2**63)

    def loss(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """The task's loss, with the dropout of the batch's own samples."""
        self.draws.use(batch.samples)
        return self.task.loss(model, batch)


def _identity(config: TrainerConfig, task: AnyTask, model: PreTrainedModel) -> dict[str, Any]:
    """What a checkpoint of this job is of. The first that differs is told, so what a user writes comes before what
    follows from it: labels before the model whose head they are the outputs of.
    """
    tasks = task.identity()
    ours = {
        "batchSize": config.batch_size,
        "seed": config.seed,
        "model": of_model(model, drawn=config.model.from_config),
        "model.freezeEmbeddings": config.model.freeze_embeddings,
        "tokenizer": of_tokenizer(task.tokenizer),
        "optimizer.name": config.optimizer.name,
    }
    assert tasks.keys().isdisjoint(ours), "a task names what every job has"
    return {"task": config.task, **tasks, **ours}
