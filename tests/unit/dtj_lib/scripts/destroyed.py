"""Destroys the process group while a save goes on, as a script does that forgets to wait."""

import os
import time

import torch.distributed as dist

import dtj

SLOW = {"written": (0.0, 0.0), "slow on rank 0": (1.0, 0.0), "slow on rank 1": (0.0, 1.0)}[os.environ["TEST_MOMENT"]]
os.chdir(os.environ["TEST_FOLDER"])
dist.init_process_group("gloo")
rank = dist.get_rank()


def stage():
    """Copy nothing."""

    def write(path, group):
        time.sleep(SLOW[rank])
        (path / f"part-{rank}").write_text("x")

    return write


dtj.save_in_background(1, stage)
dtj.wait_for_save()
dtj.save_in_background(2, stage)
dist.destroy_process_group()
