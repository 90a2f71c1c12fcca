"""The synchronous step on one rank: what moves the weights, and what must not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.distributed as dist

from dtj_api.trainer import OptimizerConfig
from dtj_trainer.dropout.draws import Draws
from dtj_trainer.session import Session
from dtj_trainer.strategies.synchronous import Synchronous


@pytest.fixture
def alone() -> Iterator[Any]:
    """A process group of this process."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield SimpleNamespace(data_size=1, tensor=1, device=torch.device("cpu"))
    dist.destroy_process_group()


@pytest.mark.parametrize(("tokens", "moves"), [(4, True), (0, False)])
def test_a_batch_without_any_label_leaves_the_weights_alone(alone: Any, tokens: int, moves: bool) -> None:
    """Weight decay and momentum would move them although there is nothing to learn."""
    model = torch.nn.Linear(3, 1)
    parallel: Any = SimpleNamespace(micro_step=lambda last: nullcontext(model))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    for group in optimizer.param_groups:
        group["peak_lr"] = 0.1
    strategy = Synchronous(parallel, optimizer, OptimizerConfig(), 10, alone)
    before = model.weight.detach().clone()

    outcome = strategy.step(0, [torch.ones(4, 3)], tokens, lambda m, x: m(x).sum() * min(tokens, 1))

    assert outcome.applied is moves
    assert torch.equal(model.weight, before) is not moves
    assert outcome.loss == outcome.loss, "no division by zero"


def test_the_largest_seed_of_the_schema_can_be_drawn_from() -> None:
    place: Any = SimpleNamespace(
        config=SimpleNamespace(seed=2**31 - 1),
        state=SimpleNamespace(step=10**7),
        world=SimpleNamespace(data_rank=9999),
        draws=Draws(2**31 - 1, ["dropout"], torch.device("cpu")),
    )
    Session.seed_step(place)
