"""Predictions of all ranks for one split, each sentence counted once.

Every rank makes the same number of forward calls, since those of a sharded model are collectives: a rank without work
calls with a sentence whose prediction is thrown away. Nothing is padded into the scores.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.distributed as dist

from dtj_trainer.parallel.world import World
from dtj_trainer.parallel.wrap import Parallel
from dtj_trainer.tasks.features import Feature
from dtj_trainer.tasks.ner import Ner


def predict_split(
    task: Ner, features: Sequence[Feature], parallel: Parallel, world: World, batch_size: int
) -> list[list[int]]:
    """Tag ids of every sentence, in the order of the split, on every rank."""
    order = sorted(range(len(features)), key=lambda i: -len(features[i].pieces))
    chunks = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    rounds = -(-len(chunks) // world.data_size)
    mine: dict[int, list[int]] = {}
    with parallel.inference() as module:
        for turn in range(rounds):
            at = turn * world.data_size + world.data_rank
            chunk = chunks[at] if at < len(chunks) else []
            predicted = task.predict(module, [features[i] for i in chunk] or features[:1], world.device)
            mine.update(zip(chunk, predicted, strict=False))
    parts: list[dict[int, list[int]]] = [{} for _ in range(world.size)]
    dist.all_gather_object(parts, mine, group=world.tail)
    merged = {i: row for part in parts for i, row in part.items()}
    return [merged[i] for i in range(len(features))]
