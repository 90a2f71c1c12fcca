"""DistilBERT: an encoder with names of its own."""

from __future__ import annotations

from dtj_trainer.parallel.plans.plan import Plan, Split

_SPLIT = Split(
    attention="attention",
    by_output=("attention.q_lin", "attention.k_lin", "attention.v_lin", "ffn.lin1"),
    by_input=("attention.out_lin", "ffn.lin2"),
    together={"attention": None},
    heads="n_heads",
    inner="hidden_dim",
)
PLAN = Plan(types=("distilbert",), layers=("transformer.layer",), split=lambda _: _SPLIT)
