"""The model's tokenizer, made to give words the pieces that they have in running text.

The data comes in words, the encoder was trained on running text. A byte-level tokenizer writes the blank before a word
into its first piece; given words alone it leaves the blank out, and the encoder sees each word as if glued to the one
before. Nothing fails by that: the model learns from pieces that it will never be given again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import normalizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from dtj_trainer.untrainable import UntrainableError

_PROBE = ("a", "b", "The", "1")
_SPARE_ROWS, _SPARE_SHARE = 128, 16
"""Usual rows of embeddings without a piece: up to a multiple of 128, or by a sixteenth; 2 % is the most known."""


def load_tokenizer(path: Path) -> Any:
    """The tokenizer of a model's directory, as it is used here and goes into the export.

    Raises:
        UntrainableError: its files are missing, it cannot tell words from pieces, or gives words other pieces than
            running text has.
    """
    found = AutoTokenizer.from_pretrained(path, local_files_only=True)
    _expect_vocabulary(path, found)
    if not found.is_fast:
        raise UntrainableError(
            f"model.path: the tokenizer in {path} ({type(found).__name__}) cannot tell which word a piece belongs to; "
            "add its tokenizer.json"
        )
    running = found(" ".join(_PROBE), add_special_tokens=False)["input_ids"]
    if _gives(found, running):
        return _padding(found)
    prefixed = AutoTokenizer.from_pretrained(path, local_files_only=True, add_prefix_space=True)
    if _gives(prefixed, running):
        return _padding(prefixed)
    blank_first = _with_blank_first(found)
    if _gives(blank_first, running):
        return _padding(blank_first)
    raise UntrainableError(
        f"model.path: the tokenizer in {path} ({type(found).__name__}) gives words of their own other pieces than in "
        "running text, also with add_prefix_space; use a model with another tokenizer"
    )


def expect_same_vocabulary(path: Path, tokenizer: Any, rows: int) -> None:
    """Check that tokenizer and model belong together.

    Args:
        path: the model's directory.
        tokenizer: of `load_tokenizer`.
        rows: of the model's input embeddings; more than pieces is usual, since sizes are rounded up.

    Raises:
        UntrainableError: pieces have no embedding, or more embeddings have no piece than sizes are rounded up by.
    """
    vocabulary = tokenizer.get_vocab()
    needed = max(vocabulary.values()) + 1
    if needed > rows or rows - needed > max(_SPARE_ROWS, rows // _SPARE_SHARE):
        raise UntrainableError(
            f"model.path: the tokenizer in {path} has {len(vocabulary)} pieces with ids up to {needed - 1}, the model "
            f"embeddings for {rows}; they do not belong together, copy the tokenizer's files of this model"
        )


def _expect_vocabulary(path: Path, tokenizer: Any) -> None:
    """transformers makes an empty tokenizer where the files are missing: all words would be unknown."""
    added = {str(token) for token in tokenizer.added_tokens_decoder.values()}
    if not set(tokenizer.get_vocab()) - added - set(tokenizer.all_special_tokens):
        names = ", ".join(dict.fromkeys(["tokenizer.json", *tokenizer.vocab_files_names.values()]))
        raise UntrainableError(
            f"model.path: {path} has no tokenizer: its vocabulary is empty; looked for {names}. Copy them beside "
            "config.json"
        )


def _gives(tokenizer: Any, running: list[int]) -> bool:
    """Whether words, but for the first, get the pieces that they have in running text."""
    encoded = tokenizer(list(_PROBE), is_split_into_words=True, add_special_tokens=False)
    pieces = [
        piece
        for piece, word in zip(encoded["input_ids"], encoded.word_ids(0), strict=True)
        if word is not None and word > 0
    ]
    return pieces == running[len(running) - len(pieces) :]


def _with_blank_first(tokenizer: Any) -> Any:
    """The same, with a blank put before each text: for those that know no `add_prefix_space`.

    A class of its own would be built anew from the vocabulary when the export is loaded, without the blank.
    """
    backend = tokenizer.backend_tokenizer
    before = [backend.normalizer] if backend.normalizer is not None else []
    backend.normalizer = normalizers.Sequence([*before, normalizers.Prepend(" ")])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, model_max_length=tokenizer.model_max_length, **tokenizer.special_tokens_map
    )


def _padding(tokenizer: Any) -> Any:
    """Padding is masked, so any piece will do where the model was trained without one."""
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token or next(iter(tokenizer.get_vocab()))
    return tokenizer
