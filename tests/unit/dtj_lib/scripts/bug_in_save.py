"""Rank 0 has a bug in its save: that is what is told, and not that the save failed."""

import os

import torch.distributed as dist

import dtj

dist.init_process_group("gloo")
with dtj.checkpoint_dir(1) as path:
    (path / f"part-{dist.get_rank()}").write_text("x")
    if dist.get_rank() == 0 and os.environ["DTJ_ROUND"] == "1":
        raise KeyError("model")
