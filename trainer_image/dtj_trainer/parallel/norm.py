"""One global norm over parameters on any meshes.

`clip_grad_norm_` refuses gradients that live on different meshes, and over shards without a full reduction each rank
would clip by its own norm. Here the norm of each mesh is reduced for itself and the squares are added.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.distributed.tensor import DTensor


def global_norm(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """The 2-norm of all tensors together, a plain scalar that is the same on every rank; 0 for no tensors."""
    groups: dict[object, list[torch.Tensor]] = {}
    for tensor in tensors:
        key = (tensor.device_mesh, tuple(tensor.placements)) if isinstance(tensor, DTensor) else None
        groups.setdefault(key, []).append(tensor)
    norms = []
    for group in groups.values():
        norm = torch.nn.utils.get_total_norm(group)
        norms.append(norm.full_tensor() if isinstance(norm, DTensor) else norm)
    return torch.linalg.vector_norm(torch.stack(norms)) if norms else torch.tensor(0.0)


def scale_(tensors: Iterable[torch.Tensor], norm: torch.Tensor, limit: float) -> None:
    """Scale the tensors in place so that their global norm `norm` is at most `limit`."""
    factor = torch.clamp(limit / (norm + 1e-6), max=1.0)
    for tensor in tensors:
        local = tensor.to_local() if isinstance(tensor, DTensor) else tensor
        local.mul_(factor)
