"""Shards: parameters, gradients and optimizer state are split over ranks by FSDP2, layer by layer.

One unit for the whole model would gather all of it at once and save nothing, so each layer of the encoder is a unit
and the rest is the root's. With replicas the mesh has two dimensions (hybrid sharding). The optimizer must be built
after this: `fully_shard` replaces the parameters.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from dtj_trainer.parallel.world import Layout, World


class Sharded:
    """A model split over the ranks of the mesh."""

    def __init__(self, model: nn.Module, world: World, shape: Layout, precision: Literal["fp32", "bf16"]) -> None:
        model.to(world.device)
        for tensor in (*model.parameters(), *model.buffers()):
            dist.broadcast(tensor.detach(), src=0)
        if shape.replicate > 1:
            mesh = init_device_mesh(
                world.device.type, (shape.replicate, shape.shard), mesh_dim_names=("replicate", "shard")
            )
        else:
            mesh = init_device_mesh(world.device.type, (shape.shard,), mesh_dim_names=("shard",))
        policy = MixedPrecisionPolicy()
        if precision == "bf16":
            policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        for layer in _layers(model):
            fully_shard(layer, mesh=mesh, mp_policy=policy)
        fully_shard(model, mesh=mesh, mp_policy=policy)
        self.plain = model

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


def _layers(model: nn.Module) -> list[nn.Module]:
    """The repeated layers: the longest list of modules in the model."""
    lists = [list(module) for module in model.modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=lambda layers: len(layers), default=[])
