"""Layers that several ranks compute together (tensor parallelism), by the plan of the model's family.

Each rank has some of the heads and a stripe of the inner width: projections to them are split by output, those back to
the hidden width by input, and the sums of the latter are the only activations exchanged (Shoeybi et al. 2019,
https://arxiv.org/abs/1909.08053). Everything else is computed by all ranks of the group alike, with the same result to
the last bit as long as their devices are alike; that is why they must be given the same samples and draw the same
dropout.
"""

from __future__ import annotations

import logging

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import Replicate
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)
from transformers import PreTrainedConfig, PreTrainedModel

from dtj_trainer.parallel.plans.find import plan_of, splittable
from dtj_trainer.parallel.world import LayoutError

FIRST_HEAD = "dtj_first_head"
"""Attribute of a split attention: see `first_head`."""
_HEADS = 2
"""Dimension of the heads in the input of `Split.by_head`."""


def expect_splittable(config: PreTrainedConfig, tensor: int) -> None:
    """Check that the layers of a model can be split over `tensor` ranks.

    Raises:
        LayoutError: those of its type cannot be, or its heads or its inner width do not come out even.
    """
    plan = plan_of(config.model_type)
    if plan is None or isinstance(plan.split, str):
        why = f": {plan.split}" if plan else ""
        raise LayoutError(
            f"parallel.tensor: is {tensor}, and layers of a model of type {config.model_type!r} cannot be split{why}; "
            f"allowed are 1, or a model of type {', '.join(splittable())}"
        )
    known = plan.split(config)
    heads, inner = getattr(config, known.heads), getattr(config, known.inner)
    counts, words = [heads, inner], [f"the model's {heads} attention heads ({known.heads} in its config.json)"]
    if known.key_heads:
        counts.append(getattr(config, known.key_heads))
        words.append(f"its {counts[-1]} heads of keys ({known.key_heads})")
    words.append(f"its inner width {inner} ({known.inner})")
    if any(count % tensor for count in counts):
        allowed = [n for n in range(1, heads + 1) if not any(count % n for count in counts)]
        raise LayoutError(
            f"parallel.tensor: {tensor} does not divide {'both' if len(words) == 2 else 'all of'} "
            f"{', '.join(words[:-1])} and {words[-1]}; allowed are {', '.join(map(str, allowed))}"
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
    plan = plan_of(model.config.model_type)
    assert plan is not None, "expect_splittable was asked"
    assert not isinstance(plan.split, str), "expect_splittable was asked"
    known = plan.split(model.config)
    styles: dict[str, ParallelStyle] = {
        **{name: _together(keyword) for name, keyword in known.together.items()},
        **{name: ColwiseParallel() for name in known.by_output},
        **{name: RowwiseParallel() for name in known.by_input},
        # Each rank computes the norm of its own heads, and the weights' gradients are summed over the group.
        **{name: SequenceParallel(sequence_dim=_HEADS, use_local_output=True) for name in known.by_head},
    }
    first = getattr(model.config, known.heads) // mesh.size() * mesh.get_local_rank()
    for layer in plan.layers_of(model):
        for name in styles:
            # torch passes over a name that is not there, with a warning.
            layer.get_submodule(name)
        parallelize_module(layer, mesh, styles, src_data_rank=None)
        setattr(layer.get_submodule(known.attention), FIRST_HEAD, first)


def _together(keyword: str | None) -> PrepareModuleInput:
    """One conversion of an input for all maps that take it, so that backward adds their gradients before it exchanges
    the sum.

    Args:
        keyword: of the input; None: the first argument, and no other has a place.
    """
    if keyword is None:
        return PrepareModuleInput(input_layouts=(Replicate(),), desired_input_layouts=(Replicate(),))
    return PrepareModuleInput(
        input_kwarg_layouts={keyword: Replicate()}, desired_input_kwarg_layouts={keyword: Replicate()}
    )


def first_head(attention: nn.Module) -> int:
    """Which of the model's heads is the first that this rank computes: 0 where the layer is not split.

    What is drawn for a head goes by its number in the model, or else the ranks of a tensor group draw alike.

    Args:
        attention: the module that transformers hands to attention functions.
    """
    return int(getattr(attention, FIRST_HEAD, 0))
