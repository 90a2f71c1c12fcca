"""Random bits as a function of where they are needed, in plain tensor operations.

A generator hands out numbers in the order in which they are asked for, so what a sample gets depends on who shares its
batch, and on how far that batch is padded. Here each element hashes its own coordinates, one after the other, with a
bijection of 32 bits. All of it is integer arithmetic, which is the same on every device.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch

GOLDEN = 0x9E3779B9
"""2^32 divided by the golden ratio: keeps coordinate 0 off the hash's fixed point."""


def mix(x: torch.Tensor) -> torch.Tensor:
    """Hash every element in place, and return `x`.

    lowbias32 by Chris Wellons, https://nullprogram.com/blog/2018/07/31/.

    Args:
        x: int32, any shape. The products wrap around.
    """
    _fold(x, 16).mul_(signed(0x7FEB352D))
    _fold(x, 15).mul_(signed(0x846CA68B))
    return _fold(x, 16)


def _fold(x: torch.Tensor, by: int) -> torch.Tensor:
    # A shift of signed numbers copies the sign into the upper bits; those are cut off.
    return x.bitwise_xor_((x >> by).bitwise_and_((1 << (32 - by)) - 1))


def signed(value: int) -> int:
    """The low 32 bits of a number, as the int32 that has the same bits."""
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


@functools.lru_cache(maxsize=4096)
def places(length: int, device: torch.device) -> torch.Tensor:
    """Hashed coordinates 0 .. length - 1, int32, shared: not to be changed. A shorter one is the start of a longer."""
    return mix(torch.arange(length, dtype=torch.int32, device=device) + signed(GOLDEN))


def bits(keys: torch.Tensor, shape: Sequence[int], first: int = 0) -> torch.Tensor:
    """32 random bits for each element of a sample's tensor.

    Args:
        keys: int32 (samples,), one for each.
        shape: of the tensor of one sample. Its elements get the same bits whatever the lengths of the dimensions.
        first: where the first dimension of `shape` begins in that of the whole tensor.

    Returns:
        int32 (samples, *shape). It is `keys` itself for an empty shape.
    """
    for length in shape:
        keys = mix(keys.unsqueeze(-1) ^ places(first + length, keys.device)[first:])
        first = 0
    return keys


def drop(x: torch.Tensor, keys: torch.Tensor, p: float, first: int = 0) -> torch.Tensor:
    """Zero each element with probability `p` and divide the others by 1 - p, as nn.Dropout does.

    Args:
        x: floats (samples, ...).
        keys: int32 (samples,).
        p: above 0 and at most 1; rounded to a multiple of 2^-31.
        first: where the second dimension of `x` begins in that of the whole tensor, of which this is a part.
    """
    kept = round((1 - p) * (1 << 31))
    if kept == 0:
        return x * 0.0
    # Comparing would make booleans, and to choose by those costs the CPU more than the hash: here the sign of the
    # difference becomes 32 ones or none, and those the bits of the factor or of 0.0.
    mask = bits(keys, x.shape[1:], first).bitwise_and((1 << 31) - 1).sub_(kept)
    mask >>= 31
    factor = torch.tensor(1 / (1 - p), dtype=torch.float32).view(torch.int32).item()
    return x * mask.bitwise_and_(int(factor)).view(torch.float32).to(x.dtype)
