"""Rank 1 has an error of its own in the first round; the others fail in their collective because of it."""

import os
import time

import torch
import torch.distributed as dist

dist.init_process_group("gloo")
dist.all_reduce(torch.ones(1))
if os.environ["DTJ_ROUND"] == "1":
    if dist.get_rank() == 1:
        raise ValueError("bad label")
    dist.all_reduce(torch.ones(1))
time.sleep(1000)
