"""Saves in the background; in the first round rank 1 is killed in the middle of the save of step 20."""

import os
import pathlib
import signal
import time
from functools import partial

import torch
import torch.distributed as dist

import dtj

folder = pathlib.Path(os.environ["TEST_FOLDER"])
dist.init_process_group("gloo")
rank, first = dist.get_rank(), os.environ["DTJ_ROUND"] == "1"
found = dtj.latest_checkpoint()
if not first:
    (folder / f"restored-{rank}").write_text(found.name if found else "nothing")


def stage(step):
    """Copy, and write with a collective of the save's own."""
    mine = torch.tensor([float(step)])

    def write(path, group):
        if first and step == 20:
            if rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.2)
        dist.all_reduce(mine, group=group)
        (path / f"part-{rank}").write_text(str(mine.item()))

    return write


for step in range(11 if found else 1, 31):
    dist.all_reduce(torch.ones(1))
    dtj.report(step=step, loss=1.0)
    dtj.should_save()
    if step == 10 and first:
        dtj.save_in_background(step, partial(stage, step))
        dtj.wait_for_save()
    if step in (20, 30) and (first or step == 30):
        dtj.save_in_background(step, partial(stage, step))
dtj.wait_for_save()
