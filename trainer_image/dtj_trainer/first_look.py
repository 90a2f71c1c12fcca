"""What can be told of a job's model and data before torch is imported: whether they are there, and can be read."""

from __future__ import annotations

from typing import Any

from dtj_api.trainer import TrainerConfig
from dtj_trainer.data.locate import locate_model
from dtj_trainer.tasks.registry import KINDS
from dtj_trainer.untrainable import preparing


def first_look(config: TrainerConfig) -> Any:
    """The data of a job, as its task reads them and is made with.

    Raises:
        UntrainableError: they cannot be used, or the model is not there; the text names file and line, or the field.
        OSError: the volume fails.
    """
    with preparing(f"model.path {config.model.path!r}"):
        locate_model(config.model)
    with preparing("data"):
        return KINDS[config.task].read(config)
