"""A plain script for torchrun, which knows nothing of dtj."""

import os
import sys
import time

import torch
import torch.distributed as dist

dist.init_process_group("gloo")
for step in range(int(sys.argv[1])):
    total = torch.ones(1)
    dist.all_reduce(total)
    assert total.item() == int(os.environ["WORLD_SIZE"])
    if dist.get_rank() == 0 and step < 10:
        print("step", step, flush=True)
    time.sleep(0.01)
dist.destroy_process_group()
