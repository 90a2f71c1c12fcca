"""Says in which world it is."""

import sys

import torch.distributed as dist

dist.init_process_group("gloo")
print(f"is rank {dist.get_rank()} of {dist.get_world_size()} {sys.argv[1:]}", flush=True)
dist.barrier()
dist.destroy_process_group()
