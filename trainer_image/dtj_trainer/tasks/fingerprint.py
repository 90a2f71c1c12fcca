"""What a model and a tokenizer are, in a few words that stay the same wherever their files lie.

A checkpoint is of the model that it was made from and of no other, also where another one has the same sizes. Its
files may have gigabytes, and each start looks: so a few weights stand for all.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from transformers import PreTrainedModel

from dtj_trainer.parallel.plans.find import head_of

_SAMPLE = 8
"""Weights of each parameter that are looked at: a training changes nearly all."""
_DIGITS = 12


def of_model(model: PreTrainedModel, *, drawn: bool) -> str:
    """Type, number of weights, and a sum of shapes and of some weights.

    Args:
        model: as it was loaded: on the CPU, not yet shared.
        drawn: its weights come from no files, and another version of torch may draw others; so it is with each head.
    """
    head = head_of(model)
    seen = [
        [name, list(p.shape), [] if drawn or name in head else p.detach().flatten()[:_SAMPLE].tolist()]
        for name, p in model.named_parameters()
    ]
    return f"{model.config.model_type} of {model.num_parameters():,} weights, sum {_sum(seen)}"


def of_tokenizer(tokenizer: Any) -> str:
    """Number of pieces, and a sum of them with their ids."""
    vocabulary = tokenizer.get_vocab()
    return f"{len(vocabulary):,} pieces, sum {_sum(sorted(vocabulary.items()))}"


def _sum(content: list[Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:_DIGITS]
