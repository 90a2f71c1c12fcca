"""Attention whose dropout is drawn by sample.

The fused kernels of scaled_dot_product_attention draw inside and take no mask of ours, so while there is dropout the
weights are computed here, in the steps that torch itself takes for dropout on a CPU. Without dropout (evaluation, or a
rate of 0) it is transformers' own function.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward

from dtj_trainer.dropout.draws import site_of
from dtj_trainer.parallel.tensor import first_head


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    position_bias: torch.Tensor | None = None,
    **more: Any,
) -> tuple[torch.Tensor, None]:
    """transformers' interface of attention, see `sdpa_attention_forward` there.

    Args:
        module: the layer that calls; its `Site` tells what to draw.
        query: (samples, heads, queries, width).
        key: (samples, key heads, keys, width).
        value: (samples, key heads, keys, value width).
        attention_mask: (samples, 1 or heads, queries, keys), True where a key may be seen, or floats to add; None: all.
        dropout: rate; 0 outside training.
        scaling: of the scores; None: width ** -0.5.
        is_causal: without a mask, no key after the query is seen; None: what the layer says.
        position_bias: floats to add to the scores.
        more: what only some models ask for.

    Returns:
        (samples, queries, heads, value width), and None for the weights, which are not handed out.
    """
    # Softcap is refused there.
    if not dropout or more.get("softcap") is not None:
        return sdpa_attention_forward(
            module,
            query,
            key,
            value,
            attention_mask,
            dropout=dropout,
            scaling=scaling,
            is_causal=is_causal,
            position_bias=position_bias,
            **more,
        )
    groups = query.shape[1] // key.shape[1]
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    scores = (query * (query.shape[-1] ** -0.5 if scaling is None else scaling)) @ key.transpose(-1, -2)
    if position_bias is not None:
        scores = scores + position_bias
    if attention_mask is None and (getattr(module, "is_causal", True) if is_causal is None else is_causal):
        attention_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attention_mask is not None and attention_mask.dtype == torch.bool:
        # Added, for to fill by booleans is slow on a CPU, and the mask is smaller than the scores.
        hidden = torch.finfo(scores.dtype).min
        attention_mask = torch.zeros_like(attention_mask, dtype=scores.dtype).masked_fill_(~attention_mask, hidden)
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = site_of(module).drop(scores.softmax(-1, dtype=torch.float32), dropout, first_head(module))
    return (weights.to(value.dtype) @ value).transpose(1, 2).contiguous(), None
