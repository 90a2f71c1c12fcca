"""Pick the way to share the model that `parallel` asks for."""

from __future__ import annotations

from transformers import PreTrainedModel

from dtj_api.trainer import TrainerConfig
from dtj_trainer.parallel.ddp import Replicated
from dtj_trainer.parallel.fsdp import Sharded
from dtj_trainer.parallel.world import World, layout

Parallel = Replicated | Sharded


def wrap(model: PreTrainedModel, world: World, config: TrainerConfig) -> Parallel:
    """The model, shared as configured.

    Raises:
        LayoutError: `parallel` does not fit the number of ranks.
    """
    shape = layout(config.parallel, world.size)
    if config.parallel.data_shard == 1 and shape.tensor == 1:
        return Replicated(model, world, config.precision)
    return Sharded(model, world, shape, config.precision)
