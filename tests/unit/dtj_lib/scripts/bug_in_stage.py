"""Copying what is to be saved fails on one rank alone."""

import os
import pathlib
import time
from unittest import mock

import torch.distributed as dist

import dtj

folder = pathlib.Path(os.environ["TEST_FOLDER"])
mock.patch("dtj.checkpoints.BUG_FIRST", 0.0).start()
dist.init_process_group("gloo")
rank = dist.get_rank()


def stage():
    """Has a bug on rank 1."""
    if rank == 1:
        raise KeyError("model")
    return lambda path, group: None


try:
    dtj.save_in_background(3, stage)
except Exception as error:
    (folder / f"told-{rank}").write_text(f"{type(error).__name__}: {error}")
time.sleep(1000)
