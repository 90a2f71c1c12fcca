"""A save in the background fails on rank 1 between two of its collectives, while the others wait in the second."""

import os
import pathlib
import time
from unittest import mock

import torch.distributed as dist

import dtj

folder = pathlib.Path(os.environ["TEST_FOLDER"])
mock.patch("dtj.publishing.BUG_FIRST", 0.0).start()
dist.init_process_group("gloo")
rank = dist.get_rank()
ERRORS = {"volume": OSError(28, "No space left on device"), "bug": KeyError("model")}


def stage():
    def write(path, group):
        names = [""] * dist.get_world_size()
        dist.all_gather_object(names, f"part-{rank}", group=group)
        if rank == 1 and fails:
            raise ERRORS[os.environ["TEST_ERROR"]]
        dist.all_gather_object(names, names[rank], group=group)
        (path / names[rank]).write_text("x")

    return write


told = []
for step, fails in ((1, False), (2, True), (3, False)):
    # What is asked for is waited for, and written by the main thread.
    if fails and os.environ["TEST_MOMENT"] == "at once":
        dtj.saving.requests.agreed.add(7)
    try:
        dtj.save_in_background(step, stage)
        dtj.wait_for_save()
    except Exception as error:
        told.append(f"{type(error).__name__}: {error}")
(folder / f"told-{rank}").write_text("\n".join(told))
time.sleep(1000)
