"""BART: encoder and decoder share one table of embeddings."""

from __future__ import annotations

from dtj_trainer.parallel.plans.plan import Plan

PLAN = Plan(
    types=("bart",),
    layers=("encoder.layers", "decoder.layers"),
    split="nobody has planned yet how its two kinds of layers are split",
)
