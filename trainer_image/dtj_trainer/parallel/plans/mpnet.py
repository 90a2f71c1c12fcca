"""MPNet: an encoder whose biases of positions all layers share."""

from __future__ import annotations

from dtj_trainer.parallel.plans.plan import Plan

PLAN = Plan(
    types=("mpnet",),
    layers=("encoder.layer",),
    split="the biases of positions, which are made once for all layers, would have to be split by heads with them",
)
