"""Synchronous data parallel training: one gradient, averaged over all ranks, at every step.

The loss of a step is the SUM over all labels of the global batch (of pieces or of whole texts), divided by their global
count, the weight. A mean of the ranks' means would weigh a rank with 8 of them like one with 40. DDP and FSDP2 average
gradients over the ranks, hence the factor of the world size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist

from dtj_api.trainer import OptimizerConfig
from dtj_trainer.optimizer import rate, set_rate
from dtj_trainer.parallel.norm import global_norm, scale_
from dtj_trainer.parallel.world import World
from dtj_trainer.parallel.wrap import Parallel

B = TypeVar("B")


@dataclass(frozen=True)
class Outcome:
    """What a step did; every value is the same on all ranks."""

    loss: float
    """Mean over the labels of the global batch."""
    grad_norm: float
    """Global norm before clipping."""
    lr: float
    applied: bool
    """False: loss or gradient was not finite, or nothing had a label, and the weights were left alone."""


class Synchronous:
    """Accumulate, average, clip, step."""

    def __init__(
        self,
        parallel: Parallel,
        optimizer: torch.optim.Optimizer,
        config: OptimizerConfig,
        total_steps: int,
        world: World,
    ) -> None:
        self._parallel = parallel
        self._optimizer = optimizer
        self._config = config
        self._total_steps = total_steps
        self._world = world
        self._parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def step(
        self,
        step: int,
        micros: Sequence[B],
        weight: int,
        loss_sum: Callable[[torch.nn.Module, B], torch.Tensor],
    ) -> Outcome:
        """One optimizer step.

        Args:
            step: steps done before this one.
            micros: this rank's micro-batches; equally many on every rank.
            weight: labels of the global batch, over all ranks and micro-batches. 0: there is nothing to learn,
                and the weights are left alone.
            loss_sum: sum of the loss over the labels of a micro-batch.
        """
        total = torch.zeros((), dtype=torch.float64, device=self._world.device)
        for i, micro in enumerate(micros):
            with self._parallel.micro_step(last=i == len(micros) - 1) as module:
                loss = loss_sum(module, micro)
            torch.autograd.backward(loss * (self._world.data_size / max(weight, 1)))
            total += loss.detach()
        return self._apply(step, total / (max(weight, 1) * self._world.tensor), empty=weight == 0)

    def _apply(self, step: int, loss: torch.Tensor, *, empty: bool) -> Outcome:
        dist.all_reduce(loss)
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        norm = global_norm(gradients)
        # One transfer from the device a step: the guard must know before the optimizer moves the weights.
        loss_value, norm_value = torch.stack([loss, norm.to(loss)]).tolist()
        finite = bool(torch.isfinite(torch.tensor([loss_value, norm_value])).all())
        lr = set_rate(self._optimizer, rate(self._config, step, self._total_steps))
        applied = finite and not empty
        if applied:
            if self._config.max_grad_norm:
                scale_(gradients, norm, self._config.max_grad_norm)
            self._optimizer.step()
        self._optimizer.zero_grad()
        return Outcome(loss_value, norm_value, lr, applied)

    def settle(self, micro: B, loss_sum: Callable[[torch.nn.Module, B], torch.Tensor]) -> None:
        """One forward and backward that change nothing, so that DDP's buckets have their final layout (see ddp.py)."""
        with self._parallel.micro_step(last=True) as module:
            loss = loss_sum(module, micro)
        torch.autograd.backward(loss * 0.0)
        self._optimizer.zero_grad()
