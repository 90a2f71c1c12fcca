"""Named entity recognition: one tag a word, on a pretrained encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional
from transformers import AutoModelForTokenClassification

from dtj_api.trainer import TrainerConfig
from dtj_trainer.data.schemes import to_spans
from dtj_trainer.data.sentences import Sentence
from dtj_trainer.data.splits import Splits, leaks
from dtj_trainer.tasks.features import IGNORE, Batch, Feature, collate, make_features
from dtj_trainer.tasks.model import Built
from dtj_trainer.tasks.pretrained import Pretrained
from dtj_trainer.tasks.scores import entity_scores, told
from dtj_trainer.tasks.task import Facts, Scores, Table
from dtj_trainer.untrainable import preparing


class Ner:
    """Data, model and scores of one NER job. Everything that can be wrong with the data is found here, before step 0.

    Raises:
        UntrainableError: the data or the tokenizer cannot be used; the text names the file and line, or the field.
    """

    model_class = AutoModelForTokenClassification

    def __init__(self, config: TrainerConfig, splits: Splits[Sentence]) -> None:
        self._pretrained = Pretrained(config)
        self._max_length = config.data.max_length
        self.splits = splits
        self.kinds = list(config.data.labels)
        self.tags = ["O", *(f"{prefix}-{kind}" for kind in self.kinds for prefix in "BI")]
        self.tokenizer = self._pretrained.tokenizer
        ids = {tag: i for i, tag in enumerate(self.tags)}
        with preparing("data: the tokenizer refuses its words"):
            self.examples = {
                name: make_features(sentences, self.tokenizer, ids, config.data.max_length)
                for name, sentences in self.splits.named().items()
            }

    def identity(self) -> dict[str, Any]:
        """Data, labels and cut."""
        return {"data": self.splits.digest(), "labels": self.kinds, "maxLength": self._max_length}

    def build_model(self) -> Built:
        """The encoder with a head for the tags.

        Raises:
            UntrainableError: the model's files are not whole, or do not fit the tokenizer or `data.maxLength`.
        """
        return self._pretrained.build(self.model_class, self.tags)

    def size(self, example: Feature) -> int:
        """Pieces of a sentence."""
        return len(example.pieces)

    def weight(self, example: Feature) -> int:
        """Its words that have a piece."""
        return example.valid

    def collate(self, examples: Sequence[Feature], samples: Sequence[int] = ()) -> Batch:
        """Padded tensors of some sentences, with their indices in the split where training needs them."""
        return collate(examples, self.tokenizer.pad_token_id, samples)

    def loss(self, model: torch.nn.Module, batch: Batch) -> torch.Tensor:
        """SUM of the cross-entropy over the labelled pieces, fp32; whoever calls divides by the global count."""
        logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits.float()
        return functional.cross_entropy(
            logits.flatten(0, 1), batch.labels.flatten(), ignore_index=IGNORE, reduction="sum"
        )

    def predict(self, model: torch.nn.Module, batch: Batch) -> list[list[int]]:
        """Of each sentence the tag ids of its words that have a piece."""
        best = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits.argmax(-1).tolist()
        # Whatever the label is, it stands where a word begins.
        return [
            [tag for tag, label in zip(row, labels, strict=True) if label != IGNORE]
            for row, labels in zip(best, batch.labels.tolist(), strict=True)
        ]

    def score(self, split: str, predicted: Sequence[Sequence[int]]) -> Scores:
        """Strict and default scores, of which the strict one decides; words that have no piece are `O`."""
        gold = [sentence.tags for sentence in self.splits.named()[split]]
        found = [self._tags(*each) for each in zip(self.examples[split], predicted, strict=True)]
        return told(entity_scores(gold, found, self.kinds))

    def _tags(self, feature: Feature, predicted: Sequence[int]) -> list[str]:
        coming = iter(predicted)
        return [self.tags[next(coming)] if at >= 0 else "O" for at in feature.first]

    def facts(self) -> Facts:
        """Size of the splits, what was lost of them, and what leaks between them."""
        splits = {name: self._facts(name, part) for name, part in self.splits.named().items()}
        found = leaks(self.splits)
        sizes = Table(
            "Splits",
            ("split", "sentences", "words", "entities", "cut sentences", "lost words", "lost entities"),
            tuple(
                (
                    name,
                    row["sentences"],
                    row["words"],
                    sum(row["entities"].values()),
                    row["sentencesCut"],
                    row["wordsLost"],
                    row["entitiesLost"],
                )
                for name, row in splits.items()
            ),
        )
        twice = Table(
            "Sentences with the words of another one",
            ("where", "sentences"),
            (
                ("dev, in train", found["devInTrain"]),
                ("test, in train", found["testInTrain"]),
                ("test, in dev", found["testInDev"]),
                ("train, more than once", found["trainDuplicates"]),
            ),
        )
        return Facts((sizes, twice), {"digest": self.splits.digest(), "leaks": found, "splits": splits})

    def _facts(self, name: str, sentences: Sequence[Sentence]) -> dict[str, Any]:
        tags = [tag for sentence in sentences for tag in sentence.tags]
        features = self.examples[name]
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
