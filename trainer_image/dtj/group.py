"""The few collectives that ranks need to act as one, through the process group that the script has made.

torch is never imported here: a script without it has one rank and nothing to agree on. A thread that talks beside the
script's own collectives needs a group of its own: two at once in one group would be taken for each other.
"""

from __future__ import annotations

import sys
from typing import Any, TypeVar

from dtj.places import number

T = TypeVar("T")


def process_group() -> Any | None:
    """torch.distributed if the script has initialised it."""
    dist = sys.modules.get("torch.distributed")
    return dist if dist is not None and dist.is_available() and dist.is_initialized() else None


def rank() -> int:
    """The global rank, also before the process group is there."""
    dist = process_group()
    return int(dist.get_rank()) if dist else number("RANK", 0)


def world_size() -> int:
    """How many ranks agree with each other."""
    dist = process_group()
    return int(dist.get_world_size()) if dist else 1


def require_group(what: str) -> None:
    """Refuse to act alone where others are meant to act too.

    Raises:
        RuntimeError: there are several ranks, and no process group to agree through.
    """
    if process_group() is None and (world := number("WORLD_SIZE", 1)) > 1:
        raise RuntimeError(
            f"{what} needs all {world} ranks to agree: call torch.distributed.init_process_group() before it"
        )


def new_group() -> Any | None:
    """A group of all ranks on their CPUs, for one thread; None: there is one rank. A collective of the main thread."""
    dist = process_group()
    return None if dist is None or dist.get_world_size() == 1 else dist.new_group(backend="gloo")


def agree(values: list[int], group: Any = None) -> list[int]:
    """The largest of each value over all ranks; a collective of a group of all ranks (default: the script's own)."""
    dist = process_group()
    if dist is None or dist.get_world_size() == 1:
        return values
    torch = sys.modules["torch"]
    backend = str(getattr(dist, "get_backend_config", dist.get_backend)(group))
    # A CPU tensor where the group takes one: reading a CUDA tensor would wait for all work queued on the GPU.
    on_gpu = "nccl" in backend and "gloo" not in backend
    tensor = torch.tensor(values, dtype=torch.int64, device="cuda" if on_gpu else "cpu")
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=group)
    return [int(value) for value in tensor.tolist()]


def from_all(value: T, group: Any = None) -> list[T]:
    """The value of every rank, by rank; a collective, as `agree`."""
    dist = process_group()
    if dist is None or dist.get_world_size() == 1:
        return [value]
    values = [value] * dist.get_world_size()
    dist.all_gather_object(values, value, group=group)
    return values


def from_rank_0(value: T, group: Any = None) -> T:
    """The value of rank 0; a collective, as `agree`."""
    dist = process_group()
    if dist is None or dist.get_world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, group=group)
    return box[0]
