"""Rank 1 cannot write one of the checkpoints; all ranks go on after the failed save."""

import os
import pathlib
import time

import torch.distributed as dist

import dtj

folder = pathlib.Path(os.environ["TEST_FOLDER"])
dist.init_process_group("gloo")
rank = dist.get_rank()
told = []
for step in (10, 20, 30):
    try:
        with dtj.checkpoint_dir(step) as path:
            (path / f"part-{rank}").write_text(str(step))
            if step == 20 and rank == 1:
                raise OSError(28, "No space left on device")
    except dtj.SaveError as error:
        told.append(f"{step}: {error}")
(folder / f"told-{rank}").write_text("\n".join(told))
found = dtj.latest_checkpoint()
(folder / f"found-{rank}").write_text(f"{found.name} {sorted(p.name for p in found.iterdir())}")
time.sleep(1000)
