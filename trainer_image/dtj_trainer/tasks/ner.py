"""Named entity recognition: one tag a word, on a pretrained encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers import AutoConfig, AutoModelForTokenClassification, AutoTokenizer, PreTrainedModel
from transformers.utils import logging

from dtj_api.trainer import TrainerConfig
from dtj_trainer.data.locate import NotFoundError, locate_model
from dtj_trainer.data.schemes import to_spans
from dtj_trainer.data.sentences import Sentence
from dtj_trainer.data.splits import leaks, load_splits
from dtj_trainer.tasks.features import IGNORE, Batch, Feature, collate, make_features
from dtj_trainer.tasks.scores import entity_scores


class Ner:
    """Data, model and scores of one NER job. Everything that can be wrong with the data is found here, before step 0.

    Raises:
        DataError, NotFoundError: as the readers do.
    """

    def __init__(self, config: TrainerConfig) -> None:
        self._config = config
        self._path = locate_model(config.model)
        # Its report on unused and missing weights comes from every rank and says what `build_model` checks itself.
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        self.splits = load_splits(config.data)
        self.kinds = list(config.data.labels)
        self.tags = ["O", *(f"{prefix}-{kind}" for kind in self.kinds for prefix in "BI")]
        self.tokenizer = AutoTokenizer.from_pretrained(self._path, local_files_only=True)
        ids = {tag: i for i, tag in enumerate(self.tags)}
        self.features = {
            name: make_features(sentences, self.tokenizer, ids, config.data.max_length)
            for name, sentences in self.splits.named().items()
        }

    def build_model(self) -> PreTrainedModel:
        """The encoder with a new head, in fp32; the same weights on every rank for the same seed.

        Raises:
            NotFoundError: the model's files lack weights of the encoder, which would train from noise unnoticed.
        """
        torch.manual_seed(self._config.seed)
        names: dict[str, Any] = {
            "id2label": dict(enumerate(self.tags)),
            "label2id": {tag: i for i, tag in enumerate(self.tags)},
        }
        if self._config.model.from_config:
            config = AutoConfig.from_pretrained(self._path, local_files_only=True, **names)
            build = AutoModelForTokenClassification.from_config
            model = build(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
        else:
            model, info = AutoModelForTokenClassification.from_pretrained(
                self._path, local_files_only=True, output_loading_info=True, dtype=torch.float32, **names
            )
            lacking = sorted(key for key in info["missing_keys"] if key.startswith(f"{model.base_model_prefix}."))
            if lacking:
                raise NotFoundError(f"model.path: {self._path} lacks the weights {', '.join(lacking[:3])} ...")
        longest = getattr(model.config, "max_position_embeddings", self._config.data.max_length)
        if self._config.data.max_length > longest:
            raise NotFoundError(
                f"data.maxLength: {self._config.data.max_length}; the model's positions end at {longest}"
            )
        if self._config.model.freeze_embeddings:
            for parameter in model.base_model.embeddings.parameters():
                parameter.requires_grad_(False)
        return model  # type: ignore[no-any-return]

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
