"""Layers that several ranks compute together (tensor parallelism), for encoders built like BERT.

Each rank has some of the heads and a stripe of the inner width: projections to them are split by output, those back to
the hidden width by input, and the sums of the latter are the only activations exchanged (Shoeybi et al. 2019,
https://arxiv.org/abs/1909.08053). Everything else is computed by all ranks of the group alike, with the same result to
the last bit as long as their devices are alike; that is why they must be given the same samples and draw the same
dropout.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Replicate
from torch.distributed.tensor.parallel import ColwiseParallel, PrepareModuleInput, RowwiseParallel, parallelize_module
from transformers import PreTrainedConfig, PreTrainedModel

from dtj_trainer.parallel.world import LayoutError

FIRST_HEAD = "dtj_first_head"
"""Attribute of a split attention: see `first_head`."""


@dataclass(frozen=True)
class Architecture:
    """Where things are in one layer of a model, by name."""

    attention: str
    """What computes the attention; transformers hands it to its attention functions."""
    by_output: tuple[str, ...]
    """Linear maps to heads and to the inner width."""
    by_input: tuple[str, ...]
    """Linear maps back from them."""
    heads: str
    """Number of heads, in the model's config."""
    inner: str
    """Inner width, in the model's config."""


_BERT = Architecture(
    attention="attention.self",
    by_output=("attention.self.query", "attention.self.key", "attention.self.value", "intermediate.dense"),
    by_input=("attention.output.dense", "output.dense"),
    heads="num_attention_heads",
    inner="intermediate_size",
)
_DISTILBERT = Architecture(
    attention="attention",
    by_output=("attention.q_lin", "attention.k_lin", "attention.v_lin", "ffn.lin1"),
    by_input=("attention.out_lin", "ffn.lin2"),
    heads="n_heads",
    inner="hidden_dim",
)
ARCHITECTURES = {
    "bert": _BERT,
    "roberta": _BERT,
    "xlm-roberta": _BERT,
    "camembert": _BERT,
    "electra": _BERT,
    "distilbert": _DISTILBERT,
}
"""By model type. Others have layers of these names and another attention (BigBird, ConvBERT), so names do not tell."""


def expect_splittable(config: PreTrainedConfig, tensor: int) -> None:
    """Check that the layers of a model can be split over `tensor` ranks.

    Raises:
        LayoutError: the model is of another type, or its heads or its inner width do not come out even.
    """
    known = ARCHITECTURES.get(config.model_type)
    if known is None:
        raise LayoutError(
            f"parallel.tensor: is {tensor}, and layers of a model of type {config.model_type!r} cannot be split; "
            f"allowed are 1, or a model of type {', '.join(ARCHITECTURES)}"
        )
    heads, inner = getattr(config, known.heads), getattr(config, known.inner)
    if heads % tensor or inner % tensor:
        allowed = [n for n in range(1, heads + 1) if heads % n == inner % n == 0]
        raise LayoutError(
            f"parallel.tensor: {tensor} does not divide both the model's {heads} attention heads ({known.heads} in its "
            f"config.json) and its inner width {inner} ({known.inner}); allowed are {', '.join(map(str, allowed))}"
        )


def split(model: PreTrainedModel, mesh: DeviceMesh) -> None:
    """Split the layers in place. All ranks have the same weights; names stay.

    Args:
        model: for which `expect_splittable` holds; on its device, not yet sharded.
        mesh: the tensor group, one dimension.
    """
    # A tensor that is split and sharded is put together in two steps, of which torch warns on every rank. Only the
    # export does that.
    logging.getLogger("torch.distributed.tensor._redistribute").setLevel(logging.ERROR)
    known = ARCHITECTURES[model.config.model_type]
    # One conversion for the three projections, so that backward adds their gradients before it exchanges the sum.
    together = PrepareModuleInput(
        input_layouts=(Replicate(),), desired_input_layouts=(Replicate(),), use_local_output=False
    )
    plan = {
        known.attention: together,
        **{name: ColwiseParallel() for name in known.by_output},
        **{name: RowwiseParallel() for name in known.by_input},
    }
    first = getattr(model.config, known.heads) // mesh.size() * mesh.get_local_rank()
    for layer in layers_of(model):
        parallelize_module(layer, mesh, plan, src_data_rank=None)
        setattr(layer.get_submodule(known.attention), FIRST_HEAD, first)


def first_head(attention: nn.Module) -> int:
    """Which of the model's heads is the first that this rank computes: 0 where the layer is not split.

    What is drawn for a head goes by its number in the model, or else the ranks of a tensor group draw alike.

    Args:
        attention: the module that transformers hands to attention functions.
    """
    return int(getattr(attention, FIRST_HEAD, 0))


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The repeated layers: the longest list of modules in the model."""
    lists = [list(module) for module in model.modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=lambda layers: len(layers), default=[])
