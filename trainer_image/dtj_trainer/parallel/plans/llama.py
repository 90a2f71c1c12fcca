"""Llama, and Qwen, which is built like it: decoders that are split as transformers plans it.

That plan names each map of a layer with a style. Its own hooks are left alone: they are made for its way of loading a
model, and all-reduce gradients of parameters that FSDP2 has taken away by then.
"""

from __future__ import annotations

import transformers
from transformers import PreTrainedConfig

from dtj_trainer.parallel.plans.plan import Plan, Split
from dtj_trainer.parallel.world import LayoutError

_LAYER = "layers.*."
_BY_OUTPUT, _BY_INPUT, _BY_HEAD = "colwise", "rowwise", "replicated_with_grad_allreduce"
"""The styles that a plan may name. Gradients of what has the last one are partial sums, one over each rank's heads."""


def _split(config: PreTrainedConfig) -> Split:
    names: dict[str, list[str]] = {_BY_OUTPUT: [], _BY_INPUT: [], _BY_HEAD: []}
    for name, style in (config.base_model_tp_plan or {}).items():
        # Embeddings, last norm and head are computed by all ranks alike, planned or not.
        if not name.startswith(_LAYER):
            continue
        if style not in names:
            raise LayoutError(
                f"parallel.tensor: transformers {transformers.__version__} splits {name} of a model of type "
                f"{config.model_type!r} as {style!r}, and known are {', '.join(names)}; write 1"
            )
        names[style].append(name.removeprefix(_LAYER))
    if not names[_BY_OUTPUT] or not names[_BY_INPUT]:
        raise LayoutError(
            f"parallel.tensor: transformers {transformers.__version__} has no plan for the layers of a model of type "
            f"{config.model_type!r}; write 1"
        )
    return Split(
        attention="self_attn",
        by_output=tuple(names[_BY_OUTPUT]),
        by_input=tuple(names[_BY_INPUT]),
        together={"self_attn": "hidden_states", "mlp": None},
        heads="num_attention_heads",
        inner="intermediate_size",
        key_heads="num_key_value_heads",
        by_head=tuple(names[_BY_HEAD]),
    )


PLAN = Plan(types=("llama", "qwen2", "qwen3"), layers=("layers",), split=_split)
