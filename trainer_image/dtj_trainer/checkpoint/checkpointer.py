"""What is kept of a job: checkpoints on the volume, steps in the memory of the pods, and the best weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

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
from dtj_trainer.parallel.world import World
from dtj_trainer.parallel.wrap import Parallel
from dtj_trainer.untrainable import restoring


class Checkpointer:
    """Saves and restores model, optimizer, best weights and state; all ranks together.

    Args:
        config: of the job.
        parallel: its model.
        optimizer: of the model.
        world: the ranks.
    """

    def __init__(
        self, config: TrainerConfig, parallel: Parallel, optimizer: torch.optim.Optimizer, world: World
    ) -> None:
        self._config = config
        self._parallel = parallel
        self._optimizer = optimizer
        self._world = world
        self._best: Weights | None = None
        self._copies = Copies()
        self._memory = Memory()
        self._saved: tuple[int, int] = (0, -1)
        """Step, and step of the last evaluation, in the newest checkpoint."""

    def restore(self, identity: dict[str, Any]) -> TrainState:
        """Go back to the newest checkpoint; the state there, or that of step 0 where there is none.

        Args:
            identity: of the job; a checkpoint with another one is refused.
        """
        with dtj.phase("restore"):
            directory = dtj.latest_checkpoint(memory=self._memory)
            if directory is None:
                return TrainState(identity)
            state, norm = TrainState.read(directory, identity)
            best = state.early.best_step >= 0
            with restoring(
                directory,
                f"does not fit model.path {self._config.model.path!r} and optimizer.name "
                f"{self._config.optimizer.name!r}; set back what was changed or use another checkpoint path",
            ):
                if self._memory.has(directory):
                    self._best = load_part(directory, self._parallel, self._optimizer, best, self._world)
                else:
                    self._best = load_tensors(directory, self._parallel, self._optimizer, best)
                    self._saved = _mark(state)
            verify_resume(directory, self._parallel, norm)
            return state

    def save(self, state: TrainState) -> None:
        """Have a checkpoint of the current step written while training goes on."""

        def stage() -> Callable[[Path, Any], None]:
            tree, text = self._to_save(state)
            return partial(self._write, self._copies.of(tree), text)

        dtj.save_in_background(state.step, stage)
        self._saved = _mark(state)

    def save_last(self, state: TrainState) -> None:
        """Return when a checkpoint of the current step has been published."""
        try:
            dtj.wait_for_save()
        except dtj.SaveError:
            # Told already; what counts is whether the last step can be kept.
            self._saved = (0, -1)
        if self._saved != _mark(state):
            self.save(state)
            dtj.wait_for_save()

    def keep_in_memory(self, state: TrainState) -> None:
        """Keep the current step in the memory of the pods, if it is due there."""
        if self._memory.due(state.step):
            with dtj.phase("checkpoint"):
                tree, text = self._to_save(state)

                def write(directory: Path) -> None:
                    write_part(directory, tree)
                    (directory / state_file.FILE).write_text(text)

                self._memory.keep(state.step, write)

    def keep_best(self) -> None:
        """The weights as they are now are the best so far."""
        self._best = copy_weights(self._parallel)

    def use_best(self) -> None:
        """Go back to the best weights."""
        if self._best is not None:
            set_weights(self._parallel, self._best)

    def _to_save(self, state: TrainState) -> tuple[dict[str, Any], str]:
        tree = tensors_to_save(self._parallel, self._optimizer, self._best, self._world)
        return tree, state.text(parameter_norm(self._parallel))

    def _write(self, tree: dict[str, Any], text: str, directory: Path, group: Any) -> None:
        write_tensors(directory, tree, group)
        if self._world.rank == 0:
            (directory / state_file.FILE).write_text(text)


def _mark(state: TrainState) -> tuple[int, int]:
    return state.step, state.evaluated_step
