"""A small training, as a user would write it; resumes, and tells the tests where it is by files in TEST_FOLDER."""

import os
import pathlib
import sys
import time

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

import dtj

STEPS = int(sys.argv[1])
PAUSE = float(sys.argv[2]) if len(sys.argv) > 2 else 0.02
folder = pathlib.Path(os.environ["TEST_FOLDER"])
place = f"{os.environ['DTJ_INCARNATION']}-{os.environ['DTJ_ROUND']}"

dist.init_process_group("gloo")
rank = dist.get_rank()
torch.manual_seed(0)
model = torch.nn.Linear(8, 1)
parallel = DistributedDataParallel(model)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
step = 0
if checkpoint := dtj.latest_checkpoint():
    saved = torch.load(checkpoint / "model.pt")
    model.load_state_dict(saved["model"])
    step = saved["step"]
    with (folder / f"restored-{place}-{rank}").open("w") as file:
        file.write(checkpoint.name)
(folder / f"pid-{place}-{rank}").write_text(str(os.getpid()))

while step < STEPS:
    loss = parallel(torch.ones(4, 8)).square().mean()
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    time.sleep(PAUSE)
    step += 1
    dtj.report(step=step, loss=loss.item(), total_steps=STEPS, tokens=32, samples=4 * dist.get_world_size())
    (folder / f"stepped-{place}").touch()
    if dtj.should_save():
        with (folder / f"agreed-{rank}").open("a") as file:
            file.write(f"{step}\n")
        with dtj.checkpoint_dir(step) as path:
            if rank == 0:
                torch.save({"model": model.state_dict(), "step": step}, path / "model.pt")
dtj.done()
