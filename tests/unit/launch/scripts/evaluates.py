"""Makes a step, evaluates for longer than a step may take, makes another one, and exports at the end."""

import sys
import time

import torch
import torch.distributed as dist

import dtj

dist.init_process_group("gloo")
for step in (1, 2):
    dist.all_reduce(torch.ones(1))
    dtj.report(step=step)
    if step == 1:
        with dtj.phase("evaluate"):
            time.sleep(float(sys.argv[1]))
dtj.done()
time.sleep(float(sys.argv[1]))
