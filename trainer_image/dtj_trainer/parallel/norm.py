"""One global norm over parameters on any meshes.

`clip_grad_norm_` refuses gradients that live on different meshes, and over shards without a full reduction each rank
would clip by its own norm. Here every rank adds up the squares of what it holds, each divided by the number of ranks
that hold the same, and one sum over all ranks is the norm's square, whatever meshes there are. So all ranks get the
same bits, too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor


def global_norm(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """The 2-norm of all tensors together, a plain scalar that is the same on every rank; 0 for no tensors.

    Args:
        tensors: plain ones, which all ranks hold alike, and DTensors that are sharded or replicated over meshes of
            which every rank is in one.
    """
    plain: list[torch.Tensor] = []
    # By the number of parts in which all ranks together hold a tensor.
    parts: dict[int, list[torch.Tensor]] = {}
    for tensor in tensors:
        if isinstance(tensor, DTensor):
            sizes = zip(tensor.device_mesh.shape, tensor.placements, strict=True)
            count = math.prod(size for size, placement in sizes if not placement.is_replicate())
            parts.setdefault(count, []).append(tensor.to_local())
        else:
            plain.append(tensor)
    square = torch.nn.utils.get_total_norm(plain).double().square()
    if parts:
        ranks = dist.get_world_size()
        norms = [(count, torch.nn.utils.get_total_norm(group).double()) for count, group in parts.items()]
        sharded = torch.stack([norm.square() * (count / ranks) for count, norm in norms]).sum()
        dist.all_reduce(sharded)
        square = square.to(sharded) + sharded
    return square.sqrt().float()


def scale_(tensors: Iterable[torch.Tensor], norm: torch.Tensor, limit: float) -> None:
    """Scale the tensors in place so that their global norm `norm` is at most `limit`."""
    factor = torch.clamp(limit / (norm + 1e-6), max=1.0)
    for tensor in tensors:
        local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
        local.mul_(factor)
