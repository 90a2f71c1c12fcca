"""Trains, and takes so many seconds for a save; says by files in TEST_FOLDER where it is."""

import os
import pathlib
import sys
import time

import torch
import torch.distributed as dist

import dtj

SECONDS = float(sys.argv[1])
folder = pathlib.Path(os.environ["TEST_FOLDER"])
place = f"{os.environ['DTJ_INCARNATION']}-{os.environ['DTJ_ROUND']}"
dist.init_process_group("gloo")
rank = dist.get_rank()
step = 0
if checkpoint := dtj.latest_checkpoint():
    step = int((checkpoint / "step").read_text())
(folder / f"pid-{place}-{rank}").write_text(str(os.getpid()))
with (folder / f"steps-{rank}").open("a", buffering=1) as made:
    while True:
        dist.all_reduce(torch.ones(1))
        time.sleep(0.02)
        step += 1
        made.write(f"{step}\n")
        dtj.report(step=step)
        (folder / f"stepped-{place}").touch()
        if dtj.should_save():
            with dtj.checkpoint_dir(step) as path:
                if rank == 0:
                    (folder / "saving").touch()
                    time.sleep(SECONDS)
                    (path / "step").write_text(str(step))
