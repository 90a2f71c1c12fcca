"""Optimizer with decay groups, and the schedule as a function of the step.

The rate is computed from the step alone, so there is no scheduler state that a checkpoint could miss.
"""

from __future__ import annotations

import math
from collections.abc import Collection

import torch
from torch import nn

from dtj_api.trainer import OptimizerConfig


def build_optimizer(model: nn.Module, config: OptimizerConfig, head: Collection[str]) -> torch.optim.Optimizer:
    """An optimizer over every trainable parameter, once each: (encoder, head) x (decayed, not decayed).

    Build it after the model is shared: FSDP2 replaces the parameters. Matrices are decayed, vectors (biases, norm
    scales) are not. AdamW's decay is decoupled from the gradient, SGD's is the L2 penalty.

    Args:
        model: the shared model.
        config: spec.trainer.optimizer.
        head: names of the head's parameters.
    """
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name in head, parameter.ndim > 1), []).append(parameter)
    described = [
        {
            "params": parameters,
            "weight_decay": config.weight_decay if decayed else 0.0,
            "peak_lr": (config.head_lr or config.lr) if of_head else config.lr,
            "lr": 0.0,
        }
        for (of_head, decayed), parameters in groups.items()
    ]
    if config.name == "sgd":
        return torch.optim.SGD(described, lr=config.lr, momentum=config.momentum, nesterov=config.nesterov)
    return torch.optim.AdamW(described, lr=config.lr, betas=(config.beta1, config.beta2), eps=config.eps)


def rate(config: OptimizerConfig, step: int, total_steps: int) -> float:
    """Share (0..1] of the peak rate at a step, counted from 0: up over the warm-up, then down to just above 0."""
    warm = round(config.warmup * total_steps)
    if step < warm:
        return (step + 1) / warm
    left = (total_steps - step) / max(total_steps - warm, 1)
    match config.schedule:
        case "linear":
            return left
        case "cosine":
            return 0.5 * (1 - math.cos(math.pi * left))
        case "constant":
            return 1.0


def set_rate(optimizer: torch.optim.Optimizer, share: float) -> float:
    """Set every group's rate to its peak times `share`; returns the first group's."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * share
    return float(optimizer.param_groups[0]["lr"])
