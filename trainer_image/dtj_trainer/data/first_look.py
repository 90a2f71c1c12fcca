"""What can be told of a job's model and data before torch is imported: whether they are there, and can be read."""

from __future__ import annotations

from dtj_api.trainer import TrainerConfig
from dtj_trainer.data.locate import locate_model
from dtj_trainer.data.splits import Splits, load_splits
from dtj_trainer.untrainable import preparing


def first_look(config: TrainerConfig) -> Splits:
    """The data of a job.

    Raises:
        UntrainableError: they cannot be used, or the model is not there; the text names file and line, or the field.
        OSError: the volume fails.
    """
    with preparing(f"model.path {config.model.path!r}"):
        locate_model(config.model)
    with preparing("data"):
        return load_splits(config.data)
