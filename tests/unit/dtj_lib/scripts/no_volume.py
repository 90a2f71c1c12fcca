"""Saves and restores where there is no volume."""

import os
import pathlib

import torch.distributed as dist

import dtj

folder = pathlib.Path(os.environ["TEST_FOLDER"])
dist.init_process_group("gloo")
rank = dist.get_rank()
with dtj.checkpoint_dir(5) as path:
    (path / "x").write_text("x")
(folder / f"found-{rank}").write_text(f"{path.exists()} {dtj.latest_checkpoint()}")
