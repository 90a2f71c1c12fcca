"""Shards: parameters, gradients and optimizer state are split over ranks by FSDP2, layer by layer.

One unit for the whole model would gather all of it at once and save little, so each layer is a unit and the rest is the
root's: with it embeddings that several parts of the model share, which have to be in one. With replicas the mesh has
two dimensions (hybrid sharding, HSDP). The optimizer must be built after this: `fully_shard` replaces the
parameters.

Layers that are split over a tensor group are split before that. DDP cannot average parts, so replicas of a split model
are hybrid sharding as well, with one shard; and a split model without either is one shard of one replica.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from transformers import PreTrainedModel

from dtj_trainer.parallel.plans.units import units_of
from dtj_trainer.parallel.tensor import split
from dtj_trainer.parallel.world import Layout, World


class Sharded:
    """A model split over the ranks of the mesh."""

    def __init__(self, model: PreTrainedModel, world: World, shape: Layout, precision: Literal["fp32", "bf16"]) -> None:
        # transformers' own `to` is typed for other arguments.
        nn.Module.to(model, world.device)
        for tensor in (*model.parameters(), *model.buffers()):
            dist.broadcast(tensor.detach(), src=0)
        data = {"replicate": shape.replicate, "shard": shape.shard} if shape.replicate > 1 else {"shard": shape.shard}
        sizes = {**data, "tensor": shape.tensor} if shape.tensor > 1 else data
        units = units_of(model)
        if units.told and world.rank == 0:
            print(f"dtj: {units.told}", file=sys.stderr, flush=True)
        whole = init_device_mesh(world.device.type, tuple(sizes.values()), mesh_dim_names=tuple(sizes))
        mesh = whole[tuple(data)]
        if shape.tensor > 1:
            split(model, whole["tensor"])
        policy = MixedPrecisionPolicy()
        if precision == "bf16":
            policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        for layer in units.layers:
            fully_shard(layer, mesh=mesh, mp_policy=policy)
        fully_shard(model, mesh=mesh, mp_policy=policy)
        self.plain: nn.Module = model

    @contextmanager
    def micro_step(self, last: bool) -> Iterator[nn.Module]:
        """The module to call for one forward and backward; ranks exchange gradients in the last one of a step."""
        assert isinstance(self.plain, FSDPModule)
        self.plain.set_requires_gradient_sync(last)
        yield self.plain

    @contextmanager
    def inference(self) -> Iterator[nn.Module]:
        """The module to call without gradients; dropout is off inside."""
        self.plain.eval()
        try:
            with torch.no_grad():
                yield self.plain
        finally:
            # The root stays gathered after a forward without a backward; its parameters would not be the optimizer's.
            for module in self.plain.modules():
                if isinstance(module, FSDPModule):
                    module.reshard()
            self.plain.train()
