"""A script for torchrun that knows nothing of dtj, with checkpoints of its own making.

Under dtj it runs as it is. Where it keeps its checkpoints must outlive a pod: DTJ_WORK_DIR is the job's folder on the
shared volume.
"""

import os
import pathlib
import sys

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

steps = int(sys.argv[1])
folder = pathlib.Path(os.environ.get("DTJ_WORK_DIR") or ".")
checkpoint = folder / "checkpoint.pt"

dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
rank, world = dist.get_rank(), dist.get_world_size()
device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")

torch.manual_seed(0)
model = torch.nn.Linear(32, 1).to(device)
parallel = DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
step = 0
if checkpoint.exists():
    state = torch.load(checkpoint, map_location=device)
    model.load_state_dict(state["model"])
    step = state["step"]

target = torch.linspace(-1, 1, 32, device=device)
while step < steps:
    generator = torch.Generator().manual_seed(step * world + rank)
    inputs = torch.randn(64, 32, generator=generator).to(device)
    loss = (parallel(inputs).squeeze(1) - inputs @ target).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    step += 1
    if rank == 0 and step % 50 == 0:
        print(f"step {step} loss {loss.item():.5f}")
        folder.mkdir(parents=True, exist_ok=True)
        torch.save({"model": model.state_dict(), "step": step}, checkpoint.with_suffix(".new"))
        checkpoint.with_suffix(".new").replace(checkpoint)

if rank == 0:
    print(f"done at step {step}")
dist.destroy_process_group()
