"""A training whose every step is written down: `<step> <seconds since the epoch> <loss, exactly>`, by rank 0.

It ends where it is told to: after STEPS, or at the step that all ranks agree on once the file `enough` is there.
"""

import os
import pathlib
import time

import torch
import torch.distributed as dist

import dtj

PAUSE = float(os.environ["PAUSE"])
STEPS = int(os.environ.get("STEPS", "0"))
folder = pathlib.Path(os.environ["DTJ_WORK_DIR"])
dist.init_process_group("gloo")
rank, world = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
step = 0
if checkpoint := dtj.latest_checkpoint():
    saved = torch.load(checkpoint / "state.pt", weights_only=True)
    model.load_state_dict(saved["model"])
    optimizer.load_state_dict(saved["optimizer"])
    step = int(saved["step"])
log = (folder / "steps.log").open("a") if rank == 0 else None

while True:
    enough = torch.tensor(float((folder / "enough").exists() if not STEPS else step >= STEPS))
    dist.all_reduce(enough, op=dist.ReduceOp.MAX)
    if enough.item():
        break
    generator = torch.Generator().manual_seed(step * world + rank)
    inputs = torch.randn(16, 64, generator=generator)
    loss = (model(inputs) - inputs.sum(dim=1, keepdim=True)).square().mean()
    optimizer.zero_grad()
    loss.backward()
    # Not DistributedDataParallel: it lays its buckets anew after the first step of each process, and a ring of three
    # adds up in an order that depends on the place in the bucket.
    for parameter in model.parameters():
        dist.all_reduce(parameter.grad)
        parameter.grad /= world
    optimizer.step()
    time.sleep(PAUSE)
    step += 1
    if log:
        log.write(f"{step} {time.time():.3f} {loss.item().hex()}\n")
        log.flush()
    dtj.report(step=step, loss=loss.item())
    if dtj.should_save():
        with dtj.checkpoint_dir(step) as path:
            if rank == 0:
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
                torch.save(state, path / "state.pt")
dtj.done()
