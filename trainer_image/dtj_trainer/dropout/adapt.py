"""Put dropout by sample into a transformers model."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import sdpa_mask

from dtj_trainer.dropout.attention import attend
from dtj_trainer.dropout.draws import SITE, Draws, SampleDropout, Site

ATTENTION = "dtj_by_sample"
"""Name of our attention among transformers' implementations."""

AttentionInterface.register(ATTENTION, attend)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def adapt(model: PreTrainedModel, seed: int, device: torch.device) -> Draws:
    """Replace every nn.Dropout, and scaled_dot_product_attention, in place. Neither has weights, so names stay.

    A layer that is used several times in one forward (ALBERT) draws the same each time. What a model drops by functions
    of torch, as BART does between its layers, is out of reach: `expect_no_other_draws` tells it.

    Args:
        model: not yet shared over ranks.
        seed: of the job.
        device: where it will be.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            # Not what derives from it: that may have a forward of its own.
            if type(child) is nn.Dropout:
                setattr(module, name, SampleDropout(child.p).train(child.training))
    named = list(model.named_modules())
    draws = Draws(seed, [name for name, _ in named], device)
    for number, (_, module) in enumerate(named):
        setattr(module, SITE, Site(draws, number))
    # Where a model asks for another one it cannot do with this: it has no such interface, or needs what torch lacks.
    if model.config._attn_implementation == "sdpa":
        model.set_attn_implementation(ATTENTION)
    return draws


@contextmanager
def expect_no_other_draws(device: torch.device) -> Iterator[None]:
    """Warn if torch's generators are used inside: by dropout that `adapt` could not reach."""

    def states() -> list[torch.Tensor]:
        own = [torch.cuda.get_rng_state(device)] if device.type == "cuda" else []
        return [torch.get_rng_state(), *own]

    before = states()
    yield
    if not all(torch.equal(old, new) for old, new in zip(before, states(), strict=True)):
        warnings.warn(
            "this model draws random numbers that do not follow the samples: its loss depends on the number of ranks",
            stacklevel=3,
        )
