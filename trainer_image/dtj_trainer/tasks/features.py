"""Words to word pieces, and their labels.

A word becomes several pieces; its first piece carries the tag and the others, the specials and the padding carry
`IGNORE`, so that they neither train nor count. Words that find no place (sentence longer than `maxLength`, a word of
characters that the tokenizer drops, or of none at all) are predicted `O` and counted, never silently left out of the
score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from dtj_trainer.data.sentences import Sentence

IGNORE = -100


@dataclass(frozen=True)
class Feature:
    """One sentence for the model."""

    pieces: list[int]
    labels: list[int]
    """As long as `pieces`; `IGNORE` except on the first piece of a word."""
    first: list[int]
    """Position of the first piece of each word, -1 for a word that has none."""

    @property
    def valid(self) -> int:
        """Pieces that carry a label."""
        return sum(label != IGNORE for label in self.labels)


@dataclass(frozen=True)
class Batch:
    """Padded tensors of shape (sentences, longest sentence), int64."""

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor
    samples: torch.Tensor
    """Index of each sentence in its split, shape (sentences,), int64; -1: not known."""

    def to(self, device: torch.device) -> Batch:
        """The same batch on a device."""
        tensors = (self.input_ids, self.attention_mask, self.labels, self.samples)
        return Batch(*(t.to(device, non_blocking=True) for t in tensors))


def make_features(
    sentences: Sequence[Sentence], tokenizer: Any, label_ids: Mapping[str, int], max_length: int
) -> list[Feature]:
    """Tokenise a split once, in one batched call."""
    # Of a word without any character some tokenizers make a piece, and it would carry the label.
    places = [[i for i, word in enumerate(sentence.words) if word.strip()] for sentence in sentences]
    encoded = tokenizer(
        [[sentence.words[i] for i in there] for sentence, there in zip(sentences, places, strict=True)],
        is_split_into_words=True,
        truncation=True,
        max_length=max_length,
        return_attention_mask=False,
        return_token_type_ids=False,
    )
    features = []
    for i, sentence in enumerate(sentences):
        pieces = list(encoded["input_ids"][i])
        labels, first = [IGNORE] * len(pieces), [-1] * len(sentence.words)
        for position, word in enumerate(encoded.word_ids(i)):
            if word is not None and first[places[i][word]] < 0:
                first[places[i][word]] = position
                labels[position] = label_ids[sentence.tags[places[i][word]]]
        features.append(Feature(pieces, labels, first))
    return features


def collate(features: Sequence[Feature], pad: int, samples: Sequence[int] = ()) -> Batch:
    """Pad to the longest of these sentences.

    No features give a batch of one padding piece without a label: its loss is 0 and it lets a rank without samples
    enter the same collectives as the others. Nor may a sentence be without any piece: attention to nothing is NaN.

    Args:
        features: the sentences.
        pad: id of the padding piece; the mask hides it, so any id of the vocabulary will do.
        samples: their indices in the split; training needs them for dropout, evaluation does not.
    """
    longest = max((len(feature.pieces) for feature in features), default=1) or 1
    shape = (max(len(features), 1), longest)
    input_ids, mask = torch.full(shape, pad), torch.zeros(shape, dtype=torch.int64)
    labels = torch.full(shape, IGNORE)
    mask[:, 0] = 1
    for row, feature in enumerate(features):
        size = len(feature.pieces)
        input_ids[row, :size] = torch.tensor(feature.pieces)
        mask[row, :size] = 1
        labels[row, :size] = torch.tensor(feature.labels)
    indices = torch.full(shape[:1], -1)
    indices[: len(samples)] = torch.tensor(samples)
    return Batch(input_ids, mask, labels, indices)
