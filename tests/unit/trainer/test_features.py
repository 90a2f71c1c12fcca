"""Words to pieces: the first piece carries the tag, nothing else trains or counts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from dtj_trainer.data.sentences import Sentence
from dtj_trainer.tasks.features import IGNORE, collate, make_features

pytestmark = pytest.mark.unit

IDS = {"O": 0, "B-PER": 1, "I-PER": 2}


def features(root: Path, words: str, tags: str, max_length: int = 64):
    tokenizer = AutoTokenizer.from_pretrained(root / "model")
    sentence = Sentence(tuple(words.split(" ")), tuple(tags.split()), Path("f"), 1)
    (feature,) = make_features([sentence], tokenizer, IDS, max_length)
    return feature, tokenizer


def test_the_first_piece_carries_the_tag_and_specials_none(root):
    feature, tokenizer = features(root, "anna zorro went", "B-PER I-PER O")
    assert tokenizer.convert_ids_to_tokens(feature.pieces) == (
        ["[CLS]", "anna", "z", "##o", "##r", "##r", "##o", "went", "[SEP]"]
    )
    assert feature.labels == [IGNORE, 1, 2, IGNORE, IGNORE, IGNORE, IGNORE, 0, IGNORE]
    assert feature.first == [1, 2, 7]
    assert feature.valid == 3


def test_a_long_sentence_is_cut_and_its_lost_words_are_known(root):
    feature, _ = features(root, "anna zorro went home", "B-PER I-PER O O", max_length=8)
    assert len(feature.pieces) == len(feature.labels) == 8
    assert feature.first == [1, 2, -1, -1]
    assert feature.valid == 2


def test_a_word_without_a_piece_is_lost_and_shifts_nothing(root):
    feature, _ = features(root, "anna \u200d went", "B-PER I-PER O")
    assert feature.first == [1, -1, 2]
    assert feature.labels == [IGNORE, 1, 0, IGNORE]


def test_padding_has_no_label_and_no_attention(root):
    long, _ = features(root, "anna went to oslo", "B-PER O O O")
    short, _ = features(root, "hello", "O")
    batch = collate([long, short], pad=0)
    assert batch.input_ids.shape == batch.labels.shape == (2, 6)
    assert batch.labels[1].tolist() == [IGNORE, 0, IGNORE, IGNORE, IGNORE, IGNORE]
    assert batch.attention_mask.sum(1).tolist() == [6, 3]
    assert batch.input_ids[1, 3:].tolist() == [0, 0, 0]


def test_no_samples_still_make_a_batch_that_weighs_nothing():
    batch = collate([], pad=0)
    assert batch.input_ids.shape == (1, 1)
    assert torch.all(batch.labels == IGNORE)
