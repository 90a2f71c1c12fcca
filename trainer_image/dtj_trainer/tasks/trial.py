"""One short sentence computed by a model, and what is seen by it: where its positions end, and what it does not use.

`max_position_embeddings` is not the answer: the family of RoBERTa counts from the padding's id on, others add an offset
of their own, and some have relative positions and no end. The table whose rows are read one after another is that of
the positions.

Parameters that no output depends on (XLNet's for its pretraining, Longformer's for global attention) never get a
gradient, and DDP waits for one of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

_PIECES = 8


@dataclass(frozen=True)
class Trial:
    """What was seen."""

    positions: int | None
    """The longest sentence in pieces; None: the model has no table of positions."""
    unused: set[str]
    """Names of the parameters that the output does not depend on."""


def try_model(model: PreTrainedModel, piece: int) -> Trial:
    """Compute one sentence.

    Args:
        model: on its device, not yet shared; its mode and the random state stay as they are.
        piece: any id of the vocabulary but that of the padding.
    """
    watch, training = _Watch(), model.training
    ids = torch.full((1, _PIECES), piece, device=model.device)
    model.eval()
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), watch:
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    model.train(training)
    used = _leaves(logits)
    unused = {name for name, p in model.named_parameters() if p.requires_grad and id(p) not in used}
    return Trial(min(watch.limits, default=None), unused)


def _leaves(output: torch.Tensor) -> set[int]:
    """Identities of the tensors that a backward from `output` would give a gradient, without making one."""
    found, seen, todo = set(), set(), [output.grad_fn]
    while todo:
        node = todo.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if (variable := getattr(node, "variable", None)) is not None:
            found.add(id(variable))
        todo += [following for following, _ in node.next_functions]
    return found


class _Watch(TorchFunctionMode):
    """Sees every look-up of embeddings, and of rows of a tensor by their numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.limits: list[int] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is functional.embedding:
            self._see(args[0], args[1])
        elif func is torch.Tensor.__getitem__:
            table, index = args
            rows = index[0] if isinstance(index, tuple) and index else index
            # One of as many rows as there are pieces is made for each sentence, and has no end.
            if isinstance(rows, torch.Tensor) and table.ndim == 2 and table.shape[0] != _PIECES:
                self._see(rows, table)
        return func(*args, **(kwargs or {}))

    def _see(self, indices: torch.Tensor, table: torch.Tensor) -> None:
        row = indices.reshape(-1)[:_PIECES].tolist()
        # One row of positions, or one for each sentence; relative positions are a square.
        one = len(row) == _PIECES and indices.numel() == indices.shape[-1]
        if one and row == list(range(row[0], row[0] + _PIECES)):
            self.limits.append(table.shape[0] - row[0])
