"""Small models of the families that people start from, with tokenizers of their own kinds, made on the spot."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainer_fixture import FILLER, FIRMS, PEOPLE, PLACES, make_model

TEXT = [" ".join([*FILLER, *PEOPLE, *PLACES, *FIRMS])] * 20
SIZE: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
}


def byte_level(folder: Path, *specials: str) -> int:
    """vocab.json and merges.txt of a byte-level tokenizer; how many pieces it has."""
    from tokenizers import ByteLevelBPETokenizer

    folder.mkdir(parents=True, exist_ok=True)
    inner = ByteLevelBPETokenizer()
    inner.train_from_iterator(TEXT, vocab_size=400, min_frequency=1, special_tokens=list(specials))
    inner.save_model(str(folder))
    return int(inner.get_vocab_size())


def roberta(folder: Path, positions: int = 34) -> Path:
    """A RoBERTa: its positions begin behind the id of the padding, so two of them are lost."""
    from transformers import RobertaConfig, RobertaModel

    size = byte_level(folder, "<s>", "<pad>", "</s>", "<unk>", "<mask>")
    RobertaModel(RobertaConfig(vocab_size=size, max_position_embeddings=positions, **SIZE)).save_pretrained(folder)
    return folder


def gpt2(folder: Path) -> Path:
    """A GPT-2: no piece for padding, no module that holds all embeddings, no special pieces round a sentence."""
    from transformers import GPT2Config, GPT2Model

    size = byte_level(folder, "<|endoftext|>")
    shape: dict[str, Any] = {
        "n_embd": 32,
        "n_layer": 2,
        "n_head": 2,
        "n_positions": 128,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    GPT2Model(GPT2Config(vocab_size=size, **shape)).save_pretrained(folder)
    return folder


def xlnet(folder: Path) -> Path:
    """An XLNet, with the word pieces of `make_model`: it has parameters that only its pretraining uses."""
    from transformers import AutoTokenizer, XLNetConfig, XLNetModel

    tokenizer = AutoTokenizer.from_pretrained(make_model(folder))
    shape = XLNetConfig(vocab_size=len(tokenizer), d_model=32, n_layer=1, n_head=2, d_inner=64, dropout=0.0)
    XLNetModel(shape).save_pretrained(folder)
    return folder


def bert_tagger(folder: Path, tags: Sequence[str], spread: float = 0.02, *, seed: int = 0) -> Path:
    """A BERT that was fine-tuned: the encoder of `make_model`, and a head for these tags."""
    import torch
    from transformers import BertForTokenClassification

    make_model(folder)
    names: dict[str, Any] = {"id2label": dict(enumerate(tags)), "label2id": {tag: i for i, tag in enumerate(tags)}}
    model = BertForTokenClassification.from_pretrained(folder, **names)
    torch.manual_seed(seed)
    torch.nn.init.normal_(model.classifier.weight, std=spread)
    model.save_pretrained(folder)
    return folder


def generic(folder: Path, inner: Any) -> Path:
    """A tokenizer of no class of its own, as most are published: tokenizer.json says it all."""
    from transformers import BertConfig, PreTrainedTokenizerFast

    PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", pad_token="<pad>").save_pretrained(folder)
    BertConfig(vocab_size=inner.get_vocab_size()).save_pretrained(folder)
    return folder


def unigram(prepend: str) -> Any:
    """A sentencepiece-like tokenizer; `prepend` says which words get the mark of a blank before them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    inner = Tokenizer(models.Unigram())
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=prepend)
    specials = ["<pad>", "<unk>"]
    inner.train_from_iterator(
        TEXT, trainers.UnigramTrainer(vocab_size=90, special_tokens=specials, unk_token="<unk>", show_progress=False)
    )
    return inner


def bytes_of_no_class(*, split: bool) -> Any:
    """A byte-level tokenizer; with `split` a pattern cuts before the bytes are looked at, as in newer models."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    inner = Tokenizer(models.BPE())
    alone = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not split)
    cut = pre_tokenizers.Split(Regex(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"), "isolated")
    inner.pre_tokenizer = pre_tokenizers.Sequence([cut, alone]) if split else alone
    specials = ["<pad>", "<unk>"]
    letters = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(vocab_size=400, special_tokens=specials, initial_alphabet=letters, show_progress=False),
    )
    return inner


def across_words() -> Any:
    """A tokenizer whose pieces reach over blanks: no word has pieces of its own."""
    from tokenizers import Tokenizer, models, trainers

    inner = Tokenizer(models.BPE())
    pairs = [" ".join(pair) for pair in itertools.permutations(["a", "b", "The", "1"], 4)] * 10
    inner.train_from_iterator(
        pairs, trainers.BpeTrainer(vocab_size=300, special_tokens=["<pad>", "<unk>"], show_progress=False)
    )
    return inner
