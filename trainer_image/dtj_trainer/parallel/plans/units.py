"""What is sharded as one: gathered before it computes, and let go after it.

For a family that has a plan these are its layers. For others a guess could be wrong without a word, as the longest list
of modules is: of T5 it is the encoder alone. What is not guessed is transformers' own mark of a layer, which is there
to compute it a second time in the backward; where there is none, the model is one unit.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from dtj_trainer.parallel.plans.find import plan_of


@dataclass(frozen=True)
class Units:
    """The units of a model."""

    layers: list[nn.Module]
    """What is not in one of these is in the unit of the model as a whole."""
    told: str
    """How they were found, for a family without a plan; empty: by its plan."""


def units_of(model: PreTrainedModel) -> Units:
    """The units in which a model is sharded: each parameter is in one.

    Args:
        model: not yet sharded.

    Raises:
        LayoutError: it has no layers where its plan says.
    """
    plan = plan_of(model.config.model_type)
    if plan is not None:
        return Units(plan.layers_of(model), "")
    layers = [layer for layer in _marked(model) if not _shares(layer, model)]
    nobody = f"parallel: there is no plan for models of type {model.config.model_type!r}"
    if not layers:
        return Units([], f"{nobody}, and transformers marks no layers in it: each step gathers all of it at once")
    kinds = ", ".join(dict.fromkeys(type(layer).__name__ for layer in layers))
    return Units(layers, f"{nobody}: sharded by the {len(layers)} layers that transformers marks ({kinds})")


def _marked(module: nn.Module) -> list[nn.Module]:
    """The layers in a module, by transformers' mark; of those in each other the outer one."""
    found: list[nn.Module] = []
    for child in module.children():
        found += [child] if isinstance(child, GradientCheckpointingLayer) else _marked(child)
    return found


def _shares(layer: nn.Module, model: nn.Module) -> bool:
    """Whether a parameter of the layer is used outside of it, too, or the layer is used in two places."""

    def uses(module: nn.Module) -> Counter[int]:
        return Counter(id(parameter) for _, parameter in module.named_parameters(remove_duplicate=False))

    everywhere = uses(model)
    return any(everywhere[parameter] > count for parameter, count in uses(layer).items())
