"""GPT-2: a decoder whose output layer is its table of embeddings."""

from __future__ import annotations

from dtj_trainer.parallel.plans.plan import Plan

PLAN = Plan(
    types=("gpt2",),
    layers=("h",),
    split="its queries, keys and values come from one matrix, which does not come apart by heads, and transformers has "
    "no plan for it",
)
