"""A plain PyTorch training that dtj can see, save and resume: three calls beyond what torchrun needs."""

import argparse

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import dtj

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=400)
parser.add_argument("--batch", type=int, default=256, help="samples of a step, over all ranks")
parser.add_argument("--width", type=int, default=512)
options = parser.parse_args()

use_gpu = torch.cuda.is_available()
dist.init_process_group("nccl" if use_gpu else "gloo")
rank, world = dist.get_rank(), dist.get_world_size()
device = torch.device("cuda", rank % torch.cuda.device_count()) if use_gpu else torch.device("cpu")
if use_gpu:
    torch.cuda.set_device(device)


def samples(step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """This rank's share of a step's samples, a function of the step alone: a resumed job sees the same ones."""
    generator = torch.Generator().manual_seed(step)
    points = torch.rand(options.batch, 2, generator=generator) * 2 - 1
    inside = (points.square().sum(1) < 0.5).long()
    return points[rank::world].to(device), inside[rank::world].to(device)


torch.manual_seed(0)
model = torch.nn.Sequential(
    torch.nn.Linear(2, options.width),
    torch.nn.ReLU(),
    torch.nn.Linear(options.width, options.width),
    torch.nn.ReLU(),
    torch.nn.Linear(options.width, 2),
).to(device)
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

step = 0
if checkpoint := dtj.latest_checkpoint():
    state = torch.load(checkpoint / "state.pt", map_location=device)
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    step = state["step"]
    print(f"rank {rank} of {world} goes on from step {step}")

parallel = DistributedDataParallel(model)
while step < options.steps:
    points, inside = samples(step)
    loss = torch.nn.functional.cross_entropy(parallel(points), inside)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    step += 1

    dtj.report(step=step, total_steps=options.steps, loss=loss.item(), samples=options.batch)
    if dtj.should_save():
        with dtj.checkpoint_dir(step) as path:
            if rank == 0:
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
                torch.save(state, path / "state.pt")

if rank == 0:
    dtj.work_dir().mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), dtj.work_dir() / "model.pt")
    print(f"done at step {step}")
dtj.done()
dist.destroy_process_group()
