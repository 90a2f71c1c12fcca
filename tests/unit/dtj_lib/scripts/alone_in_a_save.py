"""Rank 0 alone saves, as in a script that takes `rank == 0` for enough; the others never come."""

import os
import pathlib
import time
from datetime import timedelta

import torch.distributed as dist

import dtj
from dtj import group

folder = pathlib.Path(os.environ["TEST_FOLDER"])
group.ASK_AFTER, group.ABSENT = 0.2, timedelta(0)
dist.init_process_group("gloo", timeout=timedelta(seconds=2))
rank = dist.get_rank()
dtj.should_save()
if rank == 0:
    try:
        if os.environ["TEST_HOW"] == "at once":
            with dtj.checkpoint_dir(3):
                pass
        else:
            dtj.save_in_background(3, lambda: lambda path, group: None)
    except RuntimeError as error:
        (folder / "told").write_text(str(error))
time.sleep(1000)
