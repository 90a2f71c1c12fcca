"""How good a job is: predictions of all ranks for a split, its scores, and what they decide.

Each example counts once, and nothing is padded into the scores. Every rank makes the same number of forward calls,
since those of a sharded model are collectives: a rank without work calls with an example whose prediction is thrown
away.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.distributed as dist

import dtj
from dtj_api.trainer import TrainerConfig
from dtj_trainer.checkpoint.checkpointer import Checkpointer
from dtj_trainer.checkpoint.state import TrainState
from dtj_trainer.parallel.world import World
from dtj_trainer.parallel.wrap import Parallel
from dtj_trainer.tasks.task import AnyTask, B, E, P, Scores, Task


def predict_split(
    task: Task[E, B, P], examples: Sequence[E], parallel: Parallel, world: World, batch_size: int
) -> list[P]:
    """The prediction for every example, in their order, on every rank."""
    order = sorted(range(len(examples)), key=lambda i: -task.size(examples[i]))
    chunks = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    rounds = -(-len(chunks) // world.data_size)
    mine: dict[int, P] = {}
    with parallel.inference() as module:
        for turn in range(rounds):
            at = turn * world.data_size + world.data_rank
            chunk = chunks[at] if at < len(chunks) else []
            batch = task.collate([examples[i] for i in chunk] or examples[:1]).to(world.device)
            mine.update(zip(chunk, task.predict(module, batch), strict=False))
    parts: list[dict[int, P]] = [{} for _ in range(world.size)]
    dist.all_gather_object(parts, mine, group=world.tail)
    merged = {i: prediction for part in parts for i, prediction in part.items()}
    return [merged[i] for i in range(len(examples))]


class Evaluator:
    """Scores by the weights of now, and what they decide: once, on rank 0, for all.

    Args:
        config: of the job.
        task: what is scored.
        parallel: the model.
        world: the ranks.
        state: of the job; evaluations go into it.
        checkpointer: keeps the best weights.
    """

    def __init__(
        self,
        config: TrainerConfig,
        task: AnyTask,
        parallel: Parallel,
        world: World,
        state: TrainState,
        checkpointer: Checkpointer,
    ) -> None:
        self._config = config
        self._task = task
        self._parallel = parallel
        self._world = world
        self._state = state
        self._checkpointer = checkpointer

    @property
    def finished(self) -> bool:
        """All epochs are done, or early stopping has decided."""
        return self._state.stopped or self._state.epoch >= self._config.epochs

    def due(self) -> bool:
        """The dev split is to be scored before another step is made."""
        state, every = self._state, self._config.evaluate.every_steps
        if state.step == 0 or state.evaluated_step == state.step:
            return False
        return (state.step % every == 0 or self.finished) if every else state.consumed == 0

    def evaluate(self) -> None:
        """Score dev, keep the best weights, decide on early stopping."""
        with dtj.phase("evaluate"):
            scores = self.score("dev")
        state, settings = self._state, self._config.early_stopping
        if state.early.observe(scores.deciding, state.step, settings.min_delta):
            self._checkpointer.keep_best()
        state.stopped = bool(settings.patience) and state.early.bad >= settings.patience
        state.evaluated_step = state.step
        row = {"step": state.step, "epoch": state.epoch + state.consumed / len(self._task.examples["train"])}
        last = int(state.evaluations[-1]["step"]) if state.evaluations else 0
        state.evaluations.append(row | scores.keyed("dev") | {"trainLoss": state.curve.mean(last + 1)})

    def score(self, split: str) -> Scores:
        """Scores of a split, computed by rank 0 and the same on every rank."""
        examples, size = self._task.examples[split], self._config.evaluate.batch_size
        predicted = predict_split(self._task, examples, self._parallel, self._world, size)
        answer = [self._task.score(split, predicted) if self._world.rank == 0 else None]
        dist.broadcast_object_list(answer, src=0, group=self._world.tail)
        assert answer[0] is not None, "rank 0 has scored"
        return answer[0]
