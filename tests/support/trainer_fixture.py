"""A model and data small enough to train in a second: a random two-layer BERT and sentences with an obvious pattern."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

PEOPLE = ["anna", "boris", "clara", "dmitri"]
PLACES = ["paris", "oslo", "new delhi", "lima"]
FIRMS = ["acme corp", "initech", "umbrella works ltd"]
FILLER = ["the", "a", "went", "to", "works", "at", "said", "that", "in", "met", "yesterday", "and", "hello", "again"]


def sentences(count: int, seed: int = 0) -> list[list[tuple[str, str]]]:
    """Sentences of 2 to 25 words with entities of one to three words, tagged in IOB2."""
    chance = random.Random(seed)
    result = []
    for _ in range(count):
        words: list[tuple[str, str]] = []
        for _ in range(chance.randint(1, 6)):
            words += [(chance.choice(FILLER), "O") for _ in range(chance.randint(1, 3))]
            kind, names = chance.choice([("PER", PEOPLE), ("LOC", PLACES), ("ORG", FIRMS)])
            parts = chance.choice(names).split()
            words += [(part, f"{'I' if i else 'B'}-{kind}") for i, part in enumerate(parts)]
        result.append(words)
    return result


def write_conll(path: Path, rows: list[list[tuple[str, str]]]) -> Path:
    path.write_text("\n\n".join("\n".join(f"{word}\t{tag}" for word, tag in row) for row in rows) + "\n")
    return path


def make_model(path: Path, dropout: float = 0.0) -> Path:
    """A directory in the transformers layout: config.json, random weights, a word piece tokenizer of letters."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    words = [*FILLER, *(part for name in PEOPLE + PLACES + FIRMS for part in name.split())]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *(f"##{c}" for c in letters), *words]
    vocab = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    inner = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    inner.normalizer = normalizers.BertNormalizer(lowercase=True)
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    )
    config = BertConfig(
        vocab_size=len(vocab),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    BertModel(config).save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def config_of(root: Path, **changes: Any) -> dict[str, Any]:
    """`spec.trainer` for the model and data under `root`; a dict among the changes is merged into the default."""
    raw: dict[str, Any] = {
        "task": "ner",
        "model": {"path": str(root / "model")},
        "data": {
            "file": str(root / "data.conll"),
            "split": {"shuffleSplit": [0.7, 0.15, 0.15], "seed": 1},
            "maxLength": 64,
        },
        "optimizer": {"lr": 5e-3},
        "epochs": 2,
        "batchSize": 8,
        "seed": 3,
    }
    for name, value in changes.items():
        raw[name] = {**raw[name], **value} if isinstance(value, dict) and name in raw else value
    return json.loads(json.dumps(raw))  # type: ignore[no-any-return]
