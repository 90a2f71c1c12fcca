"""Named entity recognition: one tag a word, on a pretrained encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.utils import logging

from dtj_api.trainer import TrainerConfig
from dtj_trainer.data.locate import locate_model
from dtj_trainer.data.schemes import to_spans
from dtj_trainer.data.sentences import Sentence
from dtj_trainer.data.splits import Splits, leaks
from dtj_trainer.tasks.features import IGNORE, Batch, Feature, collate, make_features
from dtj_trainer.tasks.model import build_model, embedding_rows
from dtj_trainer.tasks.scores import entity_scores
from dtj_trainer.tasks.tokenizer import expect_same_vocabulary, load_tokenizer
from dtj_trainer.tasks.trial import try_model
from dtj_trainer.untrainable import UntrainableError, preparing


class Ner:
    """Data, model and scores of one NER job. Everything that can be wrong with the data is found here, before step 0.

    Raises:
        UntrainableError: the data or the tokenizer cannot be used; the text names the file and line, or the field.
    """

    def __init__(self, config: TrainerConfig, splits: Splits) -> None:
        self._config = config
        with preparing(f"model.path {config.model.path!r}"):
            self._path = locate_model(config.model)
        # Its report on unused and missing weights comes from every rank and says what `build_model` checks itself.
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        self.splits = splits
        self.kinds = list(config.data.labels)
        self.tags = ["O", *(f"{prefix}-{kind}" for kind in self.kinds for prefix in "BI")]
        self.head = ""
        """What became of the head of the model's files; known once the model is built."""
        with preparing(f"model.path: the tokenizer in {self._path}", self._path):
            self.tokenizer = load_tokenizer(self._path)
        ids = {tag: i for i, tag in enumerate(self.tags)}
        with preparing("data: the tokenizer refuses its words"):
            self.features = {
                name: make_features(sentences, self.tokenizer, ids, config.data.max_length)
                for name, sentences in self.splits.named().items()
            }

    def build_model(self) -> PreTrainedModel:
        """The encoder with a head for the tags, in fp32; the same weights on every rank for the same seed.

        Raises:
            UntrainableError: the model's files are not whole, or do not fit the tokenizer or `data.maxLength`.
        """
        with preparing(f"model.path: the model in {self._path}", self._path):
            built = build_model(self._config.model, self._path, self.tags, self._config.seed)
            self.head = built.head
            rows = embedding_rows(built.model)
            if rows is not None:
                expect_same_vocabulary(self._path, self.tokenizer, rows)
            # The model may know another padding than the tokenizer, and counts no positions on it.
            pads = {self.tokenizer.pad_token_id, getattr(built.model.config, "pad_token_id", None)}
            trial = try_model(built.model, next(piece for piece in range(3) if piece not in pads))
            for name in trial.unused:
                built.model.get_parameter(name).requires_grad_(False)
        limit = trial.positions
        if limit is not None and self._config.data.max_length > limit:
            raise UntrainableError(
                f"data.maxLength: {self._config.data.max_length}; the positions of the model in {self._path} end at "
                f"{limit}; write {limit} or less"
            )
        return built.model

    def collate(self, features: Sequence[Feature], samples: Sequence[int] = ()) -> Batch:
        """Padded tensors of some features, with their indices in the split where training needs them."""
        return collate(features, self.tokenizer.pad_token_id, samples)

    def loss(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """SUM of the cross-entropy over the labelled pieces, fp32; whoever calls divides by the global count."""
        logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits.float()
        return functional.cross_entropy(
            logits.flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORE, reduction="sum"
        )

    def predict(self, model: torch.nn.Module, features: Sequence[Feature], device: torch.device) -> list[list[int]]:
        """Tag ids of every word of some sentences; `O` for words that have no piece."""
        batch = self.collate(features).to(device)
        best = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits.argmax(-1).tolist()
        return [[row[at] if at >= 0 else 0 for at in f.first] for row, f in zip(best, features, strict=True)]

    def score(self, split: str, predicted: Sequence[Sequence[int]]) -> dict[str, Any]:
        """Strict and default scores of one split, from the tag ids of its sentences in order."""
        gold = [sentence.tags for sentence in self.splits.named()[split]]
        return entity_scores(gold, [[self.tags[i] for i in row] for row in predicted], self.kinds)

    def describe(self) -> dict[str, Any]:
        """Facts about the data, for the report."""
        return {
            "digest": self.splits.digest(),
            "leaks": leaks(self.splits),
            "splits": {name: self._facts(name, part) for name, part in self.splits.named().items()},
        }

    def _facts(self, name: str, sentences: Sequence[Sentence]) -> dict[str, Any]:
        tags = [tag for sentence in sentences for tag in sentence.tags]
        features = self.features[name]
        lost = [[at < 0 for at in feature.first] for feature in features]
        return {
            "sentences": len(sentences),
            "words": len(tags),
            "pieces": sum(len(feature.pieces) for feature in features),
            "entities": {kind: tags.count(f"B-{kind}") for kind in self.kinds},
            "sentencesCut": sum(any(row) for row in lost),
            "wordsLost": sum(sum(row) for row in lost),
            "entitiesLost": sum(
                any(row[span.start : span.end])
                for sentence, row in zip(sentences, lost, strict=True)
                for span in to_spans(sentence.tags, "IOB2")
            ),
        }
