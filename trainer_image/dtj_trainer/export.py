"""The trained model as a directory that `transformers` loads by itself: weights, tokenizer, names of its outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from dtj.files import replaced_folder
from dtj_trainer.parallel.world import World
from dtj_trainer.tasks.task import AnyTask


def export_model(model: nn.Module, model_config: Any, task: AnyTask, target: Path, world: World) -> Path:
    """Gather the weights (all ranks) and write the directory (rank 0); it appears whole or not at all.

    Returns:
        `target`, on every rank.
    """
    whole = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if world.rank == 0:
        # A fresh model takes the weights: the trained one may be sharded, and its class then is not the library's.
        plain = task.model_class.from_config(model_config)
        plain.load_state_dict(whole)
        with replaced_folder(target) as making:
            plain.save_pretrained(making)
            task.tokenizer.save_pretrained(making)
    return target
