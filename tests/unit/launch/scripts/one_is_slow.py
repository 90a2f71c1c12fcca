"""Trains for ever; rank 1 computes for longer than the others, who wait for it. Knows nothing of dtj."""

import time

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

dist.init_process_group("gloo")


class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first = torch.nn.Linear(8, 8)
        self.last = torch.nn.Linear(8, 1)

    def forward(self, inputs):
        time.sleep(0.2 if dist.get_rank() == 1 else 0.01)
        return self.last(self.first(inputs))


parallel = DistributedDataParallel(Model())
optimizer = torch.optim.SGD(parallel.parameters(), lr=0.01)
while True:
    # Two micro-batches: the wait for the others comes after the second one only.
    with parallel.no_sync():
        parallel(torch.ones(4, 8)).square().mean().backward()
    parallel(torch.ones(4, 8)).square().mean().backward()
    optimizer.step()
    optimizer.zero_grad()
