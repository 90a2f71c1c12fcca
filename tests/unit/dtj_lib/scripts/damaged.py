"""The file of the last rank in the newest checkpoint changes; every rank says what it restores then."""

import os
import pathlib
import time

import torch.distributed as dist

import dtj

folder = pathlib.Path(os.environ["TEST_FOLDER"])
dist.init_process_group("gloo")
rank, last = dist.get_rank(), dist.get_world_size() - 1
for step in (10, 20):
    with dtj.checkpoint_dir(step) as path:
        (path / f"part-{rank}").write_text(f"{rank} of step {step}")
if rank == 0:
    (dtj.work_dir() / "checkpoints" / "step-20.i1" / f"part-{last}").write_text(f"{last} of step 2O")
dist.barrier()
found = dtj.latest_checkpoint()
text = (found / f"part-{rank}").read_text()
(folder / f"found-{rank}").write_text(f"{found.name}: {text}")
time.sleep(1000)
