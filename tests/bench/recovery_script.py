"""What both sides of the recovery benchmark train: DDP and AdamW on a small model, one line a step."""

import os
import sys
import time

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

torch.set_num_threads(1)
dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
model = torch.nn.Sequential(*[torch.nn.Linear(256, 256) for _ in range(6)])
parallel = DistributedDataParallel(model)
optimizer = torch.optim.AdamW(model.parameters())
with open(f"{sys.argv[1]}/{rank}", "a", buffering=1) as log:
    while True:
        parallel(torch.ones(16, 256)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        # Wall clock, as it is compared between processes.
        log.write(f"{time.time()} {os.getpid()}\n")
        time.sleep(0.05)
