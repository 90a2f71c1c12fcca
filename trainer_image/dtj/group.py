"""The few collectives that ranks need to act as one, through the process group that the script has made.

torch is never imported here: a script without it has one rank and nothing to agree on. A thread that talks beside the
script's own collectives needs a group of its own: two at once in one group would be taken for each other.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from dtj.places import number

T = TypeVar("T")
PATIENCE = timedelta(days=1)
"""For how long ranks wait for one that writes to a volume."""


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


@dataclass(frozen=True)
class Group:
    """All ranks, for collectives beside the script's own. It stays a group of as many, whatever the script does."""

    handle: Any
    """torch's process group; None: there is one rank."""
    rank: int
    size: int


def new_group() -> Group:
    """A group of all ranks on their CPUs; a collective of the main thread.

    It waits for as long as a volume may take: who dies is seen by the connection that breaks.
    """
    dist = process_group()
    if dist is None or dist.get_world_size() == 1:
        return Group(None, rank(), 1)
    handle = dist.new_group(backend="gloo", timeout=PATIENCE)
    return Group(handle, int(dist.get_rank()), int(dist.get_world_size()))


def agree(values: list[int], group: Group | None = None) -> list[int]:
    """The largest of each value over all ranks; a collective, of the script's own group if none is given.

    Raises:
        RuntimeError: the script has destroyed its process groups, and this one with them.
    """
    dist = _talk_through(group)
    if dist is None:
        return values
    torch = sys.modules["torch"]
    handle = group.handle if group is not None else None
    backend = str(getattr(dist, "get_backend_config", dist.get_backend)(handle))
    # A CPU tensor where the group takes one: reading a CUDA tensor would wait for all work queued on the GPU.
    on_gpu = "nccl" in backend and "gloo" not in backend
    tensor = torch.tensor(values, dtype=torch.int64, device="cuda" if on_gpu else "cpu")
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX, group=handle)
    return [int(value) for value in tensor.tolist()]


def from_all(value: T, group: Group | None = None) -> list[T]:
    """The value of every rank, by rank; a collective, as `agree`."""
    dist = _talk_through(group)
    if dist is None:
        return [value]
    values = [value] * (group.size if group is not None else dist.get_world_size())
    dist.all_gather_object(values, value, group=group.handle if group is not None else None)
    return values


def from_rank_0(value: T, group: Group | None = None) -> T:
    """The value of rank 0; a collective, as `agree`."""
    dist = _talk_through(group)
    if dist is None:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, group=group.handle if group is not None else None)
    return box[0]


def _talk_through(group: Group | None) -> Any | None:
    """torch.distributed, or None where there is one rank. A group of several never turns into one of one."""
    dist = process_group()
    if group is None:
        return dist if dist is not None and dist.get_world_size() > 1 else None
    if group.size == 1:
        return None
    if dist is None:
        raise RuntimeError("the process groups are gone before the save has ended; call dtj.wait_for_save() first")
    return dist
