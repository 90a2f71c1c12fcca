"""The directory that `model.path` names, as every task needs it: a tokenizer, and a model with a head that it fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers.utils import logging

from dtj_api.trainer import TrainerConfig
from dtj_trainer.data.locate import locate_model
from dtj_trainer.tasks.model import Built, build_model, embedding_rows
from dtj_trainer.tasks.tokenizer import expect_same_vocabulary, load_tokenizer
from dtj_trainer.tasks.trial import try_model
from dtj_trainer.untrainable import UntrainableError, preparing


class Pretrained:
    """A pretrained model on disk, of which the tokenizer is loaded at once.

    Raises:
        UntrainableError: it is not there, or its tokenizer cannot be used.
    """

    def __init__(self, config: TrainerConfig) -> None:
        self._config = config
        with preparing(f"model.path {config.model.path!r}"):
            self._path = locate_model(config.model)
        # Its report on unused and missing weights comes from every rank and says what `build_model` checks itself.
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        with preparing(f"model.path: the tokenizer in {self._path}", self._path):
            self.tokenizer = load_tokenizer(self._path)

    def build(self, model_class: Any, outputs: Sequence[str]) -> Built:
        """The model with a head for some outputs, in fp32; the same weights on every rank for the same seed.

        Args:
            model_class: of transformers, for the kind of head.
            outputs: their names, in order.

        Raises:
            UntrainableError: the model's files are not whole, or do not fit the tokenizer or `data.maxLength`.
        """
        config = self._config
        with preparing(f"model.path: the model in {self._path}", self._path):
            built = build_model(config.model, self._path, model_class, outputs, config.seed)
            rows = embedding_rows(built.model)
            if rows is not None:
                expect_same_vocabulary(self._path, self.tokenizer, rows)
            # The model may know another padding than the tokenizer, and counts no positions on it.
            pads = {self.tokenizer.pad_token_id, getattr(built.model.config, "pad_token_id", None)}
            trial = try_model(built.model, next(piece for piece in range(3) if piece not in pads))
            for name in trial.unused:
                built.model.get_parameter(name).requires_grad_(False)
        limit = trial.positions
        if limit is not None and config.data.max_length > limit:
            raise UntrainableError(
                f"data.maxLength: {config.data.max_length}; the positions of the model in {self._path} end at "
                f"{limit}; write {limit} or less"
            )
        return built
