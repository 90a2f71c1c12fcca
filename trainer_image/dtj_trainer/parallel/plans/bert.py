"""BERT, and the encoders that are built like it."""

from __future__ import annotations

from dtj_trainer.parallel.plans.plan import Plan, Split

_SPLIT = Split(
    attention="attention.self",
    by_output=("attention.self.query", "attention.self.key", "attention.self.value", "intermediate.dense"),
    by_input=("attention.output.dense", "output.dense"),
    together={"attention.self": None},
    heads="num_attention_heads",
    inner="intermediate_size",
)
PLAN = Plan(
    types=("bert", "roberta", "xlm-roberta", "camembert", "electra"),
    layers=("encoder.layer",),
    split=lambda _: _SPLIT,
)
