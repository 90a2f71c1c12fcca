"""The pretrained encoder with the head that a task needs.

The trap is the head. A directory may hold one of another task with as many outputs by chance: it would load without a
word and answer with other names. A head is kept only where its tags are the task's, in the same order; the rest of the
model must be whole.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, PreTrainedModel

from dtj_api.trainer import ModelConfig
from dtj_trainer.parallel.plans.find import head_of
from dtj_trainer.untrainable import UntrainableError

_SHOWN = 3
"""Names in an error before it is cut."""


@dataclass(frozen=True)
class Built:
    """A model before it is shared, and what became of its head."""

    model: PreTrainedModel
    head: str
    """`new`, `kept`, or `replaced` with the tags that the old one had."""


def build_model(config: ModelConfig, path: Path, model_class: Any, tags: Sequence[str], seed: int) -> Built:
    """The model of a directory in fp32; the same weights on every rank for the same seed.

    Args:
        config: spec.trainer.model.
        path: the directory.
        model_class: of transformers, for the kind of head.
        tags: of the head's outputs, in order.
        seed: of the head, and of all weights where they do not come from the directory.

    Raises:
        UntrainableError: the directory lacks weights of the encoder, which would train from noise unnoticed, or has
            them in another shape.
    """
    theirs = AutoConfig.from_pretrained(path, local_files_only=True)
    names = dict(enumerate(tags))
    same_tags = {int(key): tag for key, tag in (theirs.id2label or {}).items()} == names
    old_tags = list((theirs.id2label or {}).values())
    theirs.id2label, theirs.label2id = names, {tag: i for i, tag in names.items()}
    torch.manual_seed(seed)
    if config.from_config:
        model: PreTrainedModel = model_class.from_config(theirs, dtype=torch.float32)
        return Built(_frozen(config, model), "new")
    model, info = model_class.from_pretrained(
        path,
        config=theirs,
        local_files_only=True,
        output_loading_info=True,
        dtype=torch.float32,
        ignore_mismatched_sizes=True,
    )
    head = head_of(model)
    missing, misshapen = set(info["missing_keys"]), {key for key, *_ in info["mismatched_keys"]}
    _expect_encoder(path, missing - head, misshapen - head)
    if head <= missing:
        return Built(_frozen(config, model), "new")
    if same_tags and not head & (missing | misshapen):
        return Built(_frozen(config, model), "kept")
    _renew_head(model, head, seed)
    if os.environ.get("RANK", "0") == "0":
        print(
            f"dtj: model.path: the head in {path} is for other tags ({', '.join(old_tags)}); a new one for "
            f"{', '.join(tags)} takes its place",
            file=sys.stderr,
            flush=True,
        )
    return Built(_frozen(config, model), f"replaced: the old one was for {', '.join(old_tags)}")


def _expect_encoder(path: Path, missing: set[str], misshapen: set[str]) -> None:
    for keys, problem in ((missing, "lacks the weights"), (misshapen, "has in another shape than config.json says")):
        if keys:
            shown = ", ".join(sorted(keys)[:_SHOWN]) + (" ..." if len(keys) > _SHOWN else "")
            raise UntrainableError(f"model.path: {path} {problem} {shown}; copy the model's files anew")


def _renew_head(model: PreTrainedModel, head: set[str], seed: int) -> None:
    """Draw the head anew, as transformers draws one that a directory lacks."""
    torch.manual_seed(seed)
    for name, module in model.named_children():
        if any(part.startswith(f"{name}.") for part in head):
            for part in (*module.parameters(), *module.buffers()):
                # Its own mark of what has been read from a file, which its functions leave alone.
                vars(part)["_is_hf_initialized"] = False
            module.apply(model._init_weights)


def _frozen(config: ModelConfig, model: PreTrainedModel) -> PreTrainedModel:
    if not config.freeze_embeddings:
        return model
    try:
        tables: list[Any] = [model.get_input_embeddings()]
    except NotImplementedError:
        tables = [None]
    # Where they are in one module, positions, types and their norm are frozen with them.
    tables.append(getattr(model.base_model, "embeddings", None))
    modules = [table for table in tables if isinstance(table, nn.Module)]
    if not modules:
        raise UntrainableError(
            f"model.freezeEmbeddings: a model of type {model.config.model_type!r} has no embedding tables; leave it out"
        )
    for module in modules:
        module.requires_grad_(False)
    return model


def embedding_rows(model: PreTrainedModel) -> int | None:
    """How many pieces have an input embedding; None where the model has no table of them."""
    try:
        table = model.get_input_embeddings()
    except NotImplementedError:
        return None
    return table.num_embeddings if isinstance(table, nn.Embedding) else None
