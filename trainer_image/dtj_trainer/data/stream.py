"""Steps of one rank: the global batch, collated to micro-batches one step ahead of the training."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from dtj_trainer.data.sampler import Cursor, ElasticSampler, micro_batches

B = TypeVar("B")


@dataclass(frozen=True)
class StepData(Generic[B]):
    """What one optimizer step trains on. Counts are those of the global batch, over all ranks."""

    cursor: Cursor
    """The cursor after this step."""
    samples: list[int]
    micros: list[B]


def stream(
    sampler: ElasticSampler,
    start: Cursor,
    epochs: int,
    rank: int,
    world: int,
    limit: int,
    collate: Callable[[Sequence[int]], B],
) -> Generator[StepData[B], None, None]:
    """The steps from `start` to the end of the last epoch. The next step is collated while one is trained on."""

    def make(cursor: Cursor) -> StepData[B]:
        batch = sampler.batch(cursor)
        micros = [collate(share) for share in micro_batches(batch, rank, world, limit)]
        return StepData(sampler.advance(cursor), batch, micros)

    if start.epoch >= epochs:
        return
    with ThreadPoolExecutor(1, thread_name_prefix="collate") as pool:
        coming = pool.submit(make, start)
        while True:
            step = coming.result()
            more = step.cursor.epoch < epochs
            if more:
                coming = pool.submit(make, step.cursor)
            yield step
            if not more:
                return
