"""Tiny models of every family there is a plan for, made from a config, and of some that have none."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import nn
from torch.nn import functional
from transformers import AutoConfig, PreTrainedModel

VOCABULARY = 30
_LENGTHS = (9, 5, 8, 6)
"""Pieces of the samples; the others are padding."""


@dataclass(frozen=True)
class Family:
    """A model for a test."""

    kind: str
    """Type of the model."""
    task: str
    """Which of transformers' classes: TokenClassification, CausalLM or Seq2SeqLM."""
    config: dict[str, Any]
    layers: tuple[str, ...]
    """Names of its layers."""
    tied: tuple[tuple[str, ...], ...] = ()
    """Names of one and the same parameter."""


def _names(prefix: str, count: int) -> tuple[str, ...]:
    return tuple(f"{prefix}.{i}" for i in range(count))


_BERT: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 24}
_LLAMA: dict[str, Any] = {**_BERT, "num_key_value_heads": 2, "head_dim": 4, "attention_dropout": 0.1}
_T5: dict[str, Any] = {"d_model": 16, "num_layers": 2, "num_decoder_layers": 3, "num_heads": 4, "d_kv": 4, "d_ff": 24}
_BART: dict[str, Any] = {
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 3,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 24,
    "decoder_ffn_dim": 24,
    # Between its layers it drops by functions of torch, which draw by the rank.
    "dropout": 0.0,
    "attention_dropout": 0.1,
}
_TIED_T5 = (("decoder.embed_tokens.weight", "encoder.embed_tokens.weight", "lm_head.weight", "shared.weight"),)
_TIED_BART: tuple[str, ...] = (
    "lm_head.weight",
    *(f"model.{part}.weight" for part in ("decoder.embed_tokens", "encoder.embed_tokens", "shared")),
)
FAMILIES = {
    **{
        kind: Family(kind, "TokenClassification", _BERT, _names(f"{base}.encoder.layer", 2))
        for kind, base in (
            ("bert", "bert"),
            ("roberta", "roberta"),
            ("xlm-roberta", "roberta"),
            ("camembert", "roberta"),
            ("electra", "electra"),
        )
    },
    "mpnet": Family("mpnet", "TokenClassification", _BERT, _names("mpnet.encoder.layer", 2)),
    "distilbert": Family(
        "distilbert",
        "TokenClassification",
        {"dim": 16, "n_layers": 2, "n_heads": 4, "hidden_dim": 24},
        _names("distilbert.transformer.layer", 2),
    ),
    **{
        kind: Family(kind, "Seq2SeqLM", _T5, (*_names("encoder.block", 2), *_names("decoder.block", 3)), _TIED_T5)
        for kind in ("t5", "mt5")
    },
    "t5 for tagging": Family(
        "t5",
        "TokenClassification",
        _T5,
        _names("transformer.encoder.block", 2),
        (("transformer.encoder.embed_tokens.weight", "transformer.shared.weight"),),
    ),
    "bart": Family(
        "bart",
        "Seq2SeqLM",
        _BART,
        (*_names("model.encoder.layers", 2), *_names("model.decoder.layers", 3)),
        (_TIED_BART,),
    ),
    "gpt2": Family(
        "gpt2",
        "CausalLM",
        {"n_embd": 16, "n_layer": 3, "n_head": 4, "n_positions": 32},
        _names("transformer.h", 3),
        (("lm_head.weight", "transformer.wte.weight"),),
    ),
    "llama": Family("llama", "CausalLM", _LLAMA, _names("model.layers", 2)),
    "llama for tagging": Family("llama", "TokenClassification", _LLAMA, _names("model.layers", 2)),
    "qwen2": Family(
        "qwen2",
        "CausalLM",
        {**_LLAMA, "tie_word_embeddings": True},
        _names("model.layers", 2),
        (("lm_head.weight", "model.embed_tokens.weight"),),
    ),
    "qwen3": Family("qwen3", "CausalLM", _LLAMA, _names("model.layers", 2)),
}
_STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "classifier_dropout_prob": 0.0}
UNPLANNED = {
    "deberta-v2": Family("deberta-v2", "TokenClassification", {**_BERT, **_STILL}, _names("deberta.encoder.layer", 2)),
    "albert": Family("albert", "TokenClassification", {**_BERT, **_STILL, "embedding_size": 8}, ()),
}
"""Families without a plan: one whose layers transformers marks, and one where it marks none."""


def build(family: Family, **changes: Any) -> PreTrainedModel:
    """The model, with the same weights each time."""
    torch.manual_seed(0)
    sizes = {"vocab_size": VOCABULARY, "num_labels": 3, "bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 1}
    config = AutoConfig.for_model(family.kind, **{**sizes, **family.config, **changes})
    model: PreTrainedModel = getattr(transformers, f"AutoModelFor{family.task}").from_config(config)
    model.train()
    return model


@dataclass(frozen=True)
class Micro:
    """Some of the samples."""

    inputs: dict[str, Any]
    labels: torch.Tensor
    samples: torch.Tensor


def micro(family: Family, rank: int = 0, size: int = 1) -> Micro:
    """A rank's share of the four samples there are."""
    chance = torch.Generator().manual_seed(7)
    rows = slice(rank, None, size)
    text = torch.randint(5, VOCABULARY, (4, 9), generator=chance)[rows]
    target = torch.randint(5, VOCABULARY, (4, 7), generator=chance)[rows]
    mask = (torch.arange(9) < torch.tensor(_LENGTHS).unsqueeze(1)).long()[rows]
    inputs: dict[str, Any] = {"input_ids": text, "attention_mask": mask}
    labels, there = text % 3, mask
    if family.task == "CausalLM":
        inputs = {"input_ids": text[:, :-1], "attention_mask": mask[:, :-1], "use_cache": False}
        labels, there = text[:, 1:], mask[:, 1:]
    elif family.task == "Seq2SeqLM":
        inputs |= {"decoder_input_ids": target[:, :-1], "use_cache": False}
        labels, there = target[:, 1:], torch.ones_like(target[:, 1:])
    return Micro(inputs, labels.masked_fill(there == 0, -100), torch.arange(4)[rows])


def loss_sum(model: nn.Module, some: Micro) -> torch.Tensor:
    """Sum over what is labelled."""
    logits = model(**some.inputs).logits.float()
    return functional.cross_entropy(logits.flatten(0, 1), some.labels.flatten(), ignore_index=-100, reduction="sum")


def ties(model: nn.Module) -> tuple[tuple[str, ...], ...]:
    """Names of parameters that are one and the same."""
    names: dict[int, list[str]] = defaultdict(list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names[id(parameter)].append(name)
    return tuple(sorted(tuple(sorted(group)) for group in names.values() if len(group) > 1))
