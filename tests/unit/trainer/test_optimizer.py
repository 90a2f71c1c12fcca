"""Decay groups and the schedule."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import nn

from dtj_api.trainer import OptimizerConfig
from dtj_trainer.optimizer import build_optimizer, rate, set_rate

pytestmark = pytest.mark.unit


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Linear(4, 4)
        self.norm = nn.LayerNorm(4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.classifier = nn.Linear(4, 2)


HEAD = {"classifier.weight", "classifier.bias"}


def names(model: nn.Module, group: dict) -> set[str]:
    return {name for name, p in model.named_parameters() for q in group["params"] if p is q}


def test_every_trainable_parameter_once_and_no_decay_on_vectors():
    model = Small()
    config = OptimizerConfig(lr=1e-3, head_lr=1e-2, weight_decay=0.1)
    optimizer = build_optimizer(model, config, HEAD)
    assert isinstance(optimizer, torch.optim.AdamW)
    found = {frozenset(names(model, g)): (g["peak_lr"], g["weight_decay"]) for g in optimizer.param_groups}
    assert found == {
        frozenset({"body.weight"}): (1e-3, 0.1),
        frozenset({"body.bias", "norm.weight", "norm.bias"}): (1e-3, 0.0),
        frozenset({"classifier.weight"}): (1e-2, 0.1),
        frozenset({"classifier.bias"}): (1e-2, 0.0),
    }


def test_sgd_has_the_same_groups():
    optimizer = build_optimizer(Small(), OptimizerConfig(name="sgd", momentum=0.8, nesterov=True), HEAD)
    assert isinstance(optimizer, torch.optim.SGD)
    assert {g["weight_decay"] for g in optimizer.param_groups} == {0.0, 0.01}
    assert all(g["momentum"] == 0.8 and g["nesterov"] for g in optimizer.param_groups)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_rate_rises_over_the_warm_up_and_never_is_zero(schedule):
    config = OptimizerConfig(schedule=schedule, warmup=0.1)
    rates = [rate(config, step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert rates[10] == 1.0
    assert all(0 < r <= 1 for r in rates)
    falls = [b - a for a, b in itertools.pairwise(rates[10:])]
    assert all(f == 0 for f in falls) if schedule == "constant" else all(f < 0 for f in falls)


def test_known_values():
    assert rate(OptimizerConfig(warmup=0), 50, 100) == 0.5
    assert rate(OptimizerConfig(schedule="cosine", warmup=0), 25, 100) == pytest.approx((1 + math.cos(math.pi / 4)) / 2)


def test_set_rate_scales_every_group_by_its_peak():
    optimizer = build_optimizer(Small(), OptimizerConfig(lr=1e-3, head_lr=1e-2), HEAD)
    assert set_rate(optimizer, 0.5) == 5e-4
    assert sorted({g["lr"] for g in optimizer.param_groups}) == [5e-4, 5e-3]
