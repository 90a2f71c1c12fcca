"""Model, optimizer and best weights as a DCP checkpoint that any number of ranks can read.

The best weights of early stopping are part of each checkpoint: a directory of their own could be pruned or, after a
restart, stem from an incarnation whose steps never counted. Only the optimizer's state is stored, not its
hyper-parameters, which are the configuration's.

What all ranks hold alike is written by one of them, and only copied there: each rank takes its share of the bytes.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint import FileSystemReader, FileSystemWriter, state_dict_loader, state_dict_saver
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions
from torch.distributed.checkpoint.state_dict import (
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import DTensor

from dtj.files import exists
from dtj_trainer.parallel.norm import global_norm
from dtj_trainer.parallel.world import World
from dtj_trainer.parallel.wrap import Parallel

TENSORS = "tensors"
"""Their folder in a checkpoint."""
PART = "part.pt"
"""A rank's part of a checkpoint in memory."""
MODEL, BEST = "model", "best"
"""Where the weights are in it: the last ones, and those of the best evaluation."""


class DamagedTensorsError(Exception):
    """What was read is not what was saved."""


Weights = dict[str, torch.Tensor]
TOLERANCE = 1e-5
"""Relative error of the parameters' norm between the ranks that saved and those that load; fp32 sums differ by 1e-7."""


def copy_weights(parallel: Parallel) -> Weights:
    """A copy of this rank's part of the weights."""
    return {name: value.detach().clone() for name, value in _weights(parallel).items()}


def set_weights(parallel: Parallel, weights: Weights) -> None:
    """Put a copy back."""
    set_model_state_dict(parallel.plain, dict(weights))


def parameter_norm(parallel: Parallel) -> float:
    """Global norm of all parameters; the same on every rank."""
    return float(global_norm(p.detach() for p in parallel.plain.parameters()))


def tensors_to_save(
    parallel: Parallel, optimizer: torch.optim.Optimizer, best: Weights | None, world: World
) -> dict[str, Any]:
    """This rank's part of a checkpoint, as references to what the next step changes."""
    return share(_tree(parallel, optimizer, best), world.rank, world.size)


def write_tensors(directory: Path, tree: dict[str, Any], group: Any) -> None:
    """Write this rank's part; a collective of all ranks through `group` (None: the one of all ranks)."""
    # The files are made durable once all are written, while they are summed.
    writer = FileSystemWriter(directory / TENSORS, sync_files=False)
    state_dict_saver.save(tree, storage_writer=writer, process_group=group)


class Copies:
    """Copies of a rank's part in the memory of its CPU, in buffers that are used again."""

    def __init__(self) -> None:
        cuda = torch.cuda.is_available()
        self._stager = DefaultStager(
            StagingOptions(
                use_pinned_memory=cuda,
                use_shared_memory=False,
                use_async_staging=False,
                use_non_blocking_copy=cuda,
            )
        )

    def of(self, tree: dict[str, Any]) -> dict[str, Any]:
        """Copy; what an earlier copy held is gone."""
        copied = self._stager.stage(tree)
        assert isinstance(copied, dict), "the stager does not do it in the background"
        return copied


def share(tree: dict[str, Any], rank: int, world: int) -> dict[str, Any]:
    """What one rank writes of a tree: its shards, and its share of what all ranks hold alike.

    Args:
        tree: nested dicts, the same names on all ranks.
        rank: of this process.
        world: number of ranks.
    """
    kept: dict[str, Any] = {}
    for path, value, writer in _dealt(tree, world):
        if writer in (None, rank):
            branch = kept
            for name in path[:-1]:
                branch = branch.setdefault(name, {})
            branch[path[-1]] = value
    return kept


def _dealt(tree: dict[str, Any], world: int) -> list[tuple[tuple[str, ...], Any, int | None]]:
    """The leaves of a tree by their paths, and who writes each; None: every rank its shard.

    Each rank finds the same for itself, and the shares are about equal in bytes.
    """
    load = [0] * world
    dealt: list[tuple[tuple[str, ...], Any, int | None]] = []
    for path, value in _leaves(tree):
        writer = None
        if not isinstance(value, DTensor):
            writer = load.index(min(load))
            load[writer] += value.nbytes if isinstance(value, torch.Tensor) else 1
        dealt.append((path, value, writer))
    return dealt


def _leaves(tree: dict[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name in sorted(tree, key=str):
        if isinstance(tree[name], dict):
            yield from _leaves(tree[name], (*above, name))
        else:
            yield (*above, name), tree[name]


def load_tensors(directory: Path, parallel: Parallel, optimizer: torch.optim.Optimizer, best: bool) -> Weights | None:
    """Read this rank's part into model and optimizer, and return the best weights if the checkpoint has them."""

    def read(tree: dict[str, Any]) -> None:
        state_dict_loader.load(tree, checkpoint_id=directory / TENSORS)

    return _load(read, parallel, optimizer, best)


def write_part(directory: Path, tree: dict[str, Any]) -> None:
    """Write what `tensors_to_save` gave for the same rank of as many to read; no collective."""
    torch.save({"/".join(path): _local(value) for path, value in _leaves(tree)}, directory / PART)


def load_part(
    directory: Path, parallel: Parallel, optimizer: torch.optim.Optimizer, best: bool, world: World
) -> Weights | None:
    """As `load_tensors`, from the parts that all ranks wrote with `write_part`; a collective of all ranks."""

    def read(tree: dict[str, Any]) -> None:
        mine = torch.load(directory / PART, weights_only=True, mmap=True)
        for path, value, writer in _dealt(tree, world.size):
            local = _local(value)
            if writer in (None, world.rank):
                local.copy_(mine["/".join(path)])
            if writer is not None:
                dist.broadcast(local, src=writer)

    return _load(read, parallel, optimizer, best)


def _load(
    read: Callable[[dict[str, Any]], None], parallel: Parallel, optimizer: torch.optim.Optimizer, best: bool
) -> Weights | None:
    optimizer_state = get_optimizer_state_dict(parallel.plain, optimizer)
    tree = _tree(parallel, optimizer, copy_weights(parallel) if best else None, optimizer_state)
    read(tree)
    set_model_state_dict(parallel.plain, tree[MODEL])
    set_optimizer_state_dict(parallel.plain, optimizer, optimizer_state)
    return tree.get(BEST)


def _local(value: torch.Tensor) -> torch.Tensor:
    return value.to_local() if isinstance(value, DTensor) else value


def load_alone(directory: Path, which: str) -> Weights:
    """Read weights without model and ranks; none where the checkpoint has no such.

    Args:
        directory: of the checkpoint.
        which: MODEL or BEST.

    Raises:
        OSError: the volume failed.
    """
    folder = directory / TENSORS
    if not exists(folder / ".metadata"):
        return {}
    stored = FileSystemReader(folder).read_metadata().state_dict_metadata
    weights = {
        name.removeprefix(f"{which}."): torch.empty(one.size, dtype=one.properties.dtype)
        for name, one in stored.items()
        if name.startswith(f"{which}.") and isinstance(one, TensorStorageMetadata)
    }
    if weights:
        with warnings.catch_warnings():
            # That there is no process group is what no_dist says.
            warnings.simplefilter("ignore")
            state_dict_loader.load({which: weights}, checkpoint_id=folder, no_dist=True)
    return weights


def verify_resume(directory: Path, parallel: Parallel, expected: float) -> None:
    """Check that the weights in memory are those that were saved, whatever the two numbers of ranks.

    Raises:
        DamagedTensorsError: the norm of the parameters is another one.
    """
    found = parameter_norm(parallel)
    if abs(found - expected) > TOLERANCE * abs(expected):
        raise DamagedTensorsError(
            f"{directory}: the restored parameters have norm {found!r}, the saved ones had {expected!r}"
        )


def _weights(parallel: Parallel) -> Weights:
    state = get_model_state_dict(parallel.plain)
    return {name: value for name, value in state.items() if isinstance(value, torch.Tensor)}


def _tree(
    parallel: Parallel,
    optimizer: torch.optim.Optimizer,
    best: Weights | None,
    optimizer_state: dict[str, Any] | None = None,
) -> dict[str, Any]:
    state = optimizer_state or get_optimizer_state_dict(parallel.plain, optimizer)
    tree: dict[str, Any] = {MODEL: _weights(parallel), "optimizer": state["state"]}
    if best is not None:
        tree[BEST] = best
    return tree
