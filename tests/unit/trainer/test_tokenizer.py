"""Words get the pieces of running text, whatever kind of tokenizer a model has; what cannot give them is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import trainer_models
from trainer_fixture import make_model
from transformers import AutoTokenizer, BertConfig

from dtj_trainer.tasks.tokenizer import expect_same_vocabulary, load_tokenizer
from dtj_trainer.untrainable import UntrainableError

pytestmark = pytest.mark.unit

WORDS = ["the", "new", "delhi", "works", "at", "umbrella", ",", "said", "clara", "."]

KINDS: dict[str, Callable[[Path], Path]] = {
    "word pieces": make_model,
    "byte-level, RoBERTa's class": trainer_models.roberta,
    "byte-level, GPT-2's class": trainer_models.gpt2,
    "byte-level, no class": lambda path: trainer_models.generic(path, trainer_models.bytes_of_no_class(split=False)),
    "byte-level, cut before": lambda path: trainer_models.generic(path, trainer_models.bytes_of_no_class(split=True)),
    "unigram, a mark at each word": lambda path: trainer_models.generic(path, trainer_models.unigram("always")),
    "unigram, a mark at the first": lambda path: trainer_models.generic(path, trainer_models.unigram("first")),
    "unigram, no mark": lambda path: trainer_models.generic(path, trainer_models.unigram("never")),
}


def pieces(tokenizer, text) -> list[str]:
    split = isinstance(text, list)
    return tokenizer.convert_ids_to_tokens(
        tokenizer(text, is_split_into_words=split, add_special_tokens=False)["input_ids"]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_words_have_the_pieces_of_running_text_here_and_where_the_export_is_used(tmp_path: Path, kind: str) -> None:
    folder = KINDS[kind](tmp_path / "model")
    original = AutoTokenizer.from_pretrained(folder)
    # Of the first word too: what stands before it must not be seen.
    running = pieces(original, "the " + " ".join(WORDS))[len(pieces(original, "the")) :]
    tokenizer = load_tokenizer(folder)
    assert pieces(tokenizer, WORDS) == running
    tokenizer.save_pretrained(tmp_path / "export")
    shutil.copy(folder / "config.json", tmp_path / "export")
    exported = AutoTokenizer.from_pretrained(tmp_path / "export")
    assert pieces(exported, WORDS) == pieces(exported, " ".join(WORDS)) == running


@pytest.mark.parametrize("kind", KINDS)
def test_each_piece_knows_its_word(tmp_path: Path, kind: str) -> None:
    tokenizer = load_tokenizer(KINDS[kind](tmp_path / "model"))
    encoded = tokenizer(WORDS, is_split_into_words=True)
    assert {word for word in encoded.word_ids(0) if word is not None} == set(range(len(WORDS)))
    assert tokenizer.pad_token_id is not None


def test_pieces_that_reach_over_words_are_refused(tmp_path: Path) -> None:
    folder = trainer_models.generic(tmp_path, trainer_models.across_words())
    with pytest.raises(UntrainableError, match=r"model\.path: .*other pieces than in running text"):
        load_tokenizer(folder)


def test_a_directory_without_a_tokenizer_is_refused_with_the_names_of_its_files(tmp_path: Path) -> None:
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(UntrainableError, match=r"no tokenizer.*looked for tokenizer\.json, vocab\.txt"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(("rows", "fits"), [(0, True), (1, True), (64, True), (-1, False), (5000, False)])
def test_tokenizer_and_embeddings_belong_together(root: Path, rows: int, fits: bool) -> None:
    """Tables are rounded up, so some rows more than pieces are usual; not thousands."""
    tokenizer = load_tokenizer(root / "model")
    size = len(tokenizer.get_vocab()) + rows
    if fits:
        expect_same_vocabulary(root, tokenizer, size)
        return
    with pytest.raises(UntrainableError, match=rf"model\.path: .* {len(tokenizer.get_vocab())} pieces .* for {size};"):
        expect_same_vocabulary(root, tokenizer, size)


SIZES = {
    "ModernBERT": (50_280, 50_368, True),
    "DeBERTa": (128_001, 128_100, True),
    "Phi": (50_295, 51_200, True),
    "the tokenizer of BERT beside RoBERTa": (28_996, 50_265, False),
    "that of the Chinese BERT beside the English one": (21_128, 28_996, False),
}


@pytest.mark.parametrize("case", SIZES)
def test_a_table_is_rounded_up_by_a_few_rows_and_not_by_half(case: str) -> None:
    pieces, rows, fits = SIZES[case]
    tokenizer = SimpleNamespace(get_vocab=lambda: {str(number): number for number in range(pieces)})
    if fits:
        expect_same_vocabulary(Path("/m"), tokenizer, rows)
        return
    with pytest.raises(UntrainableError, match=rf"has {pieces} pieces .* for {rows}; they do not belong together"):
        expect_same_vocabulary(Path("/m"), tokenizer, rows)
