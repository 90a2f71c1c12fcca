"""What has to be known of a family of models: where its layers are, how one is split, and what is the head."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from dtj_trainer.parallel.world import LayoutError


@dataclass(frozen=True)
class Split:
    """How the ranks of a tensor group share a layer. Modules are named from the layer on, numbers as in the config."""

    attention: str
    """What computes the attention; transformers hands it to its attention functions."""
    by_output: tuple[str, ...]
    """Linear maps to heads and to the inner width."""
    by_input: tuple[str, ...]
    """Linear maps back from them."""
    together: Mapping[str, str | None]
    """What hands its input to several of `by_output`, and by which keyword it gets it; None: as its first argument."""
    heads: str
    """Number of heads."""
    inner: str
    """Inner width."""
    key_heads: str | None = None
    """Number of heads of keys and values, where it is another."""
    by_head: tuple[str, ...] = ()
    """Norms of each head by itself, with the same weights for all: their input is (samples, pieces, heads, width)."""


@dataclass(frozen=True)
class Plan:
    """A family of models."""

    types: tuple[str, ...]
    """Of its models, as their config.json has them. Others have parts of these names and compute in another way."""
    layers: tuple[str, ...]
    """Lists of layers, named from the base model on. A model may lack some: T5 for tagging has no decoder."""
    split: Callable[[PreTrainedConfig], Split] | str
    """How a layer is split in a model of this config, or why it cannot be."""
    trunk: tuple[str, ...] = ()
    """What is no head in those of its models that have no base model inside: the names begin so."""

    def layers_of(self, model: PreTrainedModel) -> list[nn.Module]:
        """The layers of a model, in the order in which they compute.

        Raises:
            LayoutError: it has none where the plan says.
        """
        modules = dict(model.base_model.named_modules())
        found = [layer for name in self.layers if name in modules for layer in modules[name].children()]
        if not found:
            raise LayoutError(
                f"parallel: a model of type {model.config.model_type!r} has its layers in {' or '.join(self.layers)}, "
                f"and this {type(model).__name__} has none there; write dataShard: 1 and tensor: 1"
            )
        return found
