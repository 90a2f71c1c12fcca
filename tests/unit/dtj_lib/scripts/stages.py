"""Two trainings one after the other, of which rank 0 alone tells; ranks say when they saved and what they found."""

import json
import os
import pathlib
import time

import torch.distributed as dist

import dtj
from dtj.saving import requests

folder = pathlib.Path(os.environ["TEST_FOLDER"])
dist.init_process_group("gloo")
rank = dist.get_rank()
saved = []
for steps in (7, 9):
    for step in range(1, steps + 1):
        if rank == 0:
            dtj.report(step=step)
        if dtj.should_save():
            saved.append(step)
            with dtj.checkpoint_dir(step) as path:
                (path / f"part-{rank}").touch()
(folder / f"told-{rank}").write_text(json.dumps([saved, dtj.latest_checkpoint().name, requests.last_step]))
time.sleep(1000)
