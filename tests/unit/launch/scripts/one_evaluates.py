"""Rank 0 alone evaluates between two steps, for longer than a step may take; the others wait for it."""

import sys
import time

import torch
import torch.distributed as dist

import dtj

dist.init_process_group("gloo")
for step in (1, 2):
    dist.all_reduce(torch.ones(1))
    dtj.report(step=step)
    if step == 1 and dist.get_rank() == 0:
        with dtj.phase("evaluate"):
            time.sleep(float(sys.argv[1]))
