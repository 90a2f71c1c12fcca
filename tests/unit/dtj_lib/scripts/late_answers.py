"""Rank 0 runs a call of `should_save` ahead of rank 1, which is asked to save at call 6; both say when they saved."""

import json
import os
import pathlib
import time
from unittest import mock

import torch.distributed as dist

import dtj

folder = pathlib.Path(os.environ["TEST_FOLDER"])
slow = os.environ["TEST_STEPS"] == "slow"
mock.patch("dtj.saving.SLOW", 0.0 if slow else 1000.0).start()
dist.init_process_group("gloo")
rank = dist.get_rank()
saved = []
for step in range(1, 24):
    # The first calls are answered at once, and the first one after a save.
    if rank == 1 and step in (4, 5, 6, 12, 13) and not slow:
        while not (folder / f"ahead-{step}").exists():
            time.sleep(0.001)
    asked = ["now"] if rank == 1 and step == 6 else []
    dtj.report(step=step)
    with mock.patch("dtj.saving.link.requests", lambda asked=asked: asked):
        due = dtj.should_save()
    if rank == 0:
        (folder / f"ahead-{step}").touch()
    if due:
        saved.append(step)
        with dtj.checkpoint_dir(step) as path:
            (path / f"part-{rank}").touch()
(folder / f"told-{rank}").write_text(json.dumps(saved))
dtj.done()
