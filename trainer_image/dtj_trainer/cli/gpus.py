"""A share of this machine's GPUs for each worker, which sees no others.

In a cluster each pod has GPUs of its own, and its ranks number them from 0. Here the workers share a machine: without a
share of its own, the first rank of every worker would take the same GPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dtj_api.base import ManifestError

VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Share:
    """What is started."""

    workers: int
    processes: int
    """Ranks of each worker."""
    devices: tuple[str, ...]
    """CUDA_VISIBLE_DEVICES of each worker; empty: there is no GPU."""
    notice: str
    """What the user did not ask for; empty: nothing."""


def gpus_of_torch() -> int:
    """How many GPUs torch sees; imports it, which takes seconds."""
    import torch

    return torch.cuda.device_count()


def visible(device_count: Callable[[], int] = gpus_of_torch, env: Mapping[str, str] = os.environ) -> list[str]:
    """The GPUs that this process sees, by the names that CUDA_VISIBLE_DEVICES has for them."""
    count = device_count()
    given = env.get(VISIBLE)
    names = [str(index) for index in range(count)] if given is None else [name.strip() for name in given.split(",")]
    return names[:count]


def share_out(gpus: Sequence[str], wanted: int, fewest: int, processes: int | None) -> Share:
    """Give each worker as many GPUs as it has ranks.

    Args:
        gpus: names of those that are there; none: the ranks train on the CPU.
        wanted: workers.
        fewest: workers that training may begin with where the GPUs are not enough for all.
        processes: ranks of each worker; None: as many as its equal share of the GPUs, else 1.

    Raises:
        ManifestError: the GPUs are not enough.
    """
    if not gpus:
        return Share(wanted, processes or 1, (), "")
    each = processes or max(1, len(gpus) // wanted)
    workers = min(wanted, len(gpus) // each)
    found = f"found {_count(len(gpus), 'GPU')}"
    if workers < fewest:
        need = f"{_count(fewest, 'worker')} with {_count(each, 'rank')}{' each' if fewest > 1 else ''}"
        way = f"--workers {workers}" if workers else f"--workers 1 --processes-per-worker {len(gpus)}"
        raise ManifestError(
            f"spec.workers: {found}; {need} need{'' if fewest > 1 else 's'} {fewest * each}, one for each rank: give "
            f"{way}, or hide the GPUs with {VISIBLE}= to train on the CPU"
        )
    notices = []
    if workers < wanted:
        notices.append(f"{_count(workers, 'worker')} {'are' if workers > 1 else 'is'} started instead of {wanted}")
    if unused := len(gpus) - workers * each:
        notices.append(f"{unused} {'are' if unused > 1 else 'is'} not used")
    devices = tuple(",".join(gpus[first : first + each]) for first in range(0, workers * each, each))
    return Share(workers, each, devices, f"{found}: {', '.join(notices)}" if notices else "")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
