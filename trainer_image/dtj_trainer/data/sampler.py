"""The elastic sampler: which samples a step trains on, whatever the number of ranks.

Samplers that keep a state per rank cannot be resumed at another world size: some samples repeat and others are lost.
Here the order is a pure function of (seed, epoch), one global cursor says how far the job is, and each rank computes
its share of the global batch. So the global batch and the order stay the same across a resize, and every sample is
drawn once an epoch: nothing is padded, the last batch is just smaller.

Samples of like length share a batch, so that padding costs little: the shuffled epoch is cut into pools of
`POOL` batches, each pool is sorted by length and cut into batches, and the batches are shuffled again.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

POOL = 16


@dataclass(frozen=True)
class Cursor:
    """How far the job is: `consumed` samples of epoch `epoch` (counted from 0) are done."""

    epoch: int
    consumed: int


class ElasticSampler:
    """Global batches of one data set.

    Args:
        lengths: length of each sample, in any unit; only used to group.
        batch_size: samples of a global batch; the last one of an epoch may be smaller.
        seed: seed of the order.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = -1
        self._batches: list[list[int]] = []

    @property
    def steps_per_epoch(self) -> int:
        """Global batches in one epoch."""
        return -(-len(self._lengths) // self._batch_size)

    def batches(self, epoch: int) -> list[list[int]]:
        """All global batches of an epoch, as indices into the data set."""
        if epoch != self._epoch:
            self._batches = self._order(epoch)
            self._epoch = epoch
        return self._batches

    def batch(self, cursor: Cursor) -> list[int]:
        """The global batch that follows the cursor.

        Raises:
            ValueError: the cursor is not at the start of a batch of this sampler.
        """
        index, rest = divmod(cursor.consumed, self._batch_size)
        if rest or index >= self.steps_per_epoch:
            raise ValueError(f"cursor {cursor} does not start a batch of {self._batch_size} samples")
        return self.batches(cursor.epoch)[index]

    def advance(self, cursor: Cursor) -> Cursor:
        """The cursor after the batch that follows `cursor`."""
        consumed = cursor.consumed + len(self.batch(cursor))
        return Cursor(cursor.epoch + 1, 0) if consumed == len(self._lengths) else Cursor(cursor.epoch, consumed)

    def _order(self, epoch: int) -> list[list[int]]:
        # A string seed is hashed in full; (seed, epoch) as a sum would repeat orders between neighbouring seeds.
        chance = random.Random(f"{self._seed}/{epoch}")
        order = list(range(len(self._lengths)))
        chance.shuffle(order)
        size = self._batch_size
        batches: list[list[int]] = []
        for start in range(0, len(order), size * POOL):
            pool = sorted(order[start : start + size * POOL], key=lambda i: self._lengths[i])
            batches += [pool[k : k + size] for k in range(0, len(pool), size)]
        whole = [batch for batch in batches if len(batch) == size]
        short = [batch for batch in batches if len(batch) < size]
        chance.shuffle(whole)
        return whole + short


def micro_batches(batch: Sequence[int], rank: int, world: int, limit: int) -> list[list[int]]:
    """The share of one rank, cut into micro-batches of at most `limit` samples (0: no limit).

    Every rank gets the same number of micro-batches, some of them possibly empty, because each forward of a sharded
    model is a collective that all ranks must enter.
    """
    largest = -(-len(batch) // world)
    limit = limit or largest
    share = list(batch[rank::world])
    return [share[start : start + limit] for start in range(0, largest, limit)]
