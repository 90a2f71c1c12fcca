"""Replicas: every rank holds the whole model, gradients are averaged by DDP.

DDP lays its buckets anew after the first backward, in the order in which gradients became ready. From three ranks on,
the order in which a ring adds up depends on that layout, so a run resumed at step 40 would add in another order than
the undisturbed run at its step 40. `settle` gives the buckets their final layout before the first real step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from dtj_trainer.parallel.world import World


class Replicated:
    """A model as one replica a rank. A single rank needs no wrapper."""

    def __init__(self, model: nn.Module, world: World, precision: Literal["fp32", "bf16"]) -> None:
        self.plain = model.to(world.device)
        self.module: nn.Module = self.plain
        self._device = world.device
        self._bf16 = precision == "bf16"
        if world.size > 1:
            ids = [world.device.index] if world.device.type == "cuda" else None
            self.module = DistributedDataParallel(self.plain, device_ids=ids, gradient_as_bucket_view=True)

    @contextmanager
    def micro_step(self, last: bool) -> Iterator[nn.Module]:
        """The module to call for one forward and backward; ranks exchange gradients in the last one of a step."""
        quiet: AbstractContextManager[None] = nullcontext()
        if isinstance(self.module, DistributedDataParallel) and not last:
            quiet = self.module.no_sync()
        with quiet, self._compute():
            yield self.module

    @contextmanager
    def inference(self) -> Iterator[nn.Module]:
        """The module to call without gradients; dropout is off inside."""
        self.plain.eval()
        try:
            with torch.no_grad(), self._compute():
                yield self.plain
        finally:
            self.plain.train()

    def _compute(self) -> torch.autocast:
        return torch.autocast(self._device.type, dtype=torch.bfloat16, enabled=self._bf16)
