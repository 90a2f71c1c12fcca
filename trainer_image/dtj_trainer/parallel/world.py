"""The group of ranks: device, backend and the layout of the mesh.

Backend and device follow the hardware: NCCL with Gloo beside it on a GPU (checkpoints and objects travel over Gloo),
Gloo alone on a CPU. Ranks come from torchrun's environment; without one, the process is a world of its own.
"""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass

import torch
import torch.distributed as dist

from dtj_api.trainer import ParallelConfig
from dtj_trainer.untrainable import UntrainableError

READY_TIMEOUT = datetime.timedelta(hours=1)
"""How much longer than another one a rank may take to read its data and its model."""
START_TIMEOUT = datetime.timedelta(minutes=10)
"""For a step's collectives, and for those before the first step."""
TAIL_TIMEOUT = datetime.timedelta(hours=6)
"""How long other ranks wait for rank 0, which alone writes report and export; see `World.wait_for_rank_0`."""


class LayoutError(UntrainableError):
    """`parallel` does not fit the number of ranks, or the ranks not the GPUs."""


@dataclass(frozen=True)
class World:
    """This rank's place."""

    rank: int
    size: int
    device: torch.device
    tail: dist.ProcessGroup
    """A Gloo group of all ranks with a timeout of its own."""
    tensor: int = 1
    """Neighbouring ranks that compute each layer together, and so must be given the same samples."""

    @property
    def data_rank(self) -> int:
        """Which part of the data this rank takes, from 0."""
        return self.rank // self.tensor

    @property
    def data_size(self) -> int:
        """Number of parts of the data."""
        return self.size // self.tensor

    def wait_for_rank_0(self) -> None:
        """Return when every rank has come here.

        Ranks that simply ended would start torchrun's exit barrier, which gives a slow rank 0 300 s and then fails a
        job that is done but for its report.
        """
        dist.barrier(group=self.tail)


def join(cpu_threads: int, tensor: int = 1) -> World:
    """Enter the process group (or make one of a single process) and pick this rank's device.

    Args:
        cpu_threads: threads of this rank; for a CPU.
        tensor: ranks of a tensor group; divides the number of ranks.
    """
    local = int(os.environ.get("LOCAL_RANK", "0"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", local) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(cpu_threads)
    backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
    if "WORLD_SIZE" in os.environ:
        store, rank, size = next(dist.rendezvous("env://", timeout=READY_TIMEOUT))
        store.set_timeout(START_TIMEOUT)
        dist.init_process_group(
            backend,
            store=store,
            rank=rank,
            world_size=size,
            timeout=START_TIMEOUT,
            device_id=device if cuda else None,
        )
    else:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    tail = dist.new_group(backend="gloo", timeout=TAIL_TIMEOUT)
    assert isinstance(tail, dist.ProcessGroup), "this rank is in the group of all ranks"
    return World(dist.get_rank(), dist.get_world_size(), device, tail, tensor)


def expect_gpus(ranks: int, gpus: int) -> None:
    """Check that each rank of this machine has a GPU of its own, where there are any.

    Raises:
        LayoutError: there are fewer.
    """
    if 0 < gpus < ranks:
        raise LayoutError(
            f"workers.processesPerWorker: is {ranks}, and this worker sees {gpus} GPU{'s' if gpus > 1 else ''}; each "
            f"rank needs one: write {gpus} or less, `auto`, or ask for more GPUs in the template's limits"
        )


@dataclass(frozen=True)
class Layout:
    """Shape of the mesh: `replicate` x `shard` x `tensor` ranks, the last varying fastest."""

    replicate: int
    shard: int
    tensor: int


def layout(config: ParallelConfig, world: int) -> Layout:
    """Fit `parallel` to the number of ranks.

    Raises:
        LayoutError: replicas x shards x parts of a layer is not the number of ranks.
    """
    shape = config.shape(world)
    if shape is None:
        raise LayoutError(
            f"parallel: dataReplicate {config.data_replicate} x dataShard {config.data_shard} x tensor {config.tensor} "
            f"is not the {world} ranks there are; tensor and dataShard must divide their number, and -1 follows it"
        )
    return Layout(*shape)
