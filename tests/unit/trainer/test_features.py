"""Words to pieces: the first piece carries the tag, nothing else trains or counts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import trainer_models
from transformers import AutoTokenizer

from dtj_trainer.data.sentences import Sentence
from dtj_trainer.tasks.features import IGNORE, collate, make_features
from dtj_trainer.tasks.tokenizer import load_tokenizer

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


OF_BLANKS = {
    "roberta": trainer_models.roberta,
    "gpt2": trainer_models.gpt2,
    "unigram": lambda folder: trainer_models.generic(folder, trainer_models.unigram("always")),
}
"""Tokenizers that make a piece of a word of blanks."""


@pytest.mark.parametrize("kind", OF_BLANKS)
def test_a_word_of_no_character_is_lost_whatever_the_tokenizer_makes_of_it(tmp_path, kind):
    tokenizer = load_tokenizer(OF_BLANKS[kind](tmp_path / "model"))
    bare = tokenizer([""], is_split_into_words=True)["input_ids"]
    assert tokenizer([" "], is_split_into_words=True)["input_ids"] != bare
    words, tags = ("anna", "", "went", " "), ("B-PER", "I-PER", "O", "I-PER")
    odd, plain = make_features(
        [Sentence(words, tags, Path("f"), 1), Sentence(words[::2], tags[::2], Path("f"), 1)], tokenizer, IDS, 64
    )
    assert (odd.pieces, odd.labels) == (plain.pieces, plain.labels)
    assert odd.first == [plain.first[0], -1, plain.first[1], -1]
    assert odd.valid == 2


def test_a_sentence_without_any_piece_is_one_of_a_batch(tmp_path):
    """Where no special pieces are put round it nothing is left of it; one of padding is attended to."""
    tokenizer = load_tokenizer(trainer_models.gpt2(tmp_path / "model"))
    empty, full = (Sentence(words, ("O", "O"), Path("f"), 1) for words in [("", " "), ("anna", "went")])
    nothing, something = make_features([empty, full], tokenizer, IDS, 64)
    assert nothing.pieces == []
    batch = collate([nothing, something, nothing], pad=0)
    assert batch.input_ids.shape == batch.labels.shape == (3, len(something.pieces))
    assert batch.attention_mask.sum(1).tolist() == [1, len(something.pieces), 1]
    assert torch.all(batch.labels[[0, 2]] == IGNORE)


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
