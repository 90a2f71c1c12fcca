"""T5: encoder and decoder share one table of embeddings, and each has its biases of positions in its first layer."""

from __future__ import annotations

from dtj_trainer.parallel.plans.plan import Plan

PLAN = Plan(
    types=("t5", "mt5"),
    layers=("encoder.block", "decoder.block"),
    split="the biases of positions, which the first layer makes for all, would have to be split by heads with them",
    trunk=("shared", "encoder", "decoder"),
)
